"""How far predictions can be trusted: what is learned from which samples, what is said, and what mistakes are told."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import graft
from conftest import draw_flowers
from graft import api, calibration, cli, confidence, conformal, contest, held_out, ladder, novelty, run, trust
from graft.confidence import Sets, Trust
from graft.errors import IntegrityError, Interrupted, UsageError
from graft.features import Feed
from graft.novelty import Familiar
from graft.store import read_json, read_sealed_json, write_sealed_json
from graft.trials import Trials, Way
from graft.types import Json, Predictions

CLASSES = ["daisy", "rose", "tulip"]
FIT: dict[str, Any] = {"backbone": "toy", "strategy": "ridge", "device": "cpu", "test": 0.25, "valid": 0.35}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three classes with a validation part, its pictures, and others that are nothing of the kind."""
    root = tmp_path_factory.mktemp("trust")
    draw_flowers(root / "flowers", each=60)
    (root / "blue").mkdir()
    for i in range(12):
        Image.new("RGB", (24, 24), (i, i, 255 - i)).save(root / "blue" / f"{i}.png")
    graft.fit(str(root / "flowers"), out=str(root / "run"), **FIT)
    return root


@pytest.fixture(scope="module")
def chosen(place: Path) -> Path:
    """A run that `auto` has chosen: no sample of it is a validation sample."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contest, "epochs_for", lambda *a: 1)
        patch.setattr(contest, "CHEAP", 1.0)
        patch.setattr(ladder, "ON_THE_BEST", ())
        graft.fit(str(place / "flowers"), backbone="toy", strategy="auto", budget="60s", out=str(place / "chosen"))
    return place / "chosen"


def older(place: Path, folder: Path) -> Path:
    """The run as a version without trust has made it."""
    shutil.copytree(place / "run", folder)
    manifest = read_sealed_json(folder / "manifest.json")
    files = {name: digest for name, digest in manifest["files"].items() if name not in run.TRUSTED}
    write_sealed_json(folder / "manifest.json", {**manifest, "files": files})
    for name in run.TRUSTED:
        (folder / name).unlink()
    return folder


def learned(folder: Path) -> Trust:
    found = trust.read(folder)
    assert found is not None
    return found


# ------------------------------------------------------------------------------------------------ what a run leaves


def test_a_run_leaves_signed_files_of_json_and_safetensors(place: Path) -> None:
    signed = read_sealed_json(place / "run" / "manifest.json")["files"]
    assert set(run.TRUSTED) <= signed.keys()
    about, made = read_json(place / "run" / "trust.json"), learned(place / "run")
    assert about["made_on"] == made.made_on == "validation part"
    valid = [line for line in run.splits(place / "run") if line["split"] == "valid"]
    assert about["samples"] == len(made.held) == len(valid)
    assert made.draws.tolist() == conformal.draws([line["sha256"] for line in valid]).tolist()
    assert (place / "run" / "trust.safetensors").stat().st_size < 4_000_000


def test_the_temperature_is_that_of_the_validation_part(place: Path) -> None:
    made = learned(place / "run")
    assert made.temperature == pytest.approx(calibration.temperature(made.held.numpy(), made.targets.numpy()))
    loaded = run.load(place / "run")
    dataset = graft.api.for_evaluation(str(place / "flowers"), loaded)
    valid = {line["sha256"] for line in run.splits(place / "run") if line["split"] == "valid"}
    part = dataset.where(lambda sample: sample.digest in valid)
    said, _, _ = api._predictions(loaded, part, "cpu")
    torch.testing.assert_close(said.values, made.held, atol=1e-5, rtol=0)
    assert made.targets.tolist() == part.targets().tolist()


def test_result_json_says_what_trust_is_worth_on_the_sealed_part(place: Path) -> None:
    found = read_json(place / "run" / "result.json")["confidence"]
    assert found["samples"] == read_json(place / "run" / "result.json")["splits"]["test"]
    assert found["temperature"] == learned(place / "run").temperature
    for figures in (found["ece"], found["brier"]):
        assert all(one["low"] <= one["value"] <= one["high"] for one in figures.values())
    assert found["sets"].keys() == {"lac", "aps", "class"}
    for one in found["sets"].values():
        assert one["stated"] == 0.9 and one["coverage"]["method"] == "clopper-pearson" and 1 <= one["size"] <= 3
    assert sum(row["count"] for row in found["reliability"]) == found["samples"]
    assert found["unlike"]["stated"] == 0.05 and found["unlike"]["flagged"]["low"] < 0.3


def test_an_adapted_run_has_no_trust_and_predicts_as_before(place: Path, tmp_path: Path) -> None:
    child = tmp_path / "child"
    graft.adapt(place / "run", str(place / "flowers"), method="refit", out=str(child))
    assert trust.read(child) is None and not any((child / name).exists() for name in run.TRUSTED)
    rows, _ = graft.predict(child, str(place / "flowers"))
    assert rows[0].keys() == {"path", "label", "probability"}
    assert "confidence" not in graft.evaluate(child, str(place / "flowers"))
    with pytest.raises(UsageError, match="adapted"):
        graft.predict(child, str(place / "flowers"), coverage=0.8)


def test_labels_that_are_no_classes_have_no_trust(tmp_path: Path) -> None:
    rng, table = np.random.default_rng(0), tmp_path / "marks.jsonl"
    words = [" ".join(rng.choice(["plain", "good", "bad", "long", "new", "old"], 4)) for _ in range(60)]
    lines = [json.dumps({"text": f"{text} {i}", "label": float(rng.normal())}) for i, text in enumerate(words)]
    table.write_text("\n".join(lines), encoding="utf-8")
    graft.fit(str(table), backbone="tfidf", strategy="linear_probe(epochs=1)", out=str(tmp_path / "r"))
    assert trust.read(tmp_path / "r") is None and "confidence" not in read_json(tmp_path / "r" / "result.json")
    rows, _ = graft.predict(tmp_path / "r", str(table))
    assert "set" not in rows[0]
    with pytest.raises(UsageError, match="is for classes"):
        graft.predict(tmp_path / "r", str(table), abstain_below=0.5)


def test_without_a_held_out_part_there_is_nothing_to_learn_from(place: Path, tmp_path: Path) -> None:
    graft.fit(str(place / "flowers"), out=str(tmp_path / "r"), **{**FIT, "valid": 0.0})
    assert trust.read(tmp_path / "r") is None
    with pytest.raises(UsageError) as error:
        graft.predict(tmp_path / "r", str(place / "flowers"), sets="aps")
    assert "--valid 0.15" in error.value.hint


def test_few_samples_are_said_and_promise_nothing(flowers: Path, tmp_path: Path) -> None:
    graft.fit(str(flowers), backbone="toy", strategy="ridge", test=0.2, valid=0.2, out=str(tmp_path / "r"))
    about, made = read_json(tmp_path / "r" / "trust.json"), learned(tmp_path / "r")
    assert about["samples"] < 9 and made.temperature == 1
    said = " ".join(about["notes"])
    assert "too few to scale" in said and "every set holds all classes" in said and "3 of 3 classes" in said
    rows, _ = graft.predict(tmp_path / "r", str(flowers))
    assert all(sorted(row["set"]) == CLASSES and not row["unlike"] for row in rows)
    half, _ = graft.predict(tmp_path / "r", str(flowers), coverage=0.5)
    assert any(len(row["set"]) < 3 for row in half)  # for which they are enough


# ------------------------------------------------------------------------------------------------------- out of fold


def test_auto_learns_from_folds_that_its_way_was_not_fitted_to(chosen: Path) -> None:
    about, made = read_json(chosen / "trust.json"), learned(chosen)
    pool = [line for line in run.splits(chosen) if line["split"] != "test"]
    assert about["made_on"] == "out of fold" and len(made.held) == len(pool)  # each of them once
    assert sorted(made.draws.tolist()) == sorted(conformal.draws([line["sha256"] for line in pool]).tolist())
    rows, _ = graft.predict(chosen, str(chosen.parent / "flowers"))
    assert len(rows) == 180 and all(row["set"] for row in rows)
    assert "confidence" in read_json(chosen / "result.json")


def test_a_sample_of_the_bank_is_familiar_by_its_neighbours_alone(chosen: Path) -> None:
    made = learned(chosen)
    assert made.bank is not None and made.familiar is not None
    assert len(made.bank.rows) == len(made.familiar.far)  # all are in the bank, and none is its own neighbour
    assert made.familiar.far.min() > 0.005


def test_what_was_kept_out_of_fold_survives_an_interruption(place: Path, chosen: Path, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    shutil.copytree(chosen, folder)
    for name in ("result.json", "manifest.json", "model.safetensors", *run.TRUSTED):
        (folder / name).unlink()
    graft.fit(str(place / "flowers"), backbone="toy", strategy="auto", budget="60s", out=str(folder), resume=True)
    again, first = learned(folder), learned(chosen)
    torch.testing.assert_close(again.held, first.held)
    assert again.temperature == pytest.approx(first.temperature, abs=1e-6)


def test_a_run_that_was_stopped_while_it_chose_still_learns(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What trained ways said is gone with the process, and a probe is fitted again."""
    monkeypatch.setattr(contest, "epochs_for", lambda *a: 1)
    monkeypatch.setattr(ladder, "ON_THE_BEST", ())
    options: dict[str, Any] = {"backbone": "toy", "strategy": "auto", "budget": "60s", "out": str(tmp_path / "r")}
    with monkeypatch.context() as patch:
        patch.setattr(ladder.Ladder, "_controls", lambda self: (_ for _ in ()).throw(Interrupted(2, "stopped", "")))
        with pytest.raises(Interrupted):
            graft.fit(str(place / "flowers"), **options)
    graft.fit(str(place / "flowers"), **options, resume=True)
    assert learned(tmp_path / "r").made_on == "out of fold"


