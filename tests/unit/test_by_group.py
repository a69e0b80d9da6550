"""Figures by group, and leave-one-group-out: closed forms, nothing of a left out group on the other side, the worst."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import graft
from conftest import draw_flowers
from graft import build, cli, groups, left_out, run
from graft.errors import DataError, UsageError
from graft.intervals import wilson
from graft.left_out import leave_one_out
from graft.trials import Trials, Way
from graft.types import Recipe

torch.set_num_threads(1)
FIT: dict[str, Any] = {"backbone": "toy", "strategy": "ridge", "device": "cpu"}


def flowers_by_camera(root: Path, cameras: int = 3, wrong: int | None = None, each: int = 12) -> str:
    """A table of small images; every k-th is of camera k, and camera `wrong` has its labels turned round."""
    draw_flowers(root / "pictures", each=each)
    names = ["daisy", "rose", "tulip"]
    lines = ["path,label,camera"]
    for i, label in enumerate(names):
        for number in range(each):
            camera = number % cameras
            said = names[(i + 1) % 3] if camera == wrong else label
            lines.append(f"pictures/{label}/{number}.png,{said},c{camera}")
    (root / "flowers.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(root / "flowers.csv")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on pictures of all cameras, and the same pictures with those of c1 labelled wrongly."""
    root = tmp_path_factory.mktemp("groups")
    graft.fit(flowers_by_camera(root), out=str(root / "run"), test=0.2, **FIT)
    flowers_by_camera(root / "wrong", wrong=1)
    return root


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(place)
    yield place


def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str, str]:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["graft", *words])
        try:
            cli.main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


# ---------------------------------------------------------------------------------------------------------- the figures


def test_the_mean_over_groups_has_students_interval_over_groups() -> None:
    each = {"a": np.array([1.0, 1, 0, 1]), "b": np.array([1.0, 0]), "c": np.array([0.0, 0, 0, 1, 1])}
    found = groups.summary("accuracy", "speaker", each)
    values = [0.75, 0.5, 0.4]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert found["mean"]["value"] == pytest.approx(np.mean(values))
    assert (found["mean"]["low"], found["mean"]["high"]) == pytest.approx((max(0, low), min(1, high)))
    assert "Student's t over 3 groups" in found["mean"]["method"]
    assert [(row["group"], row["samples"]) for row in found["groups"]] == [("a", 4), ("b", 2), ("c", 5)]
    assert found["groups"][2]["low"] == pytest.approx(wilson(2, 5).low) and found["groups"][2]["method"] == "wilson"
    assert found["worst"]["group"] == "c" and found["worst"]["value"] == pytest.approx(0.4)


def test_groups_that_are_all_alike_are_not_known_exactly() -> None:
    found = groups.summary("accuracy", "speaker", {name: np.ones(10) for name in "ab"})["mean"]
    assert found["value"] == found["high"] == 1 and found["low"] == pytest.approx(wilson(20, 20).low)


def test_what_is_no_rate_is_not_cut_off_at_one() -> None:
    each = {"a": np.array([-3.0, -1.5]), "b": np.array([0.5, 0.7])}
    found = groups.summary("r2", "site", each)
    assert found["mean"]["low"] < -1 and found["mean"]["high"] > 1 and found["groups"][0]["method"] == "bootstrap"


def test_more_errors_than_words_are_not_cut_off_at_nothing() -> None:
    each = {"a": np.array([-0.6, -0.4]), "b": np.array([-0.1, -0.11])}
    low, high = stats.t.interval(0.95, 1, -0.3025, stats.sem([-0.5, -0.105]))
    found = groups.summary("word_accuracy", "speaker", each)["mean"]
    assert (found["value"], found["low"], found["high"]) == pytest.approx((-0.3025, low, high))
    rates = groups.mean_over([1.5, 1.2], wilson(1, 2), "wer")
    assert rates is not None and rates.low < 1.35 < rates.high


def test_one_group_says_nothing_of_others() -> None:
    found = groups.summary("accuracy", "speaker", {"a": np.ones(3)})
    assert found["mean"] is None and len(groups.table(found)) == 2


