"""What a run leaves for its report: real errors in pictures, labels in doubt, a curve, what to label, its cost."""

from __future__ import annotations

import base64
import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import graft
from conftest import draw_flowers
from graft.errors import DataError, MissingExtra, ResourceError
from graft.reporting._shape import Picture
from graft.showing import mistakes, relabel
from graft.showing import show as showing
from graft.showing.athand import AtHand
from graft.showing.expense import cost
from graft.showing.items import Items, cut, excerpt, picture
from graft.showing.larger import larger, lead
from graft.tasks.multilabel import multilabel
from graft.tasks.regression import regression
from graft.tasks.token_classification import token_classification
from graft.types import Dataset, Predictions, Sample, Sound, Text, UnreadableSample

pytestmark = pytest.mark.usefixtures("with_pages")
WEAK: dict[str, Any] = {"backbone": "pixels", "strategy": "ridge", "out": "run"}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the page itself, which has tests of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("graft.reporting.page.write", lambda *args, **options: Path("report.html"))
    monkeypatch.setattr("graft.reporting.card.write", lambda *args: Path("README.md"))


def shown(run: str = "run") -> dict[str, Any]:
    def refused(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    text = (Path(run) / "shown.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text, parse_constant=refused)
    return found


def opened(found: Picture) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(found["data"])))
    assert (image.width, image.height) == (found["width"], found["height"])
    return image


def parts(run: str = "run") -> dict[str, str]:
    lines = (json.loads(line) for line in (Path(run) / "splits.jsonl").read_text().splitlines())
    return {line["key"]: line["split"] for line in lines}


# ------------------------------------------------------------------------------------------------------- whole runs


def test_images_are_shown_with_what_is_wrong_and_what_is_like_them(tmp_path: Path) -> None:
    draw_flowers(Path("flowers"), each=40)
    result = graft.fit("flowers", test=0.4, **WEAK)
    found, split = shown(), parts()
    assert found["part"] == "test" and found["modality"] == "image"
    said = {row["path"]: row for row in graft.predict("run", "flowers")[0]}
    wrong = [key for key, part in split.items() if part == "test" and said[key]["label"] != key.split("/")[0]]
    assert wrong and len(found["errors"]) == min(12, len(wrong))
    sure = [error["probability"] for error in found["errors"]]
    assert sure == sorted(sure, reverse=True)
    for error in found["errors"]:
        item = error["item"]
        assert item["key"] in wrong and error["actual"] == item["label"] == item["key"].split("/")[0]
        assert error["predicted"] == said[item["key"]]["label"]
        assert max(opened(item["picture"]).size) <= 128
        assert len(error["alike"]) == 3 and {split[one["key"]] for one in error["alike"]} == {"train"}
    counts = {(pair["actual"], pair["predicted"]): pair["count"] for pair in found["confused"]}
    assert sum(counts.values()) == len(wrong)
    points = found["map"]["points"]
    assert sum(point["right"] is False for point in points) == len(wrong)
    assert {(p["part"], p["right"] is None) for p in points} == {("train", True), ("test", False)}
    assert found["curve"]["samples"] == result["splits"]["train"] and found["cost"]["seconds"] > 0
    assert found["curve"]["doubled"]["low"] <= found["curve"]["doubled"]["value"] <= found["curve"]["doubled"]["high"]


def test_wrong_labels_of_the_training_part_are_suspected_and_shown_next() -> None:
    pytest.importorskip("cleanlab", reason="needs cleanlab")
    draw_flowers(Path("flowers"), each=60)
    for number in range(4):
        Path(f"flowers/daisy/{number}.png").rename(f"flowers/rose/wrong{number}.png")
    graft.fit("flowers", backbone="bundled:tiny64", strategy="ridge", out="run")
    found, split = shown(), parts()
    doubted = [one["item"]["key"] for one in found["suspects"]]
    assert {split[key] for key in doubted} == {"train"}
    planted = {key for key in split if "wrong" in key and split[key] == "train"}
    assert planted & set(doubted)
    first = next(one for one in found["suspects"] if one["item"]["key"] in planted)
    assert (first["actual"], first["predicted"]) == ("rose", "daisy")
    assert first["probability"] > first["actual_probability"]
    assert first["item"]["key"] not in {one["key"] for one in first["alike"]}
    assert found["next"]["source"] == "suspects" and found["next"]["items"][0]["key"] == doubted[0]


