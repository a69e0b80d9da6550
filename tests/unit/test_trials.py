"""Outcomes of ways on folds: right, repeatable, kept on disk, and blind to what they are tested on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from graft import build, parts, registry
from graft import trials as trials_module
from graft.checkpoint import digest
from graft.errors import DataError
from graft.paired import Fold, folds
from graft.trials import OutOfTime, Trials, Way, batch_for, epochs_for
from graft.types import Dataset, Recipe, Sample

CLASSES = ("ant", "bee", "wasp")
RECIPE = Recipe(data="memory", backbone="toy", batch_size=8)
RIDGE, TUNED = Way("toy", "ridge"), Way("toy", "discriminative(start='ridge', epochs=2)", "last", ("l2_sp",), 8)
SCRATCH = Way("toy(pretrained=False)", "full(epochs=2, lr=0.003)")
WAYS = (RIDGE, Way("toy", "ridge", "stages"), Way("toy", "knn"), TUNED, SCRATCH)


def pool(labels: dict[int, int] | None = None, spoilt: frozenset[int] = frozenset()) -> Dataset:
    """30 images of noise, faintly tinted by their class, half of them of the first. `labels` overrides those of some
    rows, and the `spoilt` rows are black."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 200, (30, 16, 16, 3), dtype=np.uint8)
    for i in range(30):
        pixels[i, ..., _label(i)] += 20
        pixels[i] *= i not in spoilt
    samples = tuple(Sample(f"{i}.png", i, CLASSES[(labels or {}).get(i, _label(i))]) for i in range(30))
    return Dataset("memory", "image", samples, CLASSES, lambda s: Image.fromarray(pixels[s.source]),
                   lambda s: pixels[s.source].tobytes())  # fmt: skip


def _label(i: int) -> int:
    return (0, 0, 1, 2)[i % 4]


FOLDS = folds(pool(), 0.15, seed=0)[:2]
TEST = FOLDS[0].test.tolist()


def trials(folder: Path | None = None, dataset: Dataset | None = None, cut: tuple[Fold, ...] = FOLDS) -> Trials:
    return Trials(RECIPE, dataset or pool(), cut, folder)


def said(way: Way, dataset: Dataset) -> Tensor:
    """(n, C) probabilities for the test rows of the first fold."""
    made = trials(dataset=dataset)
    found: list[Tensor] = []
    made._each = lambda probabilities, fold: found.append(probabilities) or np.zeros(1)  # type: ignore[method-assign,func-returns-value]
    made.measure(way, 0)
    return found[0]


# --------------------------------------------------------------------------------------------------------- right


