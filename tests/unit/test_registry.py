"""The folder is the registry: files are names, nothing heavy is imported to list them, typos are helped."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import graft
from graft import registry
from graft.errors import UsageError

PACKAGE = Path(graft.__file__).parent


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_file_is_listed_with_its_first_line(kind: str) -> None:
    files = {p.stem for p in (PACKAGE / registry.KINDS[kind]).glob("*.py") if not p.name.startswith("_")}
    listed = registry.names(kind)
    assert files and files <= set(listed)
    assert all(words and len(words) <= 160 for words in listed.values()), "the docstring's first line is the help"


@pytest.mark.parametrize("kind", registry.KINDS)
def test_a_plugin_is_a_function_named_like_its_file(kind: str) -> None:
    for name in registry.names(kind):
        assert registry.find(kind, name).__name__ == name


def test_a_typo() -> None:
    with pytest.raises(UsageError) as caught:
        registry.find("strategy", "linear_prob")
    assert "no strategy called 'linear_prob'" in str(caught.value)
    assert caught.value.hint == "did you mean 'linear_probe'?"
    with pytest.raises(UsageError) as caught:
        registry.find("strategy", "zzzzz")
    assert "choose from: " in caught.value.hint and "full" in caught.value.hint


def test_listing_imports_neither_torch_nor_sklearn() -> None:
    code = ("import sys; from graft import registry; [registry.names(k) for k in registry.KINDS];"
            "print([m for m in ('torch', 'sklearn', 'timm', 'PIL') if m in sys.modules])")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_third_parties_come_through_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("mine", "graft.spec:parse", "graft.strategy")

    def points(**asked: Any) -> Iterator[EntryPoint]:
        return iter([point] if asked["group"] == "graft.strategy" and asked.get("name", "mine") == "mine" else [])

    monkeypatch.setattr(registry, "entry_points", points)
    registry.names.cache_clear()
    try:
        assert registry.names("strategy")["mine"] == "from graft.spec:parse"
        assert registry.find("strategy", "mine").__name__ == "parse"
        assert "mine" not in registry.names("task")
    finally:
        registry.names.cache_clear()
