"""The automatic choice: scripted outcomes for every decision."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from graft import ladder
from graft.backbones.toy import toy
from graft.clock import Clock
from graft.console import Console
from graft.contest import Contest
from graft.errors import DataError, UsageError
from graft.ladder import Ladder, Rung
from graft.paired import folds
from graft.spec import parse
from graft.trials import Trials, Way
from graft.types import Dataset, Model, Recipe, Sample
from graft.verdict import WORDS, verdict

RECIPE = Recipe(data="memory", backbone="toy")
SAMPLES = tuple(Sample(str(i), i, "ab"[i % 2]) for i in range(200))
POOL = Dataset("memory", "image", SAMPLES, ("a", "b"), lambda s: None, lambda s: b"")
FOLDS = folds(POOL, 0.15, seed=0)  # ten, of 40 test samples each
NOISE = tuple(0.1 * (-1) ** k for k in range(10))  # what a gain within noise looks like, fold by fold
Worth = dict[str, Any]  # what a way is worth: accuracy, accuracies by fold, or an error to raise; 0.5 when not said


def called(way: Way) -> str:
    """The name of a way in a script."""
    name = parse(way.strategy).name + " of all stages" * (way.features == "stages")
    return {"toy(pretrained=False)": f"random {name}", "pixels": "pixels"}.get(way.backbone, name)


def outcome(worth: Worth, way: Way, fold: int) -> np.ndarray:
    """Nested hits: of two ways, the better one is right wherever the other is."""
    said = worth.get(called(way), 0.5)
    if isinstance(said, Exception):
        raise said
    share = said[fold] if isinstance(said, tuple) else said
    order = np.random.default_rng(fold).permutation(40)
    return (order < round(40 * share)).astype(float)


def scripted(
    patch: pytest.MonkeyPatch, worth: Worth, *, trunks: tuple[str, ...] = ("toy",), budget: float = 600.0,
    folder: Path | None = None, cost: float = 0.0, network: bool = False,
) -> Ladder:  # fmt: skip
    """A ladder whose trials come out as the script says, at a `cost` in seconds for each training on a fold.

    With a `network`, each training leaves weights behind, from which averages are made."""

    def measure(self: Trials, way: Way, fold: int, abort: object = None) -> Model | None:
        trained = way.strategy not in (*ladder.EVERYWHERE, *ladder.ON_THE_BEST)
        self.keep(way, fold, outcome(worth, way, fold), cost * trained)
        return Model(toy(), nn.Linear(32, 2)) if network and trained else None

    def weights(self: Trials, way: Way, fold: int, state: object, made_of: list[Way]) -> None:
        trained = sum(self.seconds[one] / len(self.hits[one]) for one in made_of)
        self.keep(way, fold, outcome(worth, way, fold), trained)

    patch.setattr(Trials, "measure", measure)
    patch.setattr(Trials, "weights", weights)
    patch.setattr(Trials, "open", lambda *a: None)
    patch.setattr(Trials, "prepare", lambda *a: None)
    patch.setattr(Trials, "train", lambda *a: Model(toy(), nn.Linear(32, 2)))
    patch.setattr(Trials, "extraction", lambda *a: 0.0)
    patch.setattr(Trials, "pace", lambda *a: 4e-5)
    trials = Trials(RECIPE, POOL, FOLDS, folder)
    return Ladder(Contest(trials, Clock(budget), Console(quiet=True)), trunks)


def rung(made: Ladder, name: str) -> Rung:
    return [found for found in made.rungs if found.name == name][-1]


def names(made: Ladder) -> list[str]:
    return [found.name for found in made.rungs]


# ----------------------------------------------------------------------------------------------------------- the climb


def test_it_climbs_while_the_gain_is_real(monkeypatch: pytest.MonkeyPatch) -> None:
    made = scripted(monkeypatch, {"ridge": 0.6, "norm_affine": 0.7, "lp_ft": 0.8, "discriminative": 0.9})
    assert called(made.climb()) == "discriminative"
    assert [(r.name, r.kept) for r in made.rungs if not r.control] == [
        ("probes", True), ("norms", True), ("last stage", True), ("all", True)]  # fmt: skip
    assert [rung(made, name).score for name in ("probes", "norms", "all")] == pytest.approx([0.6, 0.7, 0.9])
    lead = rung(made, "all").gain
    assert lead is not None and lead.value == pytest.approx(0.1) and lead.folds == 10


def test_within_noise_the_cheaper_way_stays_and_the_next_rung_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = tuple(0.6 + each for each in NOISE)
    made = scripted(monkeypatch, {"knn": 0.6, "norm_affine": noisy, "lp_ft": noisy, "discriminative": noisy})
    assert made.climb() == Way("toy", "knn") == made.contest.probe
    for name in ("norms", "last stage", "all"):
        assert not rung(made, name).kept and "within noise" in rung(made, name).why


def test_a_rung_above_one_that_did_not_pay_may(monkeypatch: pytest.MonkeyPatch) -> None:
    made = scripted(monkeypatch, {"ridge": 0.6, "norm_affine": tuple(0.6 + each for each in NOISE), "lp_ft": 0.9})
    assert called(made.climb()) == "lp_ft"


@pytest.mark.parametrize(("worth", "why"), [(0.55, "worse"), (0.6, "not worth it")])
def test_it_ends_where_not_even_the_upper_bound_is_worth_it(
    monkeypatch: pytest.MonkeyPatch, worth: float, why: str
) -> None:
    """One such rung says little of the next, dearer one; two in a row end the climb."""
    made = scripted(monkeypatch, {"ridge": 0.6, "norm_affine": worth, "lp_ft": worth, "discriminative": 0.9})
    assert made.climb() == Way("toy", "ridge") and why in rung(made, "norms").why
    assert "last stage" in names(made) and "all" not in names(made)
    again = scripted(monkeypatch, {"ridge": 0.6, "norm_affine": worth, "lp_ft": 0.9})
    assert called(again.climb()) == "lp_ft"


def test_epsilon_is_what_a_rung_must_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The upper bound of the gain is some 6 points: not enough for who asks for 10."""
    little = tuple(0.6 + each for each in NOISE)
    made = scripted(monkeypatch, {"ridge": 0.6, "norm_affine": little, "lp_ft": little, "discriminative": 0.9})
    made.epsilon = 0.1
    assert made.climb() == Way("toy", "ridge") and "not worth it" in rung(made, "norms").why


