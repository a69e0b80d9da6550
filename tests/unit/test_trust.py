"""How far predictions can be trusted: what is learned from which samples, what is said, and what mistakes are told."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import graft
from conftest import draw_flowers
from graft import api, calibration, cli, confidence, conformal, contest, held_out, ladder, novelty, run, trust
from graft.checkpoint import load_tensors, save_tensors
from graft.confidence import Sets, Trust
from graft.errors import IntegrityError, Interrupted, UsageError
from graft.features import Feed
from graft.held_out import Held
from graft.novelty import Familiar
from graft.store import read_json, read_sealed_json, sha256, write_sealed_json
from graft.trials import Trials, Way
from graft.types import Json, Predictions, Sample

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
    assert about["samples"] == len(made.lac) == len(made.targets) == len(valid)
    assert (place / "run" / "trust.safetensors").stat().st_size < 4_000_000


def test_nothing_that_is_kept_follows_from_a_hash_of_contents(place: Path) -> None:
    numbers = conformal.draws([line["sha256"] for line in run.splits(place / "run")])
    kept = load_tensors(place / "run" / "trust.safetensors")
    assert not any(np.isin(numbers, tensor.double().numpy().ravel()).any() for tensor in kept.values())


def test_the_temperature_is_that_of_the_validation_part(place: Path) -> None:
    made = learned(place / "run")
    loaded = run.load(place / "run")
    dataset = graft.api.for_evaluation(str(place / "flowers"), loaded)
    valid = {line["sha256"] for line in run.splits(place / "run") if line["split"] == "valid"}
    part = dataset.where(lambda sample: sample.digest in valid)
    said, _, _ = api._predictions(loaded, part, "cpu")
    truth = part.targets()
    assert made.temperature == pytest.approx(calibration.temperature(said.values.numpy(), truth.numpy()), rel=1e-3)
    own = calibration.scaled(said.values.numpy(), made.temperature)[np.arange(len(truth)), truth.numpy()]
    np.testing.assert_allclose(made.lac.numpy(), 1 - own, atol=1e-4)
    assert made.targets.tolist() == truth.tolist()


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
    assert about["unlike"]["trunk_fitted_to_familiar"] == any("the final trunk was fitted" in n for n in about["notes"])
    assert about["made_on"] == "out of fold" and len(made.lac) == len(pool)  # each of them once
    assert not (chosen / run.SAID).exists()  # what other ways said is let go
    rows, _ = graft.predict(chosen, str(chosen.parent / "flowers"))
    assert len(rows) == 180 and all(row["set"] for row in rows)
    assert "confidence" in read_json(chosen / "result.json")


@pytest.mark.parametrize(("grouped", "least", "most"), [(True, 0.0, 0.15), (False, 0.5, 1.0)])
def test_new_groups_are_flagged_as_stated_if_groups_are_named(grouped: bool, least: float, most: float) -> None:
    """40 speakers with 25 takes each, and 40 new ones: whoever hides the speakers flags nearly all of these."""
    rng = np.random.default_rng(0)

    def takes() -> torch.Tensor:
        return torch.tensor(np.repeat(rng.normal(size=(40, 64)), 25, 0) + 0.3 * rng.normal(size=(1000, 64))).float()

    known, new = takes(), takes()
    samples = [Sample(f"{i}", i, group=f"s{i // 25}" if grouped else None) for i in range(1000)]
    truth, dataset = torch.arange(1000) % 20, SimpleNamespace(samples=samples)
    feed: Any = SimpleNamespace(targets=truth, needs="pooled", dataset=dataset)
    feed.part = lambda rows, backbone, needs: SimpleNamespace(pooled=lambda: known[rows])
    held = Held(feed, torch.arange(1000), torch.ones(1000, 20) / 20, truth, "out of fold", 1000)
    bank, own, far = trust._bank(SimpleNamespace(backbone=None), feed, held, 20)  # type: ignore[arg-type]
    assert len(own) == 1000
    found = Familiar(far, np.ones(1000)).unlikeness(novelty.distances(bank, new.numpy()), np.ones(1000))
    assert least <= novelty.flagged(found).mean() <= most


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
    torch.testing.assert_close(again.lac, first.lac)
    assert again.temperature == pytest.approx(first.temperature, abs=1e-6)


def test_a_run_that_was_stopped_while_it_chose_still_learns(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What trained ways said lies on the disk, and a probe is fitted again."""
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


