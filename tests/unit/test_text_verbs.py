"""What the verbs make of texts: the form that a run's task takes, rows without labels, and lines of the console."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

import graft
from graft import build, intake, run
from graft.commands import ask
from graft.data._audit import audit
from graft.data._sniff import open_data
from graft.errors import DataError, UsageError

pytest.importorskip("transformers", reason="needs transformers")
torch.set_num_threads(1)
TINY = "bert(layers=1, dim=16, heads=2, vocabulary=400, length=16)"
FIT: dict[str, Any] = {"backbone": TINY, "strategy": "full(epochs=1)", "batch_size": 16}


def texts(count: int = 30) -> list[str]:
    chance = random.Random(0)
    return [" ".join(f"{'ab'[i % 2]}{chance.randrange(9)}" for _ in range(6)) for i in range(count)]


def table(name: str, rows: list[str], header: str = "text,label") -> str:
    Path(name).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return name


def classes() -> str:
    return table("classes.csv", [f"{text},{text[0]}" for text in texts()])


def numbers() -> str:
    return table("numbers.csv", [f"{text},{i / 8}" for i, text in enumerate(texts())])


def several() -> str:
    rows = [{"text": text, "label": ["one", "two"][: 1 + i % 2]} for i, text in enumerate(texts())]
    Path("several.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return "several.jsonl"


def tags() -> str:
    lines = [f"{word} {'B-x' if word[0] == 'b' else 'O'}" if word else "" for t in texts() for word in [*t.split(), ""]]
    Path("tags.conll").write_text("\n".join(lines))
    return "tags.conll"


def answers() -> str:
    asked = [{"title": f"t{i}", "paragraphs": [{"context": text, "qas": [
        {"id": str(i), "question": "first?", "answers": [{"text": text.split()[0], "answer_start": 0}]}
    ]}]} for i, text in enumerate(texts())]  # fmt: skip
    Path("asked.json").write_text(json.dumps({"data": asked}))
    return "asked.json"


MAKE = {"class": classes, "number": numbers, "labels": several, "tags": tags, "answers": answers}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each kind of labels."""
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        return {kind: root / graft.fit(make(), **FIT, out=kind)["run"] for kind, make in MAKE.items()}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# -------------------------------------------------------------------------------------------------- forms of samples


def test_plain_text_is_cut_into_words_for_tags(runs: dict[str, Path]) -> None:
    plain = texts(4)
    Path("plain.txt").write_text("\n".join(text.replace(" ", "  ") for text in plain))
    Path("cut.conll").write_text("\n".join(word for text in plain for word in [*text.split(), ""]))
    ours, _ = graft.predict(runs["tags"], "plain.txt")
    theirs, _ = graft.predict(runs["tags"], "cut.conll")
    assert [row["label"] for row in ours] == [row["label"] for row in theirs]
    assert [row["probability"] for row in ours] == pytest.approx([row["probability"] for row in theirs])
    data = intake.for_prediction("plain.txt", run.load(runs["tags"]))
    assert data.load(data.samples[0]) == (plain[0], None, tuple(plain[0].split()))
    assert data.samples[0].digest == audit(open_data("plain.txt")).samples[0].digest


def test_questions_need_passages(runs: dict[str, Path]) -> None:
    data = table("q.csv", [f"first?,{text}" for text in texts(3)], "text,passage")
    with pytest.raises(
        DataError, match=r"learns from questions and passages; row 2 of q\.csv has no passage"
    ) as caught:
        graft.predict(runs["answers"], data)
    assert "--pair" in caught.value.hint
    assert len(graft.predict(runs["answers"], data, pair="passage")[0]) == 3


def test_pairs_for_a_run_of_single_texts_are_said(runs: dict[str, Path]) -> None:
    data, card = table("p.csv", ["a1,a2", "b1,b2"], "text,pair"), runs["class"] / "data.json"
    before = card.read_text()
    for learned, file, found in ((False, data, True), (True, data, False), (True, classes(), True)):
        card.write_text(json.dumps({**json.loads(before), "pairs": learned}))
        codes = [issue.code for issue in graft.predict(runs["class"], file)[1]]
        assert ("other-pairs" in codes) == found
    card.write_text(before)


# ------------------------------------------------------------------------------------------------------ every row


@pytest.mark.parametrize("rows", [["a1 a2,", "b1 b2,b", "a3 a1,zebra"], ["a1 a2,", "b1 b2,", "a3,"]])
def test_predict_says_something_of_every_row(rows: list[str], runs: dict[str, Path]) -> None:
    said, issues = graft.predict(runs["class"], table("new.csv", rows))
    assert [row["path"] for row in said] == ["row 2", "row 3", "row 4"] and all(row["label"] for row in said)
    assert not [issue for issue in issues if "label" in issue.what]