# ---------------------------------------------------------------------------------------------------- what predict says


def test_rows_have_calibrated_probabilities_sets_and_a_flag(place: Path) -> None:
    rows, _ = graft.predict(place / "run", str(place / "flowers"))
    made, loaded = learned(place / "run"), run.load(place / "run")
    raw, _, _ = api._predictions(loaded, graft.api.for_prediction(str(place / "flowers"), loaded), "cpu")
    scaled = calibration.scaled(raw.values.numpy(), made.temperature)
    for row, before, after in zip(rows, raw.values, scaled, strict=True):
        assert row["label"] == CLASSES[int(before.argmax())] and row["set"][0] == row["label"]
        assert row["probability"] == pytest.approx(after.max(), abs=1e-5)
        assert set(row["set"]) <= set(CLASSES) and 0 <= row["unlikeness"] <= 1
        assert row["unlike"] == (row["unlikeness"] >= 0.95 - 1e-9) and "abstained" not in row
        assert sorted(row["set"], key=lambda name: -after[CLASSES.index(name)]) == row["set"]


@pytest.mark.parametrize("sets", conformal.METHODS)
def test_more_coverage_means_larger_sets_and_one_sample_always_gets_the_same(place: Path, sets: str) -> None:
    sizes = []
    for coverage in (0.5, 0.9, 0.99):
        rows, _ = graft.predict(place / "run", str(place / "flowers"), coverage=coverage, sets=sets)
        sizes.append(sum(len(row["set"]) for row in rows))
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]
    whole = {row["path"]: row["set"] for row in graft.predict(place / "run", str(place / "flowers"), sets=sets)[0]}
    few, _ = graft.predict(place / "run", str(place / "flowers" / "rose"), sets=sets)
    assert all(whole[f"rose/{Path(row['path']).name}"] == row["set"] for row in few)


