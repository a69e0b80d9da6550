"""The folder is the registry: a plugin is a function named like its file, and nothing else lists it.

Names are read from the file system, so that listing imports neither torch nor scikit-learn. Third parties add plugins
through the entry-point group `graft.<kind>`.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, distributions, entry_points
from pathlib import Path
from typing import Any

from graft.errors import UsageError, did_you_mean

KINDS = {
    "backbone": "backbones",
    "reader": "data",
    "task": "tasks",
    "strategy": "strategies",
    "term": "terms",
    "probe": "probes",
    "ranker": "ranking",
    "engine": "engines",
    "adaptation": "adaptation",
    "check": "checks",
    "explainer": "explainers",
}


@cache
def names(kind: str) -> dict[str, str]:
    """Every plugin of a kind with the first line of its module's docstring."""
    folder = Path(__file__).parent / KINDS[kind]
    files = sorted(path for path in folder.glob("*.py") if not path.name.startswith("_"))
    found = {path.stem: _first_line(path) for path in files}
    return found | {point.name: f"from {point.value}" for point in _installed() if point.group == f"graft.{kind}"}


def find(kind: str, name: str) -> Callable[..., Any]:
    """The plugin's function; an unknown name is a UsageError that says what was probably meant."""
    if name not in names(kind):
        raise UsageError(f"there is no {kind} called '{name}'", did_you_mean(name, names(kind)))
    for point in _installed():
        if (point.group, point.name) == (f"graft.{kind}", name):
            return point.load()  # type: ignore[no-any-return]
    module = importlib.import_module(f"graft.{KINDS[kind]}.{name}")
    return getattr(module, name)  # type: ignore[no-any-return]


@cache
def _installed() -> tuple[EntryPoint, ...]:
    """Plugins of third parties. To read what every installed package offers takes 20 ms, so it is done once.

    Of a package that is found twice on the path only the first counts, as everywhere: `entry_points` knows which, but
    reads all packages for every group, so it is asked for those alone that are there.
    """
    offered = {point.group for package in distributions() for point in package.entry_points}
    return tuple(point for kind in KINDS if f"graft.{kind}" in offered for point in entry_points(group=f"graft.{kind}"))


def _first_line(path: Path) -> str:
    """Of the docstring. To parse all plugins would take as long as the rest of `graft list`."""
    text = path.read_text(encoding="utf-8")
    if not text.startswith('"""'):
        text = ast.get_docstring(ast.parse(text)) or ""
    return text.removeprefix('"""').partition("\n")[0].partition('"""')[0].strip()
