"""Imports point down only. The layers are those of docs/design.md; a new top-level module needs a place in one."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "graft"
LAYERS = (
    {"spec", "errors", "recipe", "samples", "types"},
    {"registry", "device", "store", "parts", "checkpoint", "intervals", "augment", "optim", "freeze", "nn"}
    | {"evidence", "loo", "clock", "cache", "masking", "order", "progress", "rows", "gram", "shelf", "prefix"}
    | {"augment_sound", "masking_sound", "transcripts", "calibration", "conformal", "novelty", "curve", "cells"}
    | {"selection", "confidence", "views", "spread"},
    {"backbones", "data", "tasks", "terms", "probes", "ranking", "engines", "adaptation"} | {"checks", "explainers"},
    {"strategies", "features", "archive", "canvas", "engine", "train", "phase", "scoring"},
    {"run", "build", "console", "tables", "pretrained", "job"}
    | {"paired", "trials", "averages", "contest", "ladder", "verdict", "zoo", "intake", "planning"}
    | {"seen", "groups", "left_out", "adapting", "adapted", "domains"}
    | {
        "alike",
        "watching",
        "bare",
        "checking",
        "claims",
        "cleaning",
        "trust",
        "held_out",
        "explaining",
        "showing",
        "pages",
        "reporting",
        "hub",
    },
    {"api"},
    {"cli", "commands"},
)
PLUGINS = LAYERS[2] | {"strategies"}
CORE = {"torch", "torchvision", "timm", "safetensors", "numpy", "sklearn", "scipy", "PIL", "rich", "typer"}
CORE |= {"jinja2", "matplotlib", "markupsafe"}
FILES = sorted(path for path in SRC.rglob("*.py") if path != SRC / "__init__.py")


def level(top: str) -> int:
    found = [i for i, names in enumerate(LAYERS) if top in names]
    assert found, f"graft.{top} has no layer yet: give it one in tests/test_layers.py and docs/design.md"
    return found[0]


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names: `from graft.data import _split` gives graft.data._split."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def at_module_level(tree: ast.Module) -> Iterator[str]:
    """What importing the module imports: not what functions do, nor what only type checkers read."""
    for node in tree.body:
        inside_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if not inside_function and not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield from imports(node)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SRC)))
def test_imports_point_down(path: Path) -> None:
    own = path.relative_to(SRC).with_suffix("").parts
    for name in imports(ast.parse(path.read_text(encoding="utf-8"))):
        package, _, rest = name.partition(".")
        top, _, module = rest.partition(".")
        if package != "graft" or not top:
            continue
        assert level(top) <= level(own[0]), f"{name} lies above {own[0]}"
        if own[0] in PLUGINS and top in PLUGINS and top != "strategies":
            assert top == own[0], f"{own[0]}/ imports from its neighbour {top}/"
            assert module.startswith("_"), f"plugins never import each other: {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SRC)))
def test_optional_libraries_are_imported_where_they_are_used(path: Path) -> None:
    for name in at_module_level(ast.parse(path.read_text(encoding="utf-8"))):
        top = name.partition(".")[0]
        assert top in CORE or top in sys.stdlib_module_names or top in ("graft", "__future__"), f"{top} is optional"