def test_a_moved_trunk_runs_once_over_the_sealed_part(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, asked = trust.looked, []
    monkeypatch.setattr(trust, "looked", lambda *a: asked.append(a[3]) or found(*a))  # type: ignore[func-returns-value]
    monkeypatch.setattr(Feed, "pooled", _only_before(Feed.pooled, asked))
    options = {**FIT, "strategy": "full(epochs=1)", "controls": False}
    result = graft.fit(str(place / "flowers"), out=str(tmp_path / "r"), **options)
    assert len(asked) == 1 and len(asked[0]) == result["splits"]["test"] and "unlike" in result["confidence"]


def _only_before(pooled: Any, asked: list[Feed]) -> Any:
    return lambda feed: pytest.fail("the trunk runs again") if feed in asked else pooled(feed)


def test_a_bank_of_another_trunk_is_refused(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "run", tmp_path / "r")
    tensors = load_tensors(tmp_path / "r" / "trust.safetensors")
    tensors |= {"bank": tensors["bank"][:, 1:], "centre": tensors["centre"][1:]}
    save_tensors(tmp_path / "r" / "trust.safetensors", tensors)
    manifest = read_sealed_json(tmp_path / "r" / "manifest.json")
    manifest["files"]["trust.safetensors"] = sha256(tmp_path / "r" / "trust.safetensors")
    write_sealed_json(tmp_path / "r" / "manifest.json", manifest)
    with pytest.raises(IntegrityError, match="the trunk makes"):
        graft.predict(tmp_path / "r", str(place / "flowers"))


def test_evaluate_tells_the_calibrated_figures(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = graft.evaluate(place / "run", str(place / "flowers"))
    plain = graft.evaluate(older(place, place / "before"), str(place / "flowers"))
    assert found["scores"] == plain["scores"]  # as fit measures them; what scaling does to them is told beside
    pair = found["confidence"]["brier"]
    assert (pair["before"] != pair["after"]) == (found["confidence"]["temperature"] != 1)
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
    good = read_json(tmp_path / "r" / "trust.json")
    strange: list[Json] = [{"temperature": value} for value in ("warm", 0, -1.0, math.nan, math.inf)]
    strange += [{"unlike": {"neighbours": 0}}, {"unlike": {}}, {"format": 1}, {"notes": 3}]
    for wrong in ({"format": 2}, [], *({**good, **one} for one in strange)):
        (tmp_path / "r" / "trust.json").write_text(json.dumps(wrong), encoding="utf-8")
        with pytest.raises(IntegrityError, match="damaged"):
            trust.read(tmp_path / "r")


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.update(targets=t["targets"] + 3),
        lambda t: t.update(targets=t["targets"] - 1),
        lambda t: t.update(lac=t["lac"][:-1]),
        lambda t: t.update(aps=t["aps"] * torch.nan),
        lambda t: t.update(bank=t["bank"][:0]),
        lambda t: t.update(centre=t["centre"] * torch.inf),
        lambda t: t.pop("far"),
    ],
)
def test_tensors_that_cannot_be_are_refused(place: Path, tmp_path: Path, change: Any) -> None:
    shutil.copytree(place / "run", tmp_path / "r")
    tensors = load_tensors(tmp_path / "r" / "trust.safetensors")
    change(tensors)
    save_tensors(tmp_path / "r" / "trust.safetensors", tensors)
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
    truth = torch.tensor((held.cumsum(1) > rng.random((rows, 1))).argmax(1))
    own = confidence.true_scores(confidence.tempered(torch.tensor(held), temperature), truth)
    return Trust(temperature, "validation part", *own, truth, None, Familiar(rng.random(rows), held.max(1)))


def test_scaling_never_changes_a_label() -> None:
    values = torch.tensor(np.random.default_rng(0).dirichlet(np.full(20, 0.05), 3000), dtype=torch.float32)
    for temperature in (0.1, 0.7, 9.0):
        made = replace(simple(), temperature=temperature).calibrated(Predictions(values))
        assert (made.values.argmax(1) == values.argmax(1)).all()
        torch.testing.assert_close(made.values.sum(1), torch.ones(3000))
    assert len(simple(2.0).calibrated(Predictions(torch.empty(0, 3))).values) == 0