def test_samples_without_a_label_are_what_to_label_next() -> None:
    draw_flowers(Path("flowers"), each=40)
    files = [file for label in ("daisy", "rose", "tulip") for file in sorted(Path(f"flowers/{label}").glob("*.png"))]
    rows = [f"{file.relative_to('flowers')},{'' if i % 4 == 0 else file.parent.name}" for i, file in enumerate(files)]
    Path("flowers/table.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    graft.fit("flowers/table.csv", **WEAK)
    found = shown()["next"]
    without = {row.rstrip(",") for row in rows if row.endswith(",")}
    assert found["source"] == "unlabelled" and found["of"] == len(without) == 30
    keys = [item["key"] for item in found["items"]]
    assert keys and set(keys) <= without and len(set(keys)) == len(keys)
    assert all(item["label"] is None and item["picture"] for item in found["items"])


def test_texts_are_shown_as_excerpts() -> None:
    chance, words = random.Random(0), [f"word{k}" for k in range(300)]
    good, bad = (["great", *words[:200]], ["awful", *words[100:]])
    rows = [f"{' '.join(chance.choices((good, bad)[i % 2], k=80))} {i},{('good', 'bad')[(i + (i % 5 == 0)) % 2]}"
            for i in range(160)]  # fmt: skip
    Path("mood.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    graft.fit("mood.csv", backbone="tfidf", strategy="ridge", out="run", test=0.3)
    found = shown()
    assert found["modality"] == "text" and found["errors"]
    for error in found["errors"]:
        assert error["item"]["picture"] is None and 0 < len(error["item"]["text"]) <= 300
        assert error["item"]["text"].endswith("…") and len(error["alike"]) == 3
    assert {"confused", "map", "curve"} <= found.keys()


@pytest.mark.parametrize("kind", ["number", "labels"])
def test_other_labels_have_errors_too(kind: str) -> None:
    chance, rows = random.Random(0), []
    for i in range(120):
        text = " ".join(chance.choices(["great", "awful", "thing", "other"], k=6)) + f" {i}"
        label = (
            text.count("great") + chance.random() if kind == "number" else sorted({*text.split()} & {"great", "awful"})
        )
        rows.append(json.dumps({"text": text, "label": label}))
    Path("made.jsonl").write_text("\n".join(rows) + "\n")
    graft.fit("made.jsonl", backbone="tfidf", strategy="linear_probe(epochs=2)", out="run")
    found = shown()
    assert found["errors"] and not {"confused", "suspects", "map"} & found.keys()
    assert all(error["actual"] != error["predicted"] and len(error["alike"]) == 3 for error in found["errors"])
    assert ("curve" in found) == (kind == "number")


def test_sounds_are_shown_as_spectrograms(sounds: Path) -> None:
    pytest.importorskip("soundfile", reason="needs soundfile")
    table = sounds / "sounds.csv"
    lines = table.read_text().splitlines()
    swapped = [lines[0], *(f"{line.split(',')[0]},{'hum' if i % 5 == 0 else line.split(',')[1]}"
                           for i, line in enumerate(lines[1:]))]  # fmt: skip
    (sounds / "mixed.csv").write_text("\n".join(["path,label", *swapped[1:]]) + "\n")
    graft.fit(str(sounds / "mixed.csv"), backbone="mfcc", strategy="ridge", out="run", test=0.4)
    found = shown()
    assert found["modality"] == "audio" and found["errors"]
    for error in found["errors"]:
        assert opened(error["item"]["picture"]).size == (128, 64) and error["item"]["text"] is None


def test_a_trunk_that_has_learned_the_labels_does_not_judge_them(monkeypatch: pytest.MonkeyPatch) -> None:
    draw_flowers(Path("flowers"), each=30)
    asked: list[AtHand] = []
    monkeypatch.setitem(showing.PARTS, "map", lambda work: asked.append(work.at))
    graft.fit("flowers", backbone="bundled:digits48", strategy="full(epochs=1, lr=0.01)", out="run")
    at = asked[0]
    assert not at.still
    rows, final = at.known
    graft.fit("flowers", backbone="bundled:digits48", strategy="ridge", out="other")
    came = asked[1].train.pooled()
    assert torch.allclose(at.as_it_came, came, atol=1e-5)
    assert not torch.allclose(final, came[torch.from_numpy(rows)], atol=1e-3)
    assert torch.allclose(final, at.train.pooled()[torch.from_numpy(rows)], atol=1e-4)


def test_random_weights_have_nothing_to_say_of_labels() -> None:
    draw_flowers(Path("flowers"), each=20)
    graft.fit("flowers", backbone="small", strategy="full(epochs=1)", out="run")
    found = shown()
    assert "suspects" not in found and "curve" not in found and "errors" in found
    assert any("random weights" in note for note in found["notes"])


def test_what_fails_is_a_note_and_the_rest_is_there(flowers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise MissingExtra("cleanlab", "trust")

    monkeypatch.setattr("graft.showing.relabel.suspects", broken)
    monkeypatch.setattr("graft.showing.show.plane", lambda *_: 1 / 0)
    monkeypatch.setattr("graft.explaining.brief", broken)
    graft.fit(str(flowers), test=0.4, **WEAK)
    found = shown()
    assert "suspects" not in found and "map" not in found and found["errors"][0]["why"] is None
    notes = "\n".join(found["notes"])
    assert "suspects: the library" in notes and "graft-ml[trust]" in notes and "map: ZeroDivisionError" in notes
    assert "curve: " in notes and "too few" in notes


def test_without_time_nothing_is_made_but_the_cost(flowers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(showing, "SECONDS", 0.0)
    graft.fit(str(flowers), **WEAK)
    found = shown()
    assert not {"errors", "map", "curve"} & found.keys() and "cost" in found
    assert len(found["notes"]) == len(showing.PARTS)


def test_of_samples_that_are_too_many_a_part_is_looked_at_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cleanlab", reason="needs cleanlab")
    monkeypatch.setattr(showing, "DOUBT", 0.0)
    monkeypatch.setattr(showing, "CURVE", 0.0)
    draw_flowers(Path("flowers"), each=40)
    train = graft.fit("flowers", **WEAK)["splits"]["train"]
    found = shown()
    looked = next(note for note in found["notes"] if note.startswith("suspects: looked for among"))
    assert int(looked.split()[4]) <= train / 5 + 2 and looked.endswith(f"of {train} training samples")
    assert "curve" not in found and any("too long" in note for note in found["notes"])
    assert relabel.affordable(30_000, 10, 20_000) == 20_000 and relabel.affordable(20_000, 2_000, 20_000) == 10_000
    with pytest.raises(ResourceError, match="5,000 classes take too long"):
        relabel.affordable(40_000, 5_000, 20_000)


def test_explanations_have_the_time_that_is_left(flowers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr("graft.explaining.brief", lambda *_: order.append("why") or [])
    monkeypatch.setitem(showing.PARTS, "map", lambda work: order.append("map"))
    graft.fit(str(flowers), test=0.4, **WEAK)
    assert order == ["map", "why"]


def test_a_hundred_classes_stay_small() -> None:
    rng = np.random.default_rng(0)
    for label in range(100):
        Path(f"many/class{label:03}").mkdir(parents=True)
        for number in range(6):
            pixels = rng.integers(0, 256, (150, 150, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(f"many/class{label:03}/{number}.png", compress_level=1)
    graft.fit("many", **WEAK)
    assert (Path("run") / "shown.json").stat().st_size < 2_000_000
    found = shown()
    assert len(found["errors"]) == len(found["confused"]) == 12
    assert len({error["actual"] for error in found["errors"]}) == 12
    assert len(found["map"]["points"]) <= 600


# ------------------------------------------------------------------------------------------------------------- pieces


def dataset(kind: str, labels: list[Any], texts: list[Any], classes: tuple[str, ...] = ()) -> Dataset:
    samples = tuple(Sample(f"s{i}", text, label) for i, (label, text) in enumerate(zip(labels, texts, strict=True)))
    return Dataset("made", "text", samples, classes, lambda s: s.source, lambda s: b"", kind=kind)


def test_the_worst_numbers_are_the_largest_residuals() -> None:
    data = dataset("number", [1.0, 2.0, 3.0, 4.0], [Text("")] * 4)
    said = Predictions(torch.tensor([[1.1], [5.0], [3.0], [2.0]]))
    found = mistakes.worst(regression(()), said, torch.tensor([1.0, 2, 3, 4]), data, 2)
    assert [(one.row, one.actual, one.predicted, one.probability) for one in found] == [
        (1, "2", "5", None), (3, "4", "2", None)]  # fmt: skip


def test_several_labels_are_wrong_where_one_is() -> None:
    task = multilabel(("a", "b"))
    data = dataset("labels", [("a",), ("a", "b"), ()], [Text("")] * 3, ("a", "b"))
    said = Predictions(torch.tensor([[0.9, 0.2], [0.8, 0.3], [0.1, 0.95]]), ("a", "b"))
    found = {one.row: one for one in mistakes.worst(task, said, task.targets(data), data, 5)}
    assert found.keys() == {1, 2}
    assert (found[1].actual, found[1].predicted) == ("a, b", "a") and found[1].probability == pytest.approx(0.7)
    assert (found[2].actual, found[2].predicted) == ("", "b") and found[2].probability == pytest.approx(0.95)


def test_tags_are_said_as_entities() -> None:
    task = token_classification(("O", "B-place"))
    words = Text("from here", None, ("from", "here"))
    data = dataset("tags", [("O", "B-place"), ("O", "O")], [words, words], ("O", "B-place"))
    said = Predictions(torch.eye(2)[torch.tensor([[0, 0], [0, 0]])], ("O", "B-place"))
    (found,) = mistakes.worst(task, said, task.targets(data), data, 5)
    assert (found.row, found.actual, found.predicted) == (0, "place: here", "")


def test_the_surest_errors_take_turns_between_classes() -> None:
    sure = torch.tensor([0.99, 0.98, 0.97, 0.6, 0.7, 0.9])
    values = torch.stack([sure, 1 - sure, torch.zeros(6)], 1)
    truth = torch.tensor([1, 1, 1, 2, 0, -1])
    data = dataset("class", ["b", "b", "b", "c", "a", None], [Text("")] * 6, ("a", "b", "c"))
    from graft.tasks.classification import classification

    found = mistakes.worst(classification(("a", "b", "c")), Predictions(values, ("a", "b", "c")), truth, data, 2)
    assert [(one.row, one.actual) for one in found] == [(0, "b"), (3, "c")]
    assert [pair[:2] + (pair.rows,) for pair in mistakes.confused(values, truth, 9)] == [(1, 0, [0, 1, 2]), (2, 0, [3])]


def test_pictures_are_made_anew_and_only_as_long_as_there_is_room() -> None:
    image = Image.effect_noise((300, 200), 50).convert("RGB")
    image.info["exif"] = b"Exif\x00\x00secret"
    made = picture(image)
    assert image.size == (300, 200) and (made["width"], made["height"]) == (128, 85)
    assert b"secret" not in base64.b64decode(made["data"])
    items = Items(room=len(made["data"]) + 10)
    assert items.kept(made) and items.kept(made) is None and items.missing == 1


@pytest.mark.parametrize("rate, seconds", [(8000, 0.01), (1000, 0.5), (16000, 12.0), (192000, 0.3)])
def test_every_sound_has_a_spectrogram(rate: int, seconds: float) -> None:
    wave = np.sin(np.arange(int(rate * seconds)) * 2 * np.pi * 440 / rate).astype(np.float32)
    made = picture(Sound(rate, len(wave), 1, lambda start, stop: wave[start:stop]))
    assert opened(made).size == (128, 64)


def test_texts_are_cut_and_names_can_be_written() -> None:
    assert cut("a" * 300) == "a" * 300 and cut("a" * 301) == "a" * 299 + "…"
    assert len(excerpt(Text("q" * 500, "p" * 500))) <= 301 and "\n" in excerpt(Text("q", "p"))
    gone = dataset("class", ["a"], [Text("")])

    def lost(sample: Sample) -> Text:
        raise UnreadableSample("gone")

    item = Items().make(gone.replace(load=lost), Sample("odd\udce4.png", None, "a"))
    json.dumps(item, ensure_ascii=False).encode("utf-8")
    assert item["picture"] is None and item["text"] is None


def test_nothing_that_is_no_number_is_written() -> None:
    assert showing.finite({"a": [float("nan"), 1.0, (float("inf"),)]}) == {"a": [None, 1.0, [None]]}


def test_a_larger_trunk_is_compared_on_samples_that_did_not_choose() -> None:
    rng = np.random.default_rng(0)
    hits = {k: (rng.random(40) < 0.6).astype(float) for k in range(10)}
    better = {k: np.maximum(each, rng.random(40) < 0.7) for k, each in hits.items()}
    ways, gain = lead({("large", "ridge"): better, ("large", "few"): {0: hits[0]}}, {("small", "knn"): hits})
    assert ways == (("large", "ridge"), ("small", "knn")) and gain.low > 0 and gain.folds == 10
    many = {("large", f"w{i}"): {k: (rng.random(40) < 0.6).astype(float) for k in range(10)} for i in range(30)}
    none = lead(many, {("small", "knn"): {k: (rng.random(40) < 0.6).astype(float) for k in range(10)}})[1]
    assert none.low < 0 < none.high
    held = lead({("large", "a"): {0: np.ones(200)}}, {("small", "b"): {0: np.zeros(200)}})[1]
    assert held.value == 1.0


def test_trunks_are_compared_by_their_size(tmp_path: Path) -> None:
    from graft.recipe import make

    trunks = ("bundled:digits48", "bundled:natural48", "bundled:tiny64")
    (tmp_path / "recipe.json").write_text(json.dumps(make({"data": "x", "backbone": " + ".join(trunks)}).json()))
    rng, right = np.random.default_rng(0), dict(zip((*trunks, "pixels"), (0.5, 0.7, 0.9, 1.0), strict=True))
    lines = [{"way": {"backbone": trunk, "strategy": "ridge", "features": "last", "terms": [], "batch_size": None},
              "fold": k, "each": (rng.random(60) < rate).astype(float).tolist()}
             for trunk, rate in right.items() for k in range(10)]  # fmt: skip
    (tmp_path / "trials.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"way": ')
    found = larger(tmp_path, "image", "class")
    assert found and (found["trunk"], found["over"], found["way"]) == ("bundled:tiny64", "bundled:natural48", "ridge")
    assert 0 < found["low"] < found["value"] < found["high"] < 0.35
    with pytest.raises(DataError, match="too few folds"):
        lead({("a", "x"): {0: np.ones(9)}}, {("b", "x"): {k: np.ones(9) for k in range(10)}})


def test_of_a_trunk_that_was_not_measured_nothing_is_said() -> None:
    assert [showing._says(more, None) for more in (True, False)] == ["only_data", "no_data"]
    assert [showing._says(more, {"low": low}) for more in (True, False) for low in (-0.1, 0.1)] == [
        "data", "both", "neither", "trunk"]  # fmt: skip


def test_without_trials_there_is_no_larger_trunk(flowers: Path) -> None:
    graft.fit(str(flowers), **WEAK)
    assert larger(Path("run"), "image", "class") is None


def test_energy_is_an_estimate_that_says_so() -> None:
    result = {"seconds": 3590.0, "cpu_seconds": 1795.0, "phases": [{"seconds": 100.0}]}
    found = cost(result, torch.device("cpu"), 10.0, 50.0)
    assert found["busy"] == 0.5 and found["watts"] == 17.5 and found["watt_hours"] == pytest.approx(17.5)
    assert found["stages"] == {"choice": 50.0, "training": 100.0, "report": 10.0, "rest": 3440.0}
    assert "estimate" in found["assumption"] and "15 W" in found["assumption"]