def test_rows_without_a_label_are_not_learned_from() -> None:
    data = table("some.csv", [*(f"{text},{text[0]}" for text in texts()), "a1 a7,"])
    result = graft.fit(data, **FIT)
    assert [i["keys"] for i in result["issues"] if i["code"] == "unlabelled"] == [["row 32"]]
    assert sum(result["splits"].values()) == 30
    assert graft.evaluate(result["run"], data)["samples"] == 30


# ---------------------------------------------------------------------------------------------------------- evaluate


def openings(folder: Path) -> int:
    return len(json.loads((folder / "sealed.json").read_text()))


def test_an_opening_is_recorded_when_it_was_one(runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    before, data = openings(runs["class"]), classes()
    with pytest.raises(DataError, match="learns from classes"):
        graft.evaluate(runs["class"], numbers())
    kind = type(run.load(runs["class"]).task)
    with monkeypatch.context() as patch, pytest.raises(DataError, match="no"):
        patch.setattr(kind, "report", lambda *a: (_ for _ in ()).throw(DataError("no")))
        graft.evaluate(runs["class"], data)
    assert openings(runs["class"]) == before
    graft.evaluate(runs["class"], data)
    assert openings(runs["class"]) == before + 1


def test_labels_are_read_as_the_run_reads_them(runs: dict[str, Path]) -> None:
    assert graft.evaluate(runs["number"], table("n.csv", ["a1 b1,1", "a2 b3,2", "b4,2"]))["samples"] == 3
    assert graft.evaluate(runs["labels"], table("l.csv", ["a1 b1,one;two", "a2 b3,one"]))["samples"] == 2
    with pytest.raises(DataError, match="not of its kind"):
        graft.evaluate(runs["number"], classes())
    with pytest.raises(DataError, match="no labels to compare with"):
        graft.evaluate(runs["number"], table("t.csv", ["a1", "b1"], "text"))


# ------------------------------------------------------------------------------------------------------ plan, recipes


def test_a_run_on_tags_is_repeated_from_its_recipe(runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs["tags"].parent)
    again = graft.fit(recipe=runs["tags"] / "recipe.json", out="again")
    first = json.loads((runs["tags"] / "result.json").read_text())
    assert again["task"] == "token_classification" and again["test"] == first["test"]


@pytest.mark.parametrize(("make", "more"), [(numbers, {"loss": "mae"}), (answers, {"head": "linear(dropout=0.3)"}),
                                            (classes, {"class_weights": "balanced"})])  # fmt: skip
def test_options_of_the_task_that_the_data_decide(make: Any, more: dict[str, str]) -> None:
    graft.fit(make(), **FIT, **more)


@pytest.mark.parametrize("more", [{"loss": "mae"}, {"loss": "mea"}, {"head": "linaer"}])
def test_options_that_the_task_does_not_have(more: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        graft.fit(classes(), **FIT, **more)
    assert not Path("runs").exists()


def test_long_texts_are_divided_where_the_trunk_has_no_windows() -> None:
    data = audit(open_data(table("long.csv", [f"{text * 9},{text[0]}" for text in texts(6)])))
    (issue,) = intake.as_read(data, build.backbone(TINY, build.corpus(data)))
    assert issue.hint == "divide the long texts"


# ----------------------------------------------------------------------------------------------------------- lines


@pytest.mark.parametrize(("row", "line"), [
    ({"label": "a", "probability": 0.5}, "a\t0.5000"), ({"label": 2.50001}, "2.50001\t"), ({"label": 1e9}, "1e+09\t"),
    ({"label": ["x", "y"], "probability": {"x": 0.9, "y": 0.75}}, "x, y\t0.9000, 0.7500"),
    ({"label": [], "probability": {}}, "\t"),
    ({"label": [{"entity": "place", "text": "New York"}, {"entity": "person", "text": "Ann"}], "probability": 0.5},
     "place: New York; person: Ann\t0.5000"),
    ({"label": None, "probability": None, "error": "empty text"}, "\t\tempty text"),
])  # fmt: skip
def test_lines_of_predict(row: dict[str, Any], line: str) -> None:
    assert ask._line({"path": "p", **row}) == f"p\t{line}"


@pytest.mark.parametrize("kind", MAKE)
def test_rows_of_every_kind_make_lines(kind: str, runs: dict[str, Path]) -> None:
    rows, _ = graft.predict(runs[kind], MAKE[kind]())
    cells = 5 if "set" in rows[0] else 3
    assert len(rows) == 30 and all(len(ask._line(row).split("\t")) == cells for row in rows)