def test_a_hopeless_way_is_left_after_three_folds_and_a_control_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    made = scripted(monkeypatch, {"ridge": 0.8, "norm_affine": 0.3, "random full": 0.3})
    made.climb()
    assert rung(made, "norms").folds == 3 and rung(made, "scratch").folds == 5


def test_of_two_trunks_only_the_better_one_sees_all_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    worth = {"ridge": 0.5, "norm_affine": 0.6, "lp_ft": 0.7, "discriminative": 0.8}
    made = scripted(monkeypatch, worth, trunks=("toy", "toy(dim=8)"))
    made.climb()
    tuned = [way for way in made.contest.trials.hits if called(way) == "discriminative"]
    assert sorted(len(made.contest.hits(way)) for way in tuned) == [3, 10] and len({w.backbone for w in tuned}) == 2


def test_equal_probes_are_told_apart_by_their_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    made = scripted(monkeypatch, {name: 0.9 for name in ("svm_rbf", "forest", "logistic", "knn")})
    assert made.climb() == Way("toy", "knn")


def test_a_way_that_has_seen_some_folds_is_placed_by_what_it_gains_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folds differ in how hard they are: 0.9 on an easy one is no 0.9."""
    made = scripted(monkeypatch, {"ridge": (0.9,) * 3 + (0.5,) * 7, "norm_affine": 0.95})
    trials, tuned = made.contest.trials, Way("toy", "norm_affine")
    made.contest.probe = Way("toy", "ridge")
    for fold in range(10):
        trials.measure(made.contest.probe, fold)
    for fold in range(3):
        trials.measure(tuned, fold)
    assert made.contest.score(tuned) == pytest.approx(0.62 + 0.05)


# ---------------------------------------------------------------------------------------------- controls, the verdict


@pytest.mark.parametrize(
    ("scratch", "word"), [(0.6, "helps"), (0.95, "hurts"), (tuple(0.8 + each for each in NOISE), "unclear")]
)
def test_the_verdict_is_what_the_interval_over_scratch_says(
    monkeypatch: pytest.MonkeyPatch, scratch: Any, word: str
) -> None:
    made = scripted(monkeypatch, {"ridge": 0.8, "random full": scratch})
    chosen, found = made.climb(), verdict(made)
    assert found["transfer"] == word and found["chosen"] == str(chosen)
    assert found["measured_on"] == f"on {5 if word == 'hurts' else 10} folds"
    assert found["over"]["scratch"]["folds"] == 5 and found["sentences"][0].startswith(WORDS[word])
    assert called(chosen) == ("random full" if word == "hurts" else "ridge")


def test_where_scratch_is_better_it_is_chosen_and_said_to_hurt(monkeypatch: pytest.MonkeyPatch) -> None:
    made = scripted(monkeypatch, {"ridge": 0.6, "norm_affine": 0.7, "random full": 0.9})
    assert called(made.climb()) == "random full"
    last = made.rungs[-1]
    assert last.kept and not last.control and "hurt" in last.why
    over = verdict(made)["over"]["scratch"]
    assert over["value"] == pytest.approx(-0.2) and over["high"] < 0, "compared with the best way that transfers"


def test_without_the_comparison_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = scripted(monkeypatch, {"ridge": 0.6, "random full": UsageError("it diverged")})
    made.climb()
    found = verdict(made)
    assert found["transfer"] == "unknown" and "scratch" not in found["over"]
    assert "not measured" in found["sentences"][0] and any("from scratch" in note for note in found["notes"])


@pytest.mark.parametrize("control", ["random ridge", "pixels"])
def test_a_cheaper_control_that_is_better_is_chosen_and_transfer_said_to_hurt(
    monkeypatch: pytest.MonkeyPatch, control: str
) -> None:
    made = scripted(monkeypatch, {"ridge": 0.7, control: 0.99})
    assert made.climb().backbone != "toy" and verdict(made)["transfer"] == "hurts"
    over = verdict(made)["over"]
    assert over["pixels" if control == "pixels" else "random frozen"]["high"] < 0
    assert over["majority"]["value"] == pytest.approx(0.2), "compared with the best way that transfers"


def test_where_nothing_beats_the_most_frequent_class_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    made = scripted(monkeypatch, {})
    made.climb()
    assert any("look at the data" in sentence for sentence in verdict(made)["sentences"])


def test_the_cheapest_way_is_the_first_that_the_best_one_does_not_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = tuple(0.8 + 2 * each for each in NOISE)
    made = scripted(monkeypatch, {"centroid": 0.6, "knn": noisy, "ridge": 0.84, "norm_affine": 0.9})
    assert called(made.climb()) == "norm_affine"
    assert made.cheapest() == Way("toy", "knn"), "worse than ridge, but cheaper, and within noise of the best"
    tuned = verdict(made)["fine_tuning"]
    assert tuned["way"] == "norm_affine on toy" and tuned["value"] == pytest.approx(0.08, abs=0.03)


# -------------------------------------------------------------------------------------------------- budget and mistakes


def test_what_was_left_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    made = scripted(monkeypatch, {"knn": 0.7, "ridge": DataError("it cannot be solved")}, trunks=("toy", "toy(dim=8)"))
    monkeypatch.setattr(Trials, "extraction", lambda self, text: 0.01 if text == "toy" else 1e6)
    assert made.climb() == Way("toy", "knn") and made.trunks == ("toy",)
    notes = verdict(made)["notes"]
    assert any(note.startswith("toy(dim=8) was left out") for note in notes)
    assert "ridge on toy: it cannot be solved" in notes
    assert not made.contest.hits(Way("toy", "ridge"))


@pytest.mark.parametrize(("budget", "milliseconds"), [(600.0, 1e6), (-1.0, 0.01)])
def test_a_budget_that_is_too_small_is_refused_with_a_larger_one(
    monkeypatch: pytest.MonkeyPatch, budget: float, milliseconds: float
) -> None:
    made = scripted(monkeypatch, {}, budget=budget)
    monkeypatch.setattr(Trials, "extraction", lambda *a: milliseconds)
    with pytest.raises(UsageError, match="too small") as caught:
        made.climb()
    assert caught.value.hint.startswith("--budget ")


def test_a_rung_that_does_not_fit_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training takes longer than what is left: nothing is claimed of it, and what is known is chosen."""
    made = scripted(monkeypatch, {"ridge": 0.6, "norm_affine": 0.9}, cost=500.0)
    assert made.climb() == Way("toy", "ridge")
    assert rung(made, "norms").way is None and "not measured" in rung(made, "norms").why