def test_below_a_probability_it_says_nothing(place: Path) -> None:
    plain, _ = graft.predict(place / "run", str(place / "flowers"))
    rows, _ = graft.predict(place / "run", str(place / "flowers"), abstain_below=0.8)
    for row, full in zip(rows, plain, strict=True):
        assert row["abstained"] == (full["probability"] < 0.8) and row["probability"] == full["probability"]
        assert row["label"] == (None if row["abstained"] else full["label"])
        assert row.get("candidate") == (full["label"] if row["abstained"] else None)
    assert 0 < sum(row["abstained"] for row in rows) < len(rows)
    assert not any(row["abstained"] for row in graft.predict(place / "run", str(place / "flowers"), abstain_below=0)[0])


def test_what_is_nothing_of_the_kind_is_stranger_than_what_is(place: Path) -> None:
    ours, _ = graft.predict(place / "run", str(place / "flowers"))
    theirs, _ = graft.predict(place / "run", str(place / "blue"))
    area = novelty.auroc([row["unlikeness"] for row in ours], [row["unlikeness"] for row in theirs])
    assert area.value > 0.8
    found = graft.evaluate(place / "run", str(place / "flowers"), unlike=str(place / "blue"))["confidence"]
    assert found["unlike_other"]["samples"] == 12
    assert found["unlike_other"]["auroc"]["value"] == pytest.approx(area.value)
    assert found["unlike_other"]["flagged"]["value"] == np.mean([row["unlike"] for row in theirs])