def test_the_table_is_short_where_there_are_many_groups() -> None:
    each = {f"p{i:03}": np.array([float(i % 2)] * 4) for i in range(100)}
    lines = groups.table(groups.summary("accuracy", "patient", each))
    assert any("and 60 more" in line for line in lines) and len(lines) < 50


# ------------------------------------------------------------------------------------------------------------ evaluate


def test_by_a_column_names_the_worst_group(here: Path) -> None:
    found = graft.evaluate(here / "run", "wrong/flowers.csv", by="camera")
    rows = {row["group"]: row for row in found["groups"]["groups"]}
    assert found["groups"]["worst"]["group"] == "c1" and set(rows) == {"c0", "c1", "c2"}
    assert rows["c1"]["value"] < rows["c0"]["value"]
    assert sum(row["samples"] for row in rows.values()) == found["samples"] == 36
    right = sum(row["value"] * row["samples"] for row in rows.values())
    assert right / 36 == pytest.approx(found["scores"]["accuracy"]["value"])


def test_copies_are_no_groups_and_join_none(here: Path, tmp_path: Path) -> None:
    """The audit puts all groups that share a copy into one; here they stay what the data call them."""
    text = (here / "flowers.csv").read_text(encoding="utf-8").replace("pictures/", f"{here}/pictures/")
    inside = here / "doubled.csv"
    inside.write_text(text.replace(f"{here}/", "") + "pictures/rose/0.png,rose,c1\npictures/rose/3.png,rose,\n")
    found = graft.evaluate(here / "run", str(inside), by="camera")
    assert [(row["group"], row["samples"]) for row in found["groups"]["groups"]] == [("c0", 12), ("c1", 13), ("c2", 12)]
    lonely = next(issue for issue in found["issues"] if issue["code"] == "no-group")
    assert lonely["count"] == 1 and "camera" in lonely["hint"]


def test_the_groups_that_the_reader_finds(here: Path) -> None:
    text = (here / "flowers.csv").read_text(encoding="utf-8").replace("camera", "patient")
    (here / "patients.csv").write_text(text)
    assert len(graft.evaluate(here / "run", "patients.csv", by="group")["groups"]["groups"]) == 3


def test_other_labels_than_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [f"{'good ' * (i % 5)} thing w{i},{i % 5},s{i % 3}" for i in range(60)]
    Path("notes.csv").write_text("\n".join(["text,score,speaker", *lines]))
    data = "notes.csv(number='score')"
    made = graft.fit(data, backbone="tfidf", strategy="linear_probe(epochs=40)", valid=0, out="run", device="cpu")
    found = graft.evaluate(made["run"], data, by="speaker")["groups"]
    assert found["metric"] == "r2" and all(row["method"] == "bootstrap" for row in found["groups"])
    left = graft.evaluate(made["run"], data, leave_out="speaker")
    assert left["groups"]["metric"] == "r2" and len(left["groups"]["groups"]) == 3


# ------------------------------------------------------------------------------------------------------- leave one out


def test_no_group_is_on_both_sides(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[set[str], set[str]]] = []
    measure = Trials.measure

    def spy(self: Trials, way: Way, fold: int, abort: Any = None) -> Any:
        rows = self.folds[fold]
        sides = [{self.pool.samples[i].key for i in part} for part in (rows.train, rows.test)]
        seen.append((sides[0], sides[1]))
        return measure(self, way, fold, abort)

    monkeypatch.setattr(Trials, "measure", spy)
    before = (here / "run" / "model.safetensors").read_bytes()
    found = graft.evaluate(here / "run", "flowers.csv", leave_out="camera")
    lines = (line.split(",") for line in (here / "flowers.csv").read_text(encoding="utf-8").splitlines()[1:])
    camera = {path: name for path, _, name in lines}
    assert len(seen) == 3
    for train, test in seen:
        assert len({camera[key] for key in test}) == 1 and len(train) == 24 and len(test) == 12
        assert not {camera[key] for key in train} & {camera[key] for key in test}
    assert [row["samples"] for row in found["groups"]["groups"]] == [12, 12, 12]
    assert found["samples"] == 36 and found["scores"]["accuracy"]["method"] == "wilson"
    assert (here / "run" / "model.safetensors").read_bytes() == before


