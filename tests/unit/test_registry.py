"""The folder is the registry: files are names, nothing heavy is imported to list them, typos are helped."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

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

    package = SimpleNamespace(entry_points=[point, EntryPoint("other", "graft.spec:parse", "pytest11")])
    monkeypatch.setattr(registry, "distributions", lambda: [package])
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == "graft.strategy" else [])
    registry.names.cache_clear()
    registry._installed.cache_clear()
    try:
        assert registry.names("strategy")["mine"] == "from graft.spec:parse"
        assert registry.find("strategy", "mine").__name__ == "parse"
        assert "mine" not in registry.names("task") and "other" not in registry.names("strategy")
    finally:
        registry.names.cache_clear()
        registry._installed.cache_clear()


def test_of_a_package_that_is_found_twice_the_first_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, version, point in (("old", "1.0", "mine = gone:mine"), ("new", "2.0", "other = graft.spec:parse")):
        info = tmp_path / name / f"plug-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: plug\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[graft.probe]\n{point}\n")
        monkeypatch.syspath_prepend(str(tmp_path / name))
    registry.names.cache_clear()
    registry._installed.cache_clear()
    try:
        assert {"mine", "other"} & set(registry.names("probe")) == {"other"}
    finally:
        registry.names.cache_clear()
        registry._installed.cache_clear()


@pytest.mark.parametrize("kind", registry.KINDS)
def test_the_first_line_is_that_of_the_docstring(kind: str) -> None:
    for path in (PACKAGE / registry.KINDS[kind]).glob("*.py"):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        assert registry._first_line(path) == docstring.partition("\n")[0].strip()


@pytest.mark.parametrize("text", ["'one line'", '# a comment\n"""one line\n\nmore"""', '"""one line"""', "x = 1"])
def test_the_first_line_however_it_is_written(text: str, tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(text, encoding="utf-8")
    assert registry._first_line(tmp_path / "plugin.py") == ("" if text == "x = 1" else "one line")


HEAVY = ("torchvision", "timm", "transformers", "tokenizers", "scipy.stats", "sklearn", "pandas", "sympy",
         "torch._dynamo", "torch._inductor", "graft.train", "graft.trials")  # fmt: skip


@pytest.mark.parametrize("code", [
    "import graft.api",
    "import graft.api; from graft import augment, registry; [registry.find(*one) for one in "
    "(('backbone', 'bundled'), ('backbone', 'small'), ('task', 'classification'))]; augment.build('basic')",
])  # fmt: skip
def test_what_prediction_imports_is_little_more_than_torch(code: str) -> None:
    code += f"; import sys; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_help_loads_no_array_library() -> None:
    code = (
        "import sys; from graft import cli; sys.argv = ['graft', 'fit', '--help']\ntry:\n    cli.main()\n"
        "except SystemExit:\n    print([m for m in ('torch', 'numpy', 'PIL', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip().endswith("[]") and "--strategy" in done.stdout