def test_the_trunk_runs_once_and_nothing_of_it_is_kept(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    through, made = Feed._through, []
    monkeypatch.setattr(Feed, "_through", lambda self, rows, *a: made.append(len(rows)) or through(self, rows, *a))  # type: ignore[func-returns-value]
    monkeypatch.setattr(Feed, "_make", lambda *a: pytest.fail("features are kept"))
    rows, _ = graft.predict(place / "run", str(place / "flowers"))
    assert sum(made) == len(rows) == 180


def test_evaluate_tells_the_calibrated_figures(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = graft.evaluate(place / "run", str(place / "flowers"))
    plain = graft.evaluate(older(place, place / "before"), str(place / "flowers"))
    assert found["scores"]["accuracy"] == plain["scores"]["accuracy"]
    assert found["scores"]["loss"] != plain["scores"]["loss"]
    sys.argv = ["graft", "evaluate", str(place / "run"), str(place / "flowers"), "--unlike", str(place / "blue")]
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr().err
    assert not end.value.code and "ECE" in said and "Brier" in said and "AUROC" in said
    assert all(f"{method:<6} 90 % stated" in said for method in conformal.METHODS)


# ------------------------------------------------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("options", "what", "hint"),
    [
        ({"coverage": 2}, "between 0 and 1", "--coverage 0.9"),
        ({"coverage": 95}, "between 0 and 1", "--coverage 0.95"),
        ({"coverage": 0}, "between 0 and 1", "--coverage 0.9"),
        ({"coverage": float("nan")}, "between 0 and 1", "--coverage 0.9"),
        ({"sets": "lacc"}, "no sets called 'lacc'", "did you mean 'lac'?"),
        ({"sets": ""}, "no sets called ''", "choose from: aps, class, lac"),
        ({"abstain_below": 80}, "80 is no probability", "--abstain-below 0.8"),
        ({"abstain_below": -0.1}, "-0.1 is no probability", "--abstain-below 0.8"),
        ({"abstain_below": float("nan")}, "no probability", "--abstain-below 0.8"),
    ],
)
def test_what_is_no_question_is_refused_with_what_was_meant(place: Path, options: Json, what: str, hint: str) -> None:
    with pytest.raises(UsageError, match=what) as error:
        graft.predict(place / "run", str(place / "flowers"), **options)
    assert error.value.hint == hint


def test_an_older_run_predicts_as_before_and_says_what_it_cannot(place: Path, tmp_path: Path) -> None:
    folder = older(place, tmp_path / "old")
    rows, _ = graft.predict(folder, str(place / "flowers"))
    assert rows[0].keys() == {"path", "label", "probability"}
    for options in ({"coverage": 0.8}, {"sets": "aps"}, {"abstain_below": 0.5}):
        with pytest.raises(UsageError, match=r"no trust\.json") as error:
            graft.predict(folder, str(place / "flowers"), **options)  # type: ignore[arg-type]
        assert f"graft fit --recipe {folder}" in error.value.hint
    with pytest.raises(UsageError, match="--unlike"):
        graft.evaluate(folder, str(place / "flowers"), unlike=str(place / "blue"))
    assert "confidence" not in graft.evaluate(folder, str(place / "flowers"))


def test_trust_that_is_not_signed_is_not_read(place: Path, tmp_path: Path) -> None:
    folder = older(place, tmp_path / "old")
    for name in run.TRUSTED:
        shutil.copy(place / "run" / name, folder / name)
    assert trust.read(folder) is None


@pytest.mark.parametrize("name", run.TRUSTED)
def test_a_changed_file_is_found(place: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(place / "run", tmp_path / "r")
    data = bytearray((tmp_path / "r" / name).read_bytes())
    data[-20] ^= 1
    (tmp_path / "r" / name).write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match=name):
        graft.predict(tmp_path / "r", str(place / "flowers"))


def test_files_that_do_not_belong_together_are_refused(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "run", tmp_path / "r")
    for wrong in ({"format": 1}, [], {"temperature": "warm", "made_on": "", "unlike": {"neighbours": 1}, "notes": []}):
        (tmp_path / "r" / "trust.json").write_text(json.dumps(wrong), encoding="utf-8")
        with pytest.raises(IntegrityError, match="damaged"):
            trust.read(tmp_path / "r")


def test_predict_loads_nothing_that_only_training_needs(place: Path) -> None:
    loaded = "[m for m in ('sklearn', 'matplotlib', 'scipy.stats', 'scipy.optimize') if m in sys.modules]"
    code = f"import sys, graft; graft.predict(sys.argv[1], sys.argv[2]); print({loaded})"
    words = [sys.executable, "-c", code, str(place / "run"), str(place / "blue")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -------------------------------------------------------------------------------------------------------- by themselves


def simple(temperature: float = 1.0, rows: int = 400) -> Trust:
    rng = np.random.default_rng(0)
    held = rng.dirichlet([1, 1, 1], rows)
    truth = (held.cumsum(1) > rng.random((rows, 1))).argmax(1)
    known = Familiar(rng.random(rows), held.max(1))
    return Trust(temperature, "validation part", torch.tensor(held), torch.tensor(truth),
                 torch.tensor(rng.random(rows)), None, known)  # fmt: skip


def test_scaling_never_changes_a_label() -> None:
    values = torch.tensor(np.random.default_rng(0).dirichlet(np.full(20, 0.05), 3000), dtype=torch.float32)
    for temperature in (0.1, 0.7, 9.0):
        made = replace(simple(), temperature=temperature).calibrated(Predictions(values))
        assert (made.values.argmax(1) == values.argmax(1)).all()
        torch.testing.assert_close(made.values.sum(1), torch.ones(3000))
    assert len(simple(2.0).calibrated(Predictions(torch.empty(0, 3))).values) == 0


def test_rows_of_many_samples_are_those_of_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    made, rng = simple(1.5), np.random.default_rng(1)
    said = Predictions(torch.tensor(rng.dirichlet([1, 1, 1], 50), dtype=torch.float32), ("a", "b", "c"))
    names, far = [f"{i}" for i in range(50)], torch.tensor(rng.random(50))
    whole = made.rows(said, far, names, Sets(method="aps"))
    monkeypatch.setattr(confidence, "BLOCK", 7)
    assert made.rows(said, far, names, Sets(method="aps")) == whole
    assert all(row["unlikeness"] is None and not row["unlike"] for row in made.rows(said, None, names, Sets()))
    assert made.rows(Predictions(torch.empty(0, 3), said.labels), torch.empty(0), [], Sets()) == []


def test_what_has_no_label_is_not_measured() -> None:
    made, rng = simple(), np.random.default_rng(1)
    said = Predictions(torch.tensor(rng.dirichlet([1, 1, 1], 40), dtype=torch.float32), ("a", "b", "c"))
    truth = said.values.argmax(1)
    part = torch.where(torch.arange(40) < 25, truth, -1)
    found = confidence.measured(made, said, part, None, [f"{i}" for i in range(40)])
    assert found["samples"] == 25 and "unlike" not in found
    assert confidence.measured(made, said, torch.full((40,), -1), None, [""] * 40) == {}


def test_what_a_trained_way_says_is_kept_as_it_is_measured(place: Path) -> None:
    from graft.data._audit import audit
    from graft.data._sniff import open_data
    from graft.paired import folds
    from graft.types import Recipe

    pool = audit(open_data(str(place / "flowers")))
    recipe = Recipe(data="flowers", backbone="toy", batch_size=8)
    trials = Trials(recipe, pool, folds(pool, 0.15, 0))
    tuned, ridge = Way("toy", "full(epochs=1)", "last", (), 8), Way("toy", "ridge")
    model = trials.measure(tuned, 1)
    assert model is not None
    rows, said = trials.held_out(tuned)
    assert rows.tolist() == trials.folds[1].test.tolist()
    torch.testing.assert_close(said, trials.predict(model, tuned, 1))
    rows, said = trials.held_out(ridge)
    assert sorted(rows.tolist()) == list(range(len(pool))) and said.shape == (180, 3)  # five folds, each sample once
    fresh = Trials(recipe, pool, trials.folds)  # as after an interruption
    rows, _ = fresh.held_out(tuned)
    assert rows.tolist() == trials.folds[0].test.tolist()


def test_what_is_kept_is_bounded(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from graft import trials as module
    from graft.data._audit import audit
    from graft.data._sniff import open_data
    from graft.paired import folds
    from graft.types import Recipe

    pool = audit(open_data(str(place / "flowers")))
    monkeypatch.setattr(module, "HELD", 150)
    trials = Trials(Recipe(data="flowers", backbone="toy"), pool, folds(pool, 0.15, 0))
    rows, said = trials.held_out(Way("toy", "ridge"))
    assert said.numel() <= 150 and len(rows) == 50 and len(set(rows.tolist())) == 50
    some = held_out.some(torch.arange(100), 10)
    assert len(some) == 10 and (some.diff() > 0).all()