def test_the_figures_are_those_of_a_fit_to_the_others(here: Path) -> None:
    """A left out group, by hand: the same probe on the same features."""
    from graft.data._sniff import open_data
    from graft.features import Feed

    recipe = run.load(here / "run").recipe
    dataset = open_data("flowers.csv(group='camera')")
    with torch.random.fork_rng():
        feed = Feed(dataset, build.backbone("toy").eval(), device=torch.device("cpu"))
    x, y = feed.pooled(), dataset.targets()
    for name, row in zip(("c0", "c1", "c2"), leave_one_out(here / "run", "flowers.csv", "camera")["ways"][0]["groups"],
                         strict=True):  # fmt: skip
        test = torch.tensor([sample.group == name for sample in dataset.samples])
        head = build.probe(recipe, 3)
        head.fit(x[~test], y[~test])
        assert row["value"] == pytest.approx((head(x[test]).argmax(1) == y[test]).double().mean().item())


def test_copies_of_a_left_out_group_are_not_trained_on(here: Path) -> None:
    from graft.data._audit import audit
    from graft.data._sniff import open_data

    lines = (here / "flowers.csv").read_text(encoding="utf-8") + "pictures/rose/0.png,rose,c1\n"
    (here / "shared.csv").write_text(lines)
    data = "shared.csv(group='camera')"
    pool = audit(open_data(data))
    folds, issues = left_out._folds(pool, groups.grouped(data, pool, "camera", "--leave-out"))
    keys = [{pool.samples[i].key for i in fold.train} for fold in folds]
    assert "pictures/rose/0.png (row 38)" not in keys[0], "c0 holds the same picture"
    assert "pictures/rose/0.png" not in keys[1] and {"pictures/rose/0.png"} < keys[2]
    assert len(keys[0]) == 24 and issues[0].code == "copies-between-groups"


def test_a_copy_between_two_groups_makes_no_others_of_one_copies(here: Path) -> None:
    """c0 and c1 share one picture, and the audit joins them; c1 shows another picture twice, which c0 does not have."""
    from graft.data._audit import audit
    from graft.data._sniff import open_data

    lines = (here / "flowers.csv").read_text(encoding="utf-8") + "pictures/rose/0.png,rose,c1\n"
    (here / "twice.csv").write_text(lines + "pictures/rose/1.png,rose,c1\n")
    data = "twice.csv(group='camera')"
    pool = audit(open_data(data))
    folds, issues = left_out._folds(pool, groups.grouped(data, pool, "camera", "--leave-out"))
    without_c0 = {pool.samples[i].key for i in folds[0].train}
    assert {"pictures/rose/1.png", "pictures/rose/1.png (row 39)"} <= without_c0
    assert "pictures/rose/0.png (row 38)" not in without_c0 and len(without_c0) == 25
    assert set(issues[0].keys) == {"pictures/rose/0.png", "pictures/rose/0.png (row 38)"}


