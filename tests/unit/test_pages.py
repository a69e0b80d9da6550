"""What a finished run leaves to be read: made after the run, made later where it is missing, and never its end."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
import torch
from made_run import make_run

import graft
from graft import pages
from graft.console import Console
from graft.errors import Interrupted

pytestmark = pytest.mark.usefixtures("with_pages")
torch.set_num_threads(1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished run without pages."""
    return make_run(tmp_path / "run", ["ants", "bees"], epochs=2)


def made(folder: Path, show: object = None) -> tuple[list[str], str]:
    out = io.StringIO()
    return pages.make(folder, show, "en", Console(file=out)), out.getvalue()  # type: ignore[arg-type]


def test_what_is_missing_is_made_and_nothing_else(folder: Path) -> None:
    assert pages.missing(folder) == ["report.html", "README.md"]
    (folder / "README.md").write_text("as it was")
    names, said = made(folder)
    assert names == ["report.html"] and "report.html" in said and "model card" not in said
    assert (folder / "README.md").read_text() == "as it was"
    assert made(folder) == ([], "")


def test_a_report_without_samples_says_why(folder: Path) -> None:
    (folder / "shown.json").unlink()
    names, said = made(folder)
    assert names == ["report.html", "README.md"] and "only a run at work can write shown.json" in said


@pytest.mark.parametrize("name, left", [("page", "README.md"), ("card", "report.html")])
def test_a_library_that_is_broken_costs_its_own_page_alone(
    folder: Path, name: str, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an ImportError out of matplotlib is."""
    monkeypatch.delattr(f"graft.reporting.{name}", raising=False)
    monkeypatch.setitem(sys.modules, f"graft.reporting.{name}", None)
    names, said = made(folder, lambda: None)
    assert names == ["shown.json", left] and (folder / left).exists()
    assert "could not be made" in said and f"to try again: graft report {folder}" in "".join(said.split("\n"))


def test_what_cannot_be_made_again_is_not_promised(folder: Path) -> None:
    names, said = made(folder, lambda: 1 / 0)
    assert names == ["report.html", "README.md"]
    assert "shown.json could not be made (ZeroDivisionError" in said and "it cannot be made later" in said
    assert "to try again" not in said


def test_an_interrupt_is_one(folder: Path) -> None:
    def stop() -> None:
        raise Interrupted(2, "interrupted", "again")

    with pytest.raises(Interrupted):
        made(folder, stop)


def test_resume_finishes_a_run_that_was_killed_while_its_pages_were_made(flowers: Path, tmp_path: Path) -> None:
    asked = {"backbone": "toy", "strategy": "ridge", "device": "cpu", "out": str(tmp_path / "run")}
    graft.fit(str(flowers), **asked, report=False)
    folder = tmp_path / "run"
    assert not (folder / "report.html").exists()
    again = graft.fit(str(flowers), **asked, report=False, resume=True)
    assert again["already_done"] and "made" not in again and not (folder / "report.html").exists()
    again = graft.fit(str(flowers), **asked, resume=True, language="zh")
    assert again["already_done"] and again["made"] == ["report.html", "README.md"]
    assert 'lang="zh-Hans"' in (folder / "report.html").read_text(encoding="utf-8") and (folder / "README.md").exists()
    again = graft.fit(str(flowers), **asked, resume=True)
    assert again["already_done"] and "made" not in again


def test_report_makes_the_card_too(folder: Path, tmp_path: Path) -> None:
    said = graft.report(folder, out=str(tmp_path / "elsewhere.html"))
    assert "card" not in said and pages.missing(folder) == ["report.html", "README.md"]
    said = graft.report(folder)
    assert said["card"] == str(folder / "README.md") and pages.missing(folder) == []
    (folder / "README.md").write_text("mine")
    assert "card" not in graft.report(folder) and (folder / "README.md").read_text() == "mine"
