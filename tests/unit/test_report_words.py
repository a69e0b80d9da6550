"""The report's sentences: the same keys and places in all languages; figures are written alike."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from string import Formatter

import pytest

from graft.pages import LANGUAGES as OFFERED
from graft.reporting._told import TOLD
from graft.reporting._words import LANGUAGES, Words, amount, columns, short

SRC = Path(__file__).parents[2] / "src" / "graft"


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def test_all_languages_say_the_same() -> None:
    assert LANGUAGES.keys() == OFFERED.keys()
    english, chinese = LANGUAGES["en"], LANGUAGES["zh"]
    assert english.keys() == chinese.keys()
    assert [key for key in english if places(english[key]) != places(chinese[key])] == []
    assert [key for key in english if bool(english[key]) != bool(chinese[key])] == []


def test_every_key_that_the_code_and_the_templates_name_exists() -> None:
    folder = SRC / "reporting"
    text = "".join(
        path.read_text(encoding="utf-8") for path in [*folder.glob("*.py"), *folder.glob("templates/*.html")]
    )
    named = set(re.findall(r"""\bw\(["']([a-z][a-z0-9_. ]*[a-z0-9_])["']""", text)) | {key for _, key in TOLD}
    assert len(named) > 100
    assert named - LANGUAGES["en"].keys() == set()


def test_every_finding_has_a_title() -> None:
    codes = {node.args[0].value for path in SRC.rglob("*.py") for node in ast.walk(ast.parse(path.read_text("utf-8")))
             if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Issue" and node.args
             and isinstance(node.args[0], ast.Constant)}  # fmt: skip
    assert len(codes) > 40
    untitled = {code for code in codes if f"issue.{code}" not in LANGUAGES["en"]}
    assert untitled == set(), "give them titles in report/_english_codes.py and report/_chinese_codes.py"


def test_sentences_of_a_run_are_told_in_the_readers_language() -> None:
    english, chinese = Words("en"), Words("zh")
    assert english.told("on 10 folds") == "on 10 folds"
    assert chinese.told("on 10 folds") == "在 10 折上"
    assert chinese.told("the best of 27 cheap ways on 5 trunks") == "5 个主干上 27 种廉价方法中最好的"
    assert chinese.told("something new {that} nobody knows") == "something new {that} nobody knows"


def test_figures_are_written_alike() -> None:
    gain = {"value": 0.2041, "low": 0.0142, "high": -0.00001, "folds": 3}
    assert Words("en").gain(gain, "accuracy") == "+20.4 points [1.4, 0.0]"
    assert Words("zh").gain(gain, "accuracy") == "+20.4 个百分点 [1.4, 0.0]"
    assert Words("zh").gain(gain, "r2") == "+0.204 [0.014, 0.000]"
    assert Words("en").gain({**gain, "folds": 0}, "r2") == "not known"
    assert (
        Words("en").figure("accuracy", {"value": 0.5, "low": 0.4, "high": 0.6, "method": "wilson"})
        == "50.0 % [40.0, 60.0]"
    )
    assert Words("en").figure("accuracy", None) == "not known"
    assert amount("accuracy", 0.81288) == "81.3 %"
    assert amount("r2", float("nan")) == "–"


@pytest.mark.parametrize(("name", "most", "shown"), [
    ("ants", 10, "ants"), ("abcdefghijkl", 7, "abc…jkl"), ("蚂蚁蚂蚁蚂蚁", 7, "蚂蚁…蚁"), ("", 5, "")])  # fmt: skip
def test_long_names_lose_their_middle(name: str, most: int, shown: str) -> None:
    assert short(name, most) == shown
    assert columns(short(name, most)) <= most