@pytest.mark.parametrize("pieces", [None, 30])
def test_symbols_and_words_are_made_without_the_left_out_group(
    pieces: int | None, sounds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Speaker k alone says the word k, with a letter that no one else has; transcripts have as many symbols."""
    pytest.importorskip("jiwer", reason="needs jiwer")
    rows = [line.split(",") for line in (sounds / "sounds.csv").read_text().splitlines()[1:]]
    words = {"s0": "quiz", "s1": "vex", "s2": "jack"}
    lines = [f"{path},{label} {words[speaker]},{speaker}" for path, label, speaker in rows]
    (sounds / "said.csv").write_text("\n".join(["path,transcript,speaker", *lines]) + "\n")
    seen: list[tuple[str, str]] = []
    measure = Trials.measure

    def spy(self: Trials, way: Way, fold: int, *rest: Any) -> Any:
        measure(self, way, fold, *rest)
        seen.append(("".join(self.pool.classes), " ".join(self._task(fold).decoder.texts)))  # type: ignore[attr-defined]
        ids = self.trunk(way.backbone).feed.targets.ids
        assert int(ids.max()) < len(self.pool.classes) and torch.equal(ids, self.targets.ids)

    monkeypatch.setattr(Trials, "measure", spy)
    recipe = Recipe("x", backbone="cnn_tdnn(rate=8000, mels=16, dim=8, widths=(4, 8), blocks=1)", augment="none",
                    task=f"ctc(pieces={pieces}, beam=2, lm='words')", strategy="full(epochs=1)",
                    device="cpu")  # fmt: skip
    found = leave_one_out(recipe, str(sounds / "said.csv"), "speaker")
    for (symbols, texts), letter, word in zip(seen, "zvj", words.values(), strict=True):
        assert letter not in symbols and word not in texts and len(texts.split()) == 2 * 24
        assert set("zvj") - {letter} <= set(symbols)
    (row,) = found["ways"]
    assert [group["group"] for group in row["groups"]] == ["s0", "s1", "s2"] and row["metric"] == "word_accuracy"
    assert row["scores"] == {}, "word accuracy is no mean over sounds"


def test_a_vocabulary_is_made_without_the_left_out_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{'yes' if i % 2 else 'no'} only{i % 4} word{i},{'ab'[i % 2]},s{i % 4}" for i in range(48)]
    Path("said.csv").write_text("\n".join(["text,label,speaker", *rows]))
    read: list[set[str]] = []
    corpus = build.corpus

    def spy(dataset: Any) -> Any:
        made = corpus(dataset)

        def told() -> Any:
            found = list(made())
            read.append({word for text in found for word in text.text.split() if word.startswith("only")})
            return found

        return told

    monkeypatch.setattr(build, "corpus", spy)
    found = leave_one_out(Recipe("said.csv", backbone="tfidf", strategy="ridge", device="cpu"), "said.csv", "speaker")
    assert [len(words) for words in read] == [3, 3, 3, 3] and len({frozenset(words) for words in read}) == 4
    assert found["ways"][0]["mean"]["value"] == 1.0


def test_several_ways_are_compared_in_pairs_and_kept(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = (Way("toy", "ridge"), Way("pixels", "centroid"))
    asked = Recipe("flowers.csv", device="cpu")
    found = leave_one_out(asked, "flowers.csv", "camera", ways, folder=tmp_path)
    a, b = ([row["value"] for row in way["groups"]] for way in found["ways"])
    gap = np.array(b) - np.array(a)
    gain = found["ways"][1]["gain"]
    assert found["ways"][0]["gain"] is None and gain["value"] == pytest.approx(gap.mean()) and gain["folds"] == 3
    wide = stats.t.ppf(0.975, 2) * gap.std(ddof=1) / 3**0.5
    assert gain["high"] - gain["value"] >= min(wide, 1 - gap.mean()) - 1e-9
    monkeypatch.setattr(Trials, "measure", lambda *_: pytest.fail("it was measured before"))
    assert leave_one_out(asked, "flowers.csv", "camera", ways, folder=tmp_path)["ways"][1]["gain"] == gain


def test_what_is_kept_of_other_labels_is_not_taken_for_these(here: Path, tmp_path: Path) -> None:
    asked = Recipe("flowers.csv", backbone="toy", strategy="ridge", device="cpu")
    leave_one_out(asked, "flowers.csv", "camera", folder=tmp_path)
    with pytest.raises(DataError, match="of other trials: not the same data"):
        leave_one_out(asked, "wrong/flowers.csv", "camera", folder=tmp_path)


def test_an_opening_of_the_sealed_part_is_recorded_and_said(here: Path) -> None:
    before = len(json.loads((here / "run" / "sealed.json").read_text()))
    found = graft.evaluate(here / "run", "flowers.csv", leave_out="camera")
    openings = json.loads((here / "run" / "sealed.json").read_text())
    assert len(openings) == before + 1 and "camera" in openings[-1]["why"]
    said = [issue["what"] for issue in found["issues"] if issue["code"] == "seen-before"]
    assert any("sealed test part" in what for what in said) and any("fitted anew" in what for what in said)


def test_a_trunk_that_was_pretrained_on_these_samples_is_said(here: Path) -> None:
    way = Way(f"trained:{here / 'run'}", "ridge")
    found = leave_one_out(Recipe("flowers.csv", device="cpu"), "flowers.csv", "camera", [way])
    assert any(issue["code"] == "pretrained-on" and issue["count"] for issue in found["issues"])


def test_so_is_one_that_went_through_another_run(here: Path, tmp_path: Path) -> None:
    """Pretrained on these, then on others: the last run knows only the others."""
    others = str(draw_flowers(tmp_path / "others", seed=9))
    graft.fit(others, **{**FIT, "backbone": f"trained:{here / 'run'}"}, out=str(tmp_path / "next"))
    graft.fit(others, **{**FIT, "backbone": f"trained:{tmp_path / 'next'}"}, out=str(tmp_path / "last"))
    way = Way(f"trained:{tmp_path / 'last'}", "ridge")
    found = leave_one_out(Recipe("flowers.csv", device="cpu"), "flowers.csv", "camera", [way])
    (issue,) = [issue for issue in found["issues"] if issue["code"] == "pretrained-on"]
    assert issue["count"] == 36 and "last" in issue["what"]


# ---------------------------------------------------------------------------------------------------- the command line


def test_the_table_goes_to_standard_output(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = shell(capsys, monkeypatch, "evaluate", "run", "wrong/flowers.csv", "--by", "camera")
    assert code == 0 and out.splitlines()[0].split() == ["camera", "samples", "accuracy"]
    assert "mean of 3 groups" in out and "worst: c1" in out and "scores" in err and "worst" not in err
    code, out, _ = shell(capsys, monkeypatch, "evaluate", "run", "flowers.csv", "--leave-out", "camera", "--json", "-q")
    assert code == 0 and json.loads(out)["groups"]["worst"]["group"] in ("c0", "c1", "c2")


def test_two_groups_are_measured_with_a_warning(tmp_path: Path, here: Path) -> None:
    found = leave_one_out(Recipe("x", backbone="toy", strategy="ridge", device="cpu"),
                          flowers_by_camera(tmp_path, 2), "camera")  # fmt: skip
    assert any(issue["code"] == "two-groups" for issue in found["issues"])


MISTAKES = {
    "unknown column": (("flowers.csv", "--by", "camra"), 3, "no column 'camra'", "did you mean 'camera'?"),
    "no groups": (("flowers.csv", "--by", "group"), 3, "has no groups", "--by speaker"),
    "no table": (("pictures", "--leave-out", "camera"), 2, "is no table", "path, label and camera"),
    "both": (("flowers.csv", "--by", "camera", "--leave-out", "camera"), 2, "--leave-out fits others", "--by camera"),
    "one group": (("one.csv", "--leave-out", "camera"), 3, "belong to one group, 'c0'", "two groups"),
    "groups are classes": (("flowers.csv", "--leave-out", "label"), 0, "", ""),
    "no labels": (("bare.csv", "--leave-out", "camera"), 3, "no labels", "graft predict"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name: str, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    text = (here / "flowers.csv").read_text(encoding="utf-8")
    (here / "one.csv").write_text(text.replace(",c1", ",c0").replace(",c2", ",c0"))
    bare = (f"{line.split(',')[0]},,{line.split(',')[2]}" for line in text.splitlines()[1:])
    (here / "bare.csv").write_text("\n".join(["path,label,camera", *bare]))
    words, expected, what, hint = MISTAKES[name]
    code, out, err = shell(capsys, monkeypatch, "evaluate", "run", *words)
    assert code == expected and what in err and hint in err and "Traceback" not in err
    assert bool(out) == (expected == 0)


def test_auto_is_no_way_to_leave_out(here: Path) -> None:
    with pytest.raises(UsageError, match="auto chooses"):
        leave_one_out(Recipe("x"), "flowers.csv", "camera")


def test_a_class_that_only_one_group_has_beside_one_other(tmp_path: Path) -> None:
    draw_flowers(tmp_path / "pictures", each=4)
    lines = [
        f"pictures/{label}/{i}.png,{label},{'ab'[label == 'rose']}" for label in ("rose", "daisy") for i in range(4)
    ]
    (tmp_path / "two.csv").write_text("\n".join(["path,label,camera", *lines]))
    with pytest.raises(DataError, match="fewer than two classes"):
        leave_one_out(Recipe("x", backbone="toy", strategy="ridge"), str(tmp_path / "two.csv"), "camera")