@pytest.mark.parametrize("strategy", ["full(epochs=1)", "discriminative(start='ridge', epochs=1)"])
def test_a_teacher_looks_at_the_training_samples_of_the_fold(strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    way, made = Way("toy", strategy, "last", ("distill(teacher='toy', look='once')",), 8), trials()
    _, loop, flow = made._prepared(way, 1, torch.from_numpy(FOLDS[1].train))
    told: list[Tensor] = []
    real = trials_module.seen_by
    monkeypatch.setattr(trials_module, "seen_by", lambda *given: told.append(real(*given)) or told[0])
    loop.run(flow)
    features = made.trunk("toy").view("pooled")[torch.from_numpy(FOLDS[1].train)]
    torch.testing.assert_close(told[0], features, rtol=1e-4, atol=1e-5)
    made.measure(way, 0)
    assert len(made.hits[way][0]) == len(TEST)


@pytest.mark.parametrize("features", ["last", "stages"])
def test_the_outcome_of_a_probe_is_that_of_fitting_it_by_hand(features: str) -> None:
    made = trials()
    made.measure(Way("toy", "ridge", features), 0)
    trunk, targets, rows = made.trunk("toy").backbone, pool().targets(), FOLDS[0]
    images = trunk.prepare([pool().load(sample) for sample in pool().samples])
    with torch.inference_mode():
        seen = trunk(images).pooled if features == "last" else trunk.every_stage(images)
    probe = registry.find("probe", "ridge")()
    arrays = probe.fit(seen[rows.train], targets[rows.train], 3)
    expected = probe.logits(arrays, seen[rows.test]).argmax(1) == targets[rows.test]
    assert made.hits[Way("toy", "ridge", features)][0].tolist() == expected.double().tolist()


def test_the_outcome_of_a_training_is_what_its_model_says() -> None:
    made = trials()
    model = made.measure(TUNED, 0)
    assert model is not None and not model.training
    images = model.backbone.prepare([pool().load(pool().samples[i]) for i in TEST])
    with torch.inference_mode():
        right = model.head(model.backbone(images).pooled).argmax(1) == pool().targets()[FOLDS[0].test]
    assert made.hits[TUNED][0].tolist() == right.double().tolist()


def test_constant_is_the_most_frequent_class_of_the_training_rows() -> None:
    """A fold that trains on bees alone says bee, whatever the rest of the pool is."""
    bees = np.flatnonzero(pool().targets().numpy() == 1)
    odd = Fold(bees, np.arange(8), np.ones(8, bool))
    made = trials(cut=(FOLDS[0], odd))
    hits = made.hits[made.constant()]
    assert hits[0].tolist() == [float(_label(i) == 0) for i in TEST]
    assert hits[1].tolist() == [float(_label(i) == 1) for i in range(8)]


def test_weights_at_hand_score_as_the_model_they_are_of() -> None:
    made, copied = trials(), replace(TUNED, strategy="wise_ft(alpha=1.0)")
    model = made.measure(TUNED, 0)
    assert model is not None
    made.weights(copied, 0, parts.snapshot(model), [])
    assert np.array_equal(made.hits[copied][0], made.hits[TUNED][0])


def test_a_training_is_given_up_when_it_is_told_so() -> None:
    made = trials()
    with pytest.raises(OutOfTime):
        made.measure(TUNED, 0, abort=lambda spent: True)
    assert made.missing(TUNED) == [0, 1]


# ---------------------------------------------------------------------------------------------------- repeatable


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_same_way_is_bit_equal_whatever_was_tried_before_and_whatever_the_generator_says(way: Way) -> None:
    """Probabilities, in a Trials of its own and in one that has measured other ways and the other fold before."""
    alone, after = trials(), trials()
    torch.manual_seed(5)
    for other in (TUNED, RIDGE, SCRATCH):
        after.measure(other, 1)
    models = alone.measure(way, 0), after.measure(way, 0)
    assert np.array_equal(alone.hits[way][0], after.hits[way][0])
    if models[0] is not None and models[1] is not None:
        states = [model.state_dict() for model in models if model]
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_no_trial_changes_the_trunk_as_it_came() -> None:
    made = trials()
    before = digest(made.trunk("toy").backbone.state_dict().items())
    features = made.trunk("toy").view("pooled").clone()
    for way in (TUNED, RIDGE, replace(TUNED, strategy="norm_affine(epochs=1)")):
        made.measure(way, 0)
    assert digest(made.trunk("toy").backbone.state_dict().items()) == before
    assert torch.equal(made.trunk("toy").view("pooled"), features)


# --------------------------------------------------------------------------------------------------------- blind


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_no_label_of_a_test_row_is_seen(way: Way) -> None:
    poisoned = pool(labels={i: (_label(i) + 1) % 3 for i in TEST})
    assert torch.equal(said(way, pool()), said(way, poisoned))


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_no_image_of_a_test_row_is_trained_on(way: Way) -> None:
    """All test images but one are black: of that one the same is said. Not bit by bit: a batch may round otherwise."""
    spoilt = pool(spoilt=frozenset(TEST[1:]))
    torch.testing.assert_close(said(way, pool())[0], said(way, spoilt)[0], rtol=1e-4, atol=1e-5)


def test_no_word_of_a_test_row_is_in_the_dictionary() -> None:
    """The frames say "two" clearly; the training rows of the fold never do."""
    pytest.importorskip("jiwer", reason="needs jiwer")
    symbols = (*" enotw",)
    samples = tuple(Sample(str(i), i, text) for i, text in enumerate(["one", "one one", "two", "two one"]))
    spoken = Dataset("some", "audio", samples, symbols, lambda s: None, lambda s: b"", kind="transcript")
    cut = Fold(np.array([0, 1]), np.array([2]), np.ones(1, bool))
    recipe = Recipe("some", task="ctc(beam=8, dictionary='train', lm='words')")
    frames = torch.eye(7)[[symbols.index(letter) for letter in "two"]].unsqueeze(0)
    assert Trials(recipe, spoken, (cut,))._each(frames, 0).tolist() == [0.0]
    knows = Fold(np.array([0, 3]), cut.test, np.ones(1, bool))
    assert Trials(recipe, spoken, (knows,))._each(frames, 0).tolist() == [1.0]


def test_numbers_are_scored_by_the_variance_of_the_training_rows() -> None:
    """1 - (y - f)^2 / v."""
    samples = tuple(Sample(str(i), i, float(y)) for i, y in enumerate([0, 2, 0, 2, 100]))
    numbers = Dataset("some", "image", samples, (), lambda s: None, lambda s: b"", kind="number")
    cut = Fold(np.arange(4), np.array([4]), np.ones(1, bool))
    made = Trials(Recipe("some"), numbers, (cut,))
    assert made._each(torch.tensor([[98.0]]), 0).tolist() == [1 - 2.0**2 / 1.0]


# ---------------------------------------------------------------------------------------------------------- kept


def test_what_was_measured_is_there_again_and_a_half_line_is_measured_anew(tmp_path: Path) -> None:
    first = trials(tmp_path)
    for way in (RIDGE, TUNED):
        for fold in (0, 1):
            first.measure(way, fold)
    path = tmp_path / "trials.jsonl"
    whole = path.read_text()
    path.write_text(whole[:-30])
    again = trials(tmp_path)
    assert (again.missing(RIDGE), again.missing(TUNED)) == ([], [1])
    for way, fold in ((RIDGE, 0), (RIDGE, 1), (TUNED, 0)):
        assert np.array_equal(again.hits[way][fold], first.hits[way][fold])
    assert again.seconds[RIDGE] == pytest.approx(first.seconds[RIDGE], abs=0.01)
    again.measure(TUNED, 1)
    assert np.array_equal(again.hits[TUNED][1], first.hits[TUNED][1])


def test_what_is_measured_after_a_half_line_is_kept_too(tmp_path: Path) -> None:
    (tmp_path / "trials.jsonl").write_text('{"way": {"backb')
    trials(tmp_path).measure(RIDGE, 0)
    assert trials(tmp_path).missing(RIDGE) == [1]


def test_each_line_says_what_every_sample_came_to(tmp_path: Path) -> None:
    made = trials(tmp_path)
    made.measure(RIDGE, 1)
    (line,) = map(json.loads, (tmp_path / "trials.jsonl").read_text().splitlines())
    assert set(line["of"]) == {"data", "folds", "recipe"}
    assert line["way"]["strategy"] == "ridge" and line["fold"] == 1
    assert line["weights"] == made.trunk("toy").backbone.info.sha256
    assert line["each"] == made.hits[RIDGE][1].tolist() and len(line["each"]) == len(FOLDS[1].test)


def _other_trials(name: str, folder: Path) -> Trials:
    if name == "labels":
        return trials(folder, pool(labels={0: 2}))
    if name == "folds":
        return trials(folder, cut=folds(pool(), 0.15, seed=1)[:2])
    return Trials(replace(RECIPE, batch_size=16), pool(), FOLDS, folder)


@pytest.mark.parametrize(("name", "said"), [("labels", "data"), ("folds", "folds"), ("recipe", "recipe")])
def test_what_is_kept_of_other_trials_is_refused(name: str, said: str, tmp_path: Path) -> None:
    trials(tmp_path).measure(RIDGE, 0)
    before = (tmp_path / "trials.jsonl").read_bytes()
    with pytest.raises(DataError, match=rf"trials.jsonl is of other trials: not the same {said}$"):
        _other_trials(name, tmp_path)
    assert (tmp_path / "trials.jsonl").read_bytes() == before


def test_where_the_data_lie_and_how_long_auto_may_take_are_no_other_trials(tmp_path: Path) -> None:
    trials(tmp_path).measure(RIDGE, 0)
    moved = replace(RECIPE, data="elsewhere", budget="1h", strategy="knn", backbone="toy")
    assert Trials(moved, pool(), FOLDS, tmp_path).missing(RIDGE) == [1]


def test_what_is_kept_of_other_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trials(tmp_path).measure(RIDGE, 0)
    made, backbone = build.backbone("toy"), build.backbone
    made.info = replace(made.info, sha256="0" * 64)
    monkeypatch.setattr(build, "backbone", lambda text, *told: made if text == "toy" else backbone(text, *told))
    again = trials(tmp_path)
    with pytest.raises(DataError, match="toy had other weights"):
        again.measure(RIDGE, 1)


def test_what_an_older_version_kept_is_read_in_a_run_folder_alone(tmp_path: Path) -> None:
    """There the run's own fingerprint says that nothing has changed."""
    trials(tmp_path).measure(RIDGE, 0)
    path = tmp_path / "trials.jsonl"
    line = json.loads(path.read_text())
    path.write_text(json.dumps({key: line[key] for key in ("way", "fold", "each", "seconds")}) + "\n")
    with pytest.raises(DataError, match="does not say of what it is"):
        trials(tmp_path)
    (tmp_path / "data.json").write_text("{}")
    assert trials(tmp_path).missing(RIDGE) == [1]


# ------------------------------------------------------------------------------------------------------- recipes


def test_a_way_becomes_a_recipe_that_leaves_nothing_to_choose() -> None:
    base = replace(RECIPE, terms=("l2_sp(alpha=0.5)",), seed=7)
    tuned, probe = TUNED.recipe(base), RIDGE.recipe(base)
    assert (tuned.strategy, tuned.backbone, tuned.valid, tuned.seed) == (TUNED.strategy, "toy", 0.0, 7)
    assert tuned.terms == ("l2_sp", "l2_sp(alpha=0.5)") and probe.terms == ()
    assert (replace(TUNED, batch_size=16).recipe(base).batch_size, probe.batch_size) == (16, 8)


@pytest.mark.parametrize(("samples", "expected"), [(10, 60), (400, 20), (4000, 5), (10_000, 2), (10**6, 1)])
def test_few_samples_are_shown_more_often(samples: int, expected: int) -> None:
    assert epochs_for(samples) == expected


@pytest.mark.parametrize(("samples", "asked", "expected"), [(5, 64, 8), (100, 64, 8), (400, 64, 32), (10**5, 64, 64)])
def test_batches_leave_ten_steps_an_epoch(samples: int, asked: int, expected: int) -> None:
    assert batch_for(samples, asked) == expected
