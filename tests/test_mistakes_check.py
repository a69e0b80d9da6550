"""Mistakes with `graft check` on the command line: the exit code, what happened, what helps; nothing is written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from test_mistakes import Untouched, fill, graft, picture, refused

TOY = ("--backbone", "toy")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    fill(tmp_path / "photos")
    refused(graft("check", tmp_path / "photoss"), 3, "there is no folder or file", "did you mean")


@pytest.mark.parametrize("to", ["photos", "photos/clean", "photos/list.csv", "photos/../photos/x"])
def test_a_fix_into_the_data(to: str) -> None:
    with Untouched(fill(Path("photos"))):
        refused(graft("check", "photos", "--fix", to, *TOY), 2, "within the data", "choose a folder outside")


def test_a_fix_onto_what_exists() -> None:
    fill(Path("photos"))
    with Untouched(fill(Path("mine"))):
        refused(graft("check", "photos", "--fix", "mine", *TOY), 2, "mine exists already", "choose a new folder")
    Path("list.csv").write_text("mine")
    refused(graft("check", "photos", "--fix", "list.csv", *TOY), 2, "list.csv exists already")
    assert Path("list.csv").read_text() == "mine"


def test_a_data_set_of_one_class_is_checked_all_the_same() -> None:
    root = fill(Path("photos"), ("cat",))
    (root / "cat" / "bad.png").write_bytes(b"no picture")
    with Untouched(root):
        said = graft("check", "photos", *TOY)
    assert said.code == 3 and said.out.startswith(
        "error    refused: graft fit refuses these data: photos has only one class"
    )
    assert "unreadable (1)" in said.out and "cat/bad.png" in said.out


def test_data_without_labels_are_checked_all_the_same() -> None:
    for i in range(6):
        picture(Path("photos") / f"{i}.png", i)
    said = graft("check", "photos", *TOY)
    assert said.code == 3 and "has no labels" in said.out and "-> make one folder per class" in said.out


@pytest.mark.parametrize("words", [("--backbone", "resnet"), ("--test", "1.5"), ("--sealed", "valid")])
def test_options_that_cannot_be_are_refused(words: tuple[str, ...]) -> None:
    with Untouched(fill(Path("photos"))):
        refused(graft("check", "photos", *words), 2)


def test_findings_are_no_failure_and_json_is_one_object() -> None:
    root = fill(Path("photos"))
    os.link(root / "cat" / "0.png", root / "dog" / "same.png")
    said = graft("check", "photos", "--json", "-q", *TOY)
    assert said.code == 0 and not said.err
    result = json.loads(said.out)
    assert "conflicting-labels" in {issue["code"] for issue in result["issues"]}


def test_hostile_names_do_not_reach_the_terminal_or_a_formula() -> None:
    root = fill(Path("photos"))
    (root / "cat" / "=1+1\x1b[31m.png").write_bytes(b"no picture")
    said = graft("check", "photos", "--fix", "list.csv", *TOY)
    assert said.code == 0 and "\x1b[31m" not in said.out + said.err
    assert "=1+1" in said.out and "\n=1" not in Path("list.csv").read_text().replace('"', "")