def test_a_trunk_without_one_measured_way_is_no_finalist(monkeypatch: pytest.MonkeyPatch) -> None:
    made = scripted(monkeypatch, {"ridge": 0.6, "norm_affine": 0.9}, trunks=("toy", "toy(dim=8)"))
    measure = Contest.measure
    monkeypatch.setattr(Contest, "measure", lambda self, way: way.backbone != "toy(dim=8)" and measure(self, way))
    assert made.climb().backbone == "toy"


# -------------------------------------------------------------------------------------------------- averages of weights

TUNED: Worth = {"ridge": 0.6, "norm_affine": 0.7, "lp_ft": 0.8, "discriminative": 0.85}


def test_an_average_of_weights_is_climbed_to_like_a_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    made = scripted(monkeypatch, {**TUNED, "wise_ft": 0.95}, network=True)
    chosen = made.climb()
    assert called(chosen) == "wise_ft" and rung(made, "wise").kept and not rung(made, "soup").kept
    tuned = parse([r.way for r in made.rungs if r.name == "all" and r.way][0].strategy).options
    assert {key: parse(chosen.strategy).options[key] for key in tuned} == tuned


def test_a_soup_names_what_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made = scripted(monkeypatch, {**TUNED, "soup": 0.95}, network=True)
    ingredients = parse(made.climb().strategy).options["ingredients"]
    assert [parse(text).name for text in ingredients][:2] == ["discriminative", "lp_ft"]


def test_a_soup_is_not_chosen_when_its_trainings_no_longer_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each training takes 10 s, and 30 s are left when the averages are tried: room for one of them, not for three."""
    made = scripted(monkeypatch, {**TUNED, "soup": 0.95}, network=True, cost=10.0)
    averages = Ladder._averages

    def late(self: Ladder) -> None:
        self.contest.clock.began = time.monotonic() - self.contest.clock.budget + 30
        averages(self)

    monkeypatch.setattr(Ladder, "_averages", late)
    assert called(made.climb()) == "discriminative"
