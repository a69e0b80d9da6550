"""Runs on texts from end to end, one for each kind of label: fitted, saved, read back, predicted with, evaluated."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

import graft
from graft import build, intake, run, zoo
from graft.cache import Cache
from graft.data._audit import audit
from graft.data._sniff import open_data
from graft.errors import UsageError
from graft.features import Feed
from graft.recipe import Recipe
from graft.trials import Trials, Way
from graft.types import Dataset, Text

pytest.importorskip("transformers", reason="needs transformers")
torch.set_num_threads(1)
TINY = "bert(layers=2, dim=16, heads=2, vocabulary=400, length=16)"  # windows of 16 tokens
FIT: dict[str, Any] = {"backbone": TINY, "strategy": "full(epochs=4, lr=0.01, head_lr=0.01)", "batch_size": 16}
GOOD, BAD = ["great", "lovely", "fine", "superb"], ["awful", "poor", "sad", "terrible"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def sentences(count: int = 90) -> list[tuple[str, int]]:
    """Texts of 3 to 40 words, most of them of one mood."""
    chance, made = random.Random(0), []
    for i in range(count):
        mood = (GOOD, BAD)[i % 2]
        words = [chance.choice([*mood, f"thing{chance.randrange(9)}"]) for _ in range(chance.choice((3, 6, 40)))]
        made.append((" ".join([*words, mood[i % 4]]), i % 2))
    return made


def table(name: str, header: str, rows: list[str]) -> str:
    Path(name).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return name


def classes() -> str:
    return table("mood.csv", "text,label", [f"{text},{'good' if not bad else 'bad'}" for text, bad in sentences()])


def numbers() -> str:
    return table("stars.jsonl", "", [json.dumps({"text": t, "label": 4.5 - 3 * bad}) for t, bad in sentences()])


def several() -> str:
    rows = [{"text": t, "label": ["bad"] * bad + ["long"] * (len(t) > 60)} for t, bad in sentences()]
    return table("several.jsonl", "", [json.dumps(row) for row in rows])


def tags() -> str:
    lines = [f"{word}\t{'B-mood' if word in GOOD + BAD else 'O'}" for t, _ in sentences() for word in [*t.split(), ""]]
    return table("moods.conll", "", [line if line[0] != "\t" else "" for line in lines])


def answers() -> str:
    """What the first thing of a text is."""
    found = [text for text, _ in sentences() if "thing" in text]
    asked = [{"title": f"a{i}", "paragraphs": [{"context": t, "qas": [
        {"id": str(i), "question": "which?", "answers": [{"text": "thing", "answer_start": t.index("thing")}]}
    ]}]} for i, t in enumerate(found)]  # fmt: skip
    Path("asked.json").write_text(json.dumps({"version": "1", "data": asked}))
    return "asked.json"


KINDS = [(classes, "classification", "accuracy", 0.8), (numbers, "regression", "r2", 0.4),
         (several, "multilabel", "f1_micro", 0.7), (tags, "token_classification", "f1", 0.8),
         (answers, "question_answering", "f1", -1.0)]  # fmt: skip


@pytest.mark.parametrize(("make", "task", "metric", "least"), KINDS, ids=[kind[1] for kind in KINDS])
def test_a_run_of_every_kind_of_label(make, task: str, metric: str, least: float) -> None:
    data = make()
    result = graft.fit(data, **FIT)
    folder = Path(result["run"])
    assert result["task"] == task and json.loads((folder / "recipe.json").read_text())["task"] == task
    assert result["test"][metric]["value"] > least
    rows, _ = graft.predict(folder, data)
    known = audit(open_data(data))
    assert len(rows) == len(known) and all("label" in row for row in rows)
    scores = graft.evaluate(folder, data)["scores"]
    assert scores[metric]["value"] > least and scores[metric]["low"] <= scores[metric]["value"]


def test_a_finished_run_is_known_by_its_open_questions_too() -> None:
    data = classes()
    first = graft.fit(data, **{**FIT, "strategy": "full(epochs=1)"}, out="run")
    again = graft.fit(data, **{**FIT, "strategy": "full(epochs=1)"}, out="run", resume=True)
    assert again["already_done"] and again["run"] == first["run"]


def test_a_task_that_takes_other_labels_is_refused() -> None:
    with pytest.raises(UsageError, match="regression learns from numbers, and mood.csv has classes") as caught:
        graft.fit(classes(), **FIT, task="regression")
    assert caught.value.hint == "--task classification"


def test_what_is_cut_is_counted_and_windows_cut_nothing() -> None:
    data = audit(open_data(classes()))
    cut = build.backbone(TINY, build.corpus(data))
    found = intake.as_read(data, cut)
    long = sum(len(cut.preprocess._plain.encode(data.load(s).text).ids) > 16 for s in data.samples)
    assert len(found) == 1 and len(found[0].keys) == long > 20 and found[0].hint == "divide the long texts"
    task = build.task_for(
        Recipe("x", task="token_classification"), data.replace(kind="tags", classes=("O", "B-x"), samples=())
    )
    assert intake.as_read(data, build.suited(cut, task)) == []


# ---------------------------------------------------------------------------------------------------------- the feed


@pytest.fixture
def texts() -> Dataset:
    return audit(open_data(classes()))


def feed(texts: Dataset, needs: str = "tokens", cache: Cache | None = None) -> Feed:
    torch.manual_seed(0)
    backbone = build.backbone(TINY, build.corpus(texts)).eval()
    backbone.preprocess = backbone.preprocess.__class__(**{**vars_of(backbone.preprocess), "long": "windows"})
    return Feed(texts, backbone, device=torch.device("cpu"), needs=needs, cache=cache)


def vars_of(preprocess: Any) -> dict[str, Any]:
    return {key: value for key, value in preprocess.json().items() if key != "kind"}


@pytest.mark.parametrize("boundary", [1, 2, 3])
def test_kept_rows_are_what_the_stages_make_of_a_text_alone(texts: Dataset, boundary: int) -> None:
    made = feed(texts)
    made.open(boundary)
    rows = torch.tensor([5, 0, 17, 2])
    batch = made.batch(rows, boundary)
    for place, row in enumerate(rows.tolist()):
        alone = made.backbone.encode(made.backbone.prepare([texts.load(texts.samples[row])]), 0, boundary)
        size, real = alone.x.shape[1], alone.mask[0]
        assert torch.allclose(batch.x[place, :size][real], alone.x[0][real], atol=1e-5)
        assert torch.equal(batch.mask[place, :size], alone.mask[0]) and not batch.mask[place, size:].any()
        assert torch.equal(batch.places[place, :size], alone.places[0])
    with torch.no_grad():
        whole = made.backbone(made.batch(rows, 0)).pooled
        assert torch.allclose(made.features(batch, boundary).pooled, whole, atol=1e-5)


def test_rows_of_texts_come_back_from_the_disk(texts: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, rows = Cache(tmp_path / "cache"), torch.arange(len(texts))
    first = feed(texts, cache=cache)
    first.open(2)
    before = first.batch(rows, 2)
    again = feed(texts, cache=cache)
    through, ran = Feed._through, []
    monkeypatch.setattr(Feed, "_through", lambda self, few, *a: ran.extend(few.tolist()) or through(self, few, *a))
    again.open(2)
    assert torch.equal(again.batch(rows, 2).x, before.x) and not ran


def test_rows_that_do_not_fit_are_made_again(texts: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, rows = feed(texts), torch.tensor([3, 30, 31])
    kept.open(2)
    expected = kept.batch(rows, 2)
    monkeypatch.setenv("GRAFT_MEMORY", "0.000001")
    small = feed(texts)
    small.open(2)
    assert torch.allclose(small.batch(rows, 2).x, expected.x, atol=1e-5) and not small._kept


def test_predictions_come_in_the_order_of_the_rows(texts: Dataset) -> None:
    trials = Trials(Recipe("x", precision="fp32"), texts, ())
    assert trials.trunk(TINY).feed.shortest_first(torch.arange(len(texts))).tolist() != list(range(len(texts)))
    trials.trunk(TINY).backbone.eval()
    pooled = trials.trunk(TINY).feed.pooled()
    alone = trials.trunk(TINY).backbone(trials.trunk(TINY).backbone.prepare([texts.load(texts.samples[7])])).pooled
    assert torch.allclose(pooled[7], alone[0], atol=1e-5)


def test_the_ladder_climbs_on_words(monkeypatch: pytest.MonkeyPatch) -> None:
    result = graft.fit(tags(), backbone=f"{TINY}", strategy="linear_probe(epochs=2)", budget="30s")
    assert result["strategy"].startswith("linear_probe")
    with pytest.raises(UsageError, match="none of the trunks has pretrained weights"):
        graft.fit(tags(), backbone=TINY, budget="20s")


def test_auto_means_minilm_for_texts(texts: Dataset) -> None:
    assert zoo.settled(Recipe("x", strategy="ridge"), texts).backbone == "minilm"
    assert Way("tfidf", "ridge").backbone == "tfidf" and Text("a").pair is None


def test_lora_from_a_random_head_is_trained_on_tags() -> None:
    """The arguments are checked on the same model before: its adapters must be gone by then."""
    pytest.importorskip("peft", reason="needs peft")
    result = graft.fit(tags(), **{**FIT, "strategy": "lora(start=None, epochs=1)"})
    assert [phase["phase"] for phase in result["phases"]] == ["adapters"]


def test_a_start_is_found_for_labels_that_no_probe_solves() -> None:
    result = graft.fit(numbers(), **{**FIT, "strategy": "bitfit(epochs=1)"})
    assert [phase["phase"] for phase in result["phases"]] == ["head", "biases"]


def test_a_regression_is_evaluated_in_the_units_it_was_trained_in() -> None:
    graft.fit(numbers(), **{**FIT, "strategy": "linear_probe(epochs=1)"}, out="run")
    kept = run.load(Path("run"))
    head = kept.model.head.state_dict()
    assert (kept.task.centre, kept.task.spread) == (head["centre"].item(), head["spread"].item()) != (0.0, 1.0)
    scores = graft.evaluate("run", "stars.jsonl")["scores"]
    assert scores["loss"]["value"] == pytest.approx(scores["mse"]["value"] / head["spread"].item() ** 2)


def test_a_trunk_without_words_is_refused_for_tags() -> None:
    with pytest.raises(UsageError, match="tfidf.* says nothing of single words"):
        graft.fit(tags(), **{**FIT, "backbone": "tfidf"})


def test_windows_are_a_trunk_of_their_own() -> None:
    cut = build.backbone(TINY, build.corpus(audit(open_data(tags()))))
    made = build.suited(cut, build.task(Recipe("x", task="mlm"), ()))
    assert (cut.preprocess.long, made.preprocess.long) == ("truncate", "windows")
    assert list(made.stages)[0] is list(cut.stages)[0] and made.heads == cut.heads


def test_the_shortest_windows_there_are() -> None:
    made = build.backbone("bert(layers=1, dim=16, heads=2, vocabulary=300, length=8)", lambda: [Text("one two")])
    assert len(made.stages) == 2
