"""Graft: transfer learning with proof.

    import graft
    result = graft.fit("flowers/", strategy="lp_ft")
    rows, issues = graft.predict(result["run"], "new_photos/")

Names are imported when they are first used, so that `import graft` costs nothing and does not load torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graft.api import adapt as adapt
    from graft.api import check as check
    from graft.api import compare as compare
    from graft.api import evaluate as evaluate
    from graft.api import explain as explain
    from graft.api import fit as fit
    from graft.api import load as load
    from graft.api import predict as predict
    from graft.api import pretrain as pretrain
    from graft.api import push as push
    from graft.api import rank as rank
    from graft.api import report as report
    from graft.errors import DataError as DataError
    from graft.errors import GraftError as GraftError
    from graft.errors import IntegrityError as IntegrityError
    from graft.errors import Interrupted as Interrupted
    from graft.errors import MissingExtra as MissingExtra
    from graft.errors import QualityError as QualityError
    from graft.errors import ResourceError as ResourceError
    from graft.errors import UsageError as UsageError
    from graft.recipe import Recipe as Recipe

_HOME = {
    "api": ("adapt", "check", "compare", "evaluate", "explain", "fit", "load", "predict", "pretrain", "push", "rank",
            "report"),
    "errors": ("DataError", "GraftError", "IntegrityError", "Interrupted", "MissingExtra", "QualityError",
               "ResourceError", "UsageError"),
    "recipe": ("Recipe",),
}  # fmt: skip
_FOUND_IN = {name: module for module, names in _HOME.items() for name in names}
__all__ = sorted(_FOUND_IN)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _FOUND_IN:
        raise AttributeError(f"module 'graft' has no attribute '{name}'")
    return getattr(importlib.import_module(f"graft.{_FOUND_IN[name]}"), name)


def __dir__() -> list[str]:
    return __all__