def test_near_ties_do_not_change_places_by_rounding() -> None:
    low = torch.full((2000,), 0.3)
    high = torch.nextafter(low, torch.ones(1))
    values = torch.cat([torch.stack([low, high, 1 - low - high], 1), torch.stack([1 - low - high, low, high], 1)])
    values[:, :] = torch.where(values > 0.35, 0.2, values)
    for temperature in (0.7, 1.3, 9.0):
        made = replace(simple(), temperature=temperature).calibrated(Predictions(values, ("a", "b", "c")))
        assert (made.values.argmax(1) == values.argmax(1)).all()
        assert (made.values.numpy().argmax(1) == values.numpy().argmax(1)).all()


def test_many_classes_have_thresholds_of_their_own() -> None:
    """Of 1,000 classes with 12 held-out samples each: no class is in every set."""
    rng = np.random.default_rng(0)
    truth = torch.tensor(np.repeat(np.arange(1000), 12))
    held = torch.full((12_000, 1000), 1e-4)
    held[torch.arange(12_000), truth] = torch.tensor(rng.uniform(0.5, 0.9, 12_000), dtype=torch.float32)
    made = Trust(1.0, "validation part", *confidence.true_scores(held, truth), truth)
    found = next(made.sets(held[:500], [f"{i}" for i in range(500)], 0.9, "class"))
    assert found.sum(1).max() < 3


def test_a_cut_of_ours_is_not_blamed_on_the_data(place: Path) -> None:
    feed = SimpleNamespace(dataset=SimpleNamespace(samples=[Sample("a", "a", group=f"{i % 3}") for i in range(60)]))
    held = Held(feed, torch.arange(60), torch.ones(60, 40) / 40, torch.arange(60) % 40, "out of fold", 900)  # type: ignore[arg-type]
    said = " ".join(held_out.notes(held, 40, True))
    assert "of 900 held-out samples 60 are used" in said and "of the 60 held-out samples that are kept" in said
    assert "3 groups say little" in said and "the final trunk was fitted" in said
    whole = " ".join(held_out.notes(held._replace(whole=60), 40, False))
    assert "are used" not in whole and "fewer than 9 held-out samples:" in whole and "final trunk" not in whole


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


def test_what_a_trained_way_says_is_kept_as_it_is_measured(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from graft.data._audit import audit
    from graft.data._sniff import open_data
    from graft.paired import folds
    from graft.types import Recipe

    pool = audit(open_data(str(place / "flowers")))
    recipe = Recipe(data="flowers", backbone="toy", batch_size=8)
    trials = Trials(recipe, pool, folds(pool, 0.15, 0), tmp_path, keep_said=True)
    tuned, ridge = Way("toy", "full(epochs=1)", "last", (), 8), Way("toy", "ridge")
    model = trials.measure(tuned, 1)
    assert model is not None
    monkeypatch.setattr(Trials, "train", lambda *a: pytest.fail("the budget is spent"))
    fresh = Trials(recipe, pool, trials.folds, tmp_path, keep_said=True)  # as after an interruption
    for one in (trials, fresh):
        rows, said, whole = one.held_out(tuned) or pytest.fail("nothing")
        assert rows.tolist() == trials.folds[1].test.tolist() and whole == len(rows)
        torch.testing.assert_close(said, trials.predict(model, tuned, 1))
    rows, said, _ = trials.held_out(ridge) or pytest.fail("nothing")
    assert sorted(rows.tolist()) == list(range(len(pool))) and said.shape == (180, 3)  # five folds, each sample once
    assert trials.held_out(Way("toy", "full(epochs=2)", "last", (), 8)) is None
    shutil.rmtree(tmp_path / run.SAID)
    assert fresh.held_out(tuned) is None


def test_what_is_kept_is_bounded(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from graft.data._audit import audit
    from graft.data._sniff import open_data
    from graft.paired import folds
    from graft.types import Recipe

    pool = audit(open_data(str(place / "flowers")))
    monkeypatch.setattr(held_out, "CELLS", 150)
    trials = Trials(Recipe(data="flowers", backbone="toy"), pool, folds(pool, 0.15, 0))
    rows, said, whole = trials.held_out(Way("toy", "ridge")) or pytest.fail("nothing")
    assert whole == 180 and said.numel() <= 150 and len(rows) == 50 and len(set(rows.tolist())) == 50
    some = held_out.some(torch.arange(100), 10)
    assert len(some) == 10 and (some.diff() > 0).all()
