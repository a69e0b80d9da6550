"""Every image model of timm, with its published weights: timm:vit_small_patch16_224.augreg_in1k."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graft.backbones._cut import Network, assemble
from graft.backbones._timm import check_name, create, network
from graft.backbones._weights import download, hub_file
from graft.errors import GraftError, IntegrityError, UsageError
from graft.spec import Spec
from graft.types import Backbone

_FILE = "model.safetensors"


def timm(name: str, *, pretrained: bool = True, size: int | None = None) -> Backbone:
    """(B, 3, size, size) -> what the model gives its own classifier; stages as far as they can be proved.

    Weights come from the hub's cache, or are downloaded as safetensors. Raises UsageError for an unknown name or for a
    model without published weights, ResourceError when they are neither in the cache nor within reach.
    """
    check_name(name)
    file = _weight_file(name) if pretrained else None  # first: without a network, say so before any work
    built = network(name, size=size)
    source = Spec("timm", name, {} if size is None else {"size": size})
    if file is None:
        return assemble(built, source, pretrained=False)
    model = _with_weights(name, size, file)
    loaded = Network(model, built.cut, built.preprocess, built.head_names, built.licence, built.trained_on)
    return assemble(loaded, source, pretrained=True)


def _with_weights(name: str, size: int | None, file: Path) -> Any:
    """timm reads the file itself: it knows how to adapt old names and the position embeddings."""
    try:
        return create(name, size, pretrained=True, pretrained_cfg_overlay={"file": str(file)})
    except GraftError:
        raise
    except Exception as error:  # noqa: BLE001 - timm has no errors of its own
        raise IntegrityError(f"{file} does not load as timm:{name}: {error}", "delete the file and try again") from None


def _weight_file(name: str) -> Path:
    """From the hub's cache, else from the hub; from the author's address where the hub has none."""
    from timm.models import get_pretrained_cfg

    known: Any = get_pretrained_cfg(name)
    cfg: dict[str, Any] = known.to_dict() if known else {}
    hub, url = cfg.get("hf_hub_id"), cfg.get("url")
    if not hub and not url:
        raise UsageError(f"there are no published weights for timm:{name}",
                         "choose a tag of timm.list_pretrained(), or pretrained=False")  # fmt: skip
    if not hub:
        return download(str(url))
    return hub_file(hub if "/" in hub else f"timm/{name}", cfg.get("hf_hub_filename") or _FILE)
