"""What the documentation says works: every bash and python block is run, in order, in a folder with the data it names.

One process runs them all, in-process and on the toy backbone for one epoch, so that it takes seconds. A block of
another kind (``` without a language) is output or a picture, and is not run.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import draw_flowers, draw_sounds
from graft import cli, planning, recipe, registry

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]+\]\(([^)#]+)\)")


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    yield from BLOCK.findall(page.read_text(encoding="utf-8"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with flowers/, new_photos/, other_photos/, unlabelled/, receipts/, recordings/, new_speaker/ and
    some tickets; quick trunks and one epoch as defaults."""
    draw_flowers(tmp_path / "flowers", each=14)
    draw_flowers(tmp_path / "other_photos", each=4, seed=7)
    (draw_flowers(tmp_path / "new", each=2, seed=8) / "rose").rename(tmp_path / "new_photos")
    (draw_flowers(tmp_path / "strange", each=6, seed=9) / "tulip").rename(tmp_path / "receipts")
    (draw_flowers(tmp_path / "loose", each=16, seed=6) / "daisy").rename(tmp_path / "unlabelled")
    draw_sounds(tmp_path / "recordings", each=9)
    draw_sounds(tmp_path / "new_speaker", each=3, seed=7)
    monkeypatch.chdir(tmp_path)
    tickets = (ROOT / "examples" / "tickets.csv").read_text(encoding="utf-8").splitlines()
    (tmp_path / "tickets.csv").write_text("\n".join([tickets[0], *tickets[1::4]]) + "\n", encoding="utf-8")
    (tmp_path / "new_tickets.txt").write_text("Where is my parcel?\nI cannot log in.\n", encoding="utf-8")
    for name in ("SCRATCH", "FURTHER"):
        monkeypatch.setattr(planning, name, "full(epochs=1)")
    monkeypatch.setitem(planning.PRETRAIN, "strategy", "full(epochs=1)")
    quick, make = {"strategy": "lp_ft(head_epochs=1, epochs=1)"}, recipe.make
    for module in ("api", "planning"):
        patched = lambda record: make({**quick, **trunk(record), **record})  # noqa: E731
        monkeypatch.setattr(f"graft.{module}.make_recipe", patched)
    return tmp_path


def trunk(record: dict[str, str]) -> dict[str, str]:
    data = record.get("data", "")
    sounds = "cnn_tdnn(rate=8000, mels=16, dim=8, widths=(4,), blocks=1)"
    return {"backbone": "tfidf" if "tickets" in data else sounds if "recordings" in data else "toy"}


def shell(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run one `graft ...` line in this process; its exit code must be 0."""
    words = shlex.split(line)
    assert words[0] == "graft", f"only graft lines are run, not: {line}"
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", words)
        try:
            cli.main()
        except SystemExit as ended:
            assert not ended.code, f"{line}: exit code {ended.code}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_snippet_runs(page: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for language, text in blocks(page):
        if language == "python":
            exec(compile(text, f"{page.name}, a python block", "exec"), {"__name__": "snippet"})
        else:
            for line in text.splitlines():
                if line.strip() and not line.startswith("#"):
                    shell(line, monkeypatch)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_the_readme_shows_the_tree_as_it_is() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = text[text.index("## The tree") :]
    source = ROOT / "src" / "graft"
    modules = {p.name if p.is_file() else f"{p.name}/" for p in source.iterdir() if p.is_dir() or p.suffix == ".py"}
    named = set(re.findall(r"^  (\S+)  ", tree.partition("\ntests/")[0], re.MULTILINE))
    assert named == modules - {"__init__.py", "__pycache__/"}
    assert all((ROOT / name).exists() for name in re.findall(r"^([\w.]\S*)  ", tree, re.MULTILINE))


def test_the_tables_of_the_readme_name_only_what_there_is() -> None:
    """Not the other way round: adding a plugin must not need another file."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for kind in ("strategy", "backbone"):
        table = text[text.index(f"| {kind} |") :].partition("\n\n")[0]
        first = "".join(line.split("|")[1] for line in table.splitlines()[2:])
        known = {*registry.names(kind), *((recipe.AUTO, *registry.names("probe")) if kind == "strategy" else ())}
        assert set(re.findall(r"`([a-z_]+)", first)) <= known
