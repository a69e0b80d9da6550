"""Conformal sets: closed forms, MAPIE, and the coverage that was promised."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

from graft import conformal
from graft.errors import UsageError

Array = NDArray[np.float64]


def drawn(rows: int, classes: int = 5, seed: int = 0) -> tuple[Array, NDArray[np.int64], Array]:
    """Probabilities, labels that do not quite follow them, and draws."""
    rng = np.random.default_rng(seed)
    chances = rng.dirichlet(np.full(classes, 0.5), rows)
    truth = ((chances**0.7 / (chances**0.7).sum(1, keepdims=True)).cumsum(1) > rng.random((rows, 1))).argmax(1)
    return chances, truth, rng.random(rows)


def made(held: Any, asked: Any, coverage: float = 0.9, method: str = "lac") -> NDArray[np.bool_]:
    limits = conformal.thresholds(*held, coverage, method)
    return conformal.sets(asked[0], asked[2], limits, method)


# ------------------------------------------------------------------------------------------------------ closed forms


@pytest.mark.parametrize(("count", "coverage", "rank"), [(9, 0.9, 9), (19, 0.9, 18), (99, 0.95, 95), (1, 0.5, 1)])
def test_the_quantile_is_the_order_statistic_of_a_finite_sample(count: int, coverage: float, rank: int) -> None:
    values = np.random.default_rng(0).permutation(np.arange(1.0, count + 1))
    assert conformal.quantile(values, coverage) == rank


def test_too_few_samples_promise_nothing() -> None:
    assert conformal.least(0.9) == 9
    assert math.isinf(conformal.quantile(np.arange(8.0), 0.9))
    held, asked = drawn(8), drawn(3, seed=1)
    assert made(held, asked).all()
    assert made((np.empty((0, 5)), np.empty(0), np.empty(0)), asked).all()


def test_lac_scores_and_aps_scores_by_hand() -> None:
    chances = np.array([[0.5, 0.3, 0.2]])
    np.testing.assert_allclose(conformal.scores(chances, [0.4], "lac"), [[0.5, 0.7, 0.8]])
    np.testing.assert_allclose(conformal.scores(chances, [0.4], "aps"), [[0.2, 0.62, 0.88]])
    np.testing.assert_allclose(conformal.scores([[0.2, 0.5, 0.3]], [0.0], "aps"), [[0.8, 0.0, 0.5]])


def test_a_class_without_enough_samples_is_in_every_set() -> None:
    chances, truth, uniform = drawn(300)
    rare = np.where(truth == 4, 3, truth)
    rare[:5] = 4
    limits = conformal.thresholds(chances, rare, uniform, 0.9, "class")
    assert math.isinf(limits[4]) and np.isfinite(limits[:4]).all()
    assert limits[0] == conformal.quantile(1 - chances[rare == 0, 0], 0.9)


def test_the_top_class_is_added_to_an_empty_set() -> None:
    found = np.array([[False, False], [False, True]])
    assert conformal.with_top(found, [[0.3, 0.7], [0.9, 0.1]]).tolist() == [[False, True], [True, True]]
    assert not found[0].any()


def test_thresholds_need_only_the_scores_of_the_true_classes() -> None:
    chances, truth, uniform = drawn(300)
    for method in conformal.METHODS:
        own = conformal.true_scores(chances, truth, uniform, method)
        assert own.shape == (300,)
        whole = conformal.thresholds(chances, truth, uniform, 0.9, method)
        np.testing.assert_array_equal(conformal.limits(own, truth, 5, 0.9, method), whole)
    few = conformal.limits(own[truth < 3], truth[truth < 3], 5, 0.9, "class")
    assert np.isfinite(few[:3]).all() and np.isinf(few[3:]).all()


def test_draws_are_uniform_and_belong_to_the_content() -> None:
    names = [f"{i:064x}" for i in range(4000)]
    found = conformal.draws(names)
    assert (found == conformal.draws(names)).all() and conformal.draws(names[5:6])[0] == found[5]
    counts = np.histogram(found, 10, (0, 1))[0]
    assert ((counts - 400) ** 2 / 400).sum() < 27.9  # chi-squared with 9 degrees of freedom, p = 0.001


@pytest.mark.parametrize("coverage", [0.0, 1.0, 2.0, -1.0, math.nan])
def test_what_is_no_coverage_is_refused(coverage: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        conformal.check(coverage, "lac")


def test_a_method_that_does_not_exist_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError) as error:
        conformal.check(0.9, "lacc")
    assert "lac" in error.value.hint


# -------------------------------------------------------------------------------------------------------------- MAPIE


class Known(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Says what it is given."""

    classes_ = np.arange(5)
    is_fitted_ = True

    def fit(self, x: Array, y: Array) -> Known:
        return self

    def predict(self, x: Array) -> NDArray[np.int64]:
        return x.argmax(1)

    def predict_proba(self, x: Array) -> Array:
        return x

    def __sklearn_is_fitted__(self) -> bool:
        return True


def mapie(held: Any, asked: Any, coverage: float, method: str, **options: Any) -> NDArray[np.bool_]:
    from mapie.classification import SplitConformalClassifier

    other = SplitConformalClassifier(Known(), confidence_level=coverage, conformity_score=method, random_state=0)
    other.conformalize(held[0], held[1])
    return np.asarray(other.predict_set(asked[0], **options)[1][:, :, 0])


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95])
def test_lac_sets_are_those_of_mapie(coverage: float) -> None:
    pytest.importorskip("mapie")
    held, asked = drawn(401), drawn(300, seed=1)
    assert (made(held, asked, coverage) == mapie(held, asked, coverage, "lac")).all()


@pytest.mark.filterwarnings("ignore:WARNING. your conformalization")
@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_class_sets_are_those_of_mapie_fitted_to_each_class(coverage: float) -> None:
    pytest.importorskip("mapie")
    held, asked = drawn(800), drawn(200, seed=1)
    found = made(held, asked, coverage, "class")
    for label in range(5):
        rows = held[1] == label
        only = mapie((held[0][rows], held[1][rows]), asked, coverage, "lac")
        assert (found[:, label] == only[:, label]).all()


def test_aps_sets_are_as_large_as_those_of_mapie_and_cover_as_much() -> None:
    """Set by set they differ: the draws are not the same ones."""
    pytest.importorskip("mapie")
    held, asked = drawn(3000), drawn(6000, seed=1)
    ours = made(held, asked, 0.9, "aps")
    theirs = mapie(held, asked, 0.9, "aps", conformity_score_params={"include_last_label": "randomized"})
    assert abs(ours.mean() - theirs.mean()) < 0.02
    hits = [found[np.arange(6000), asked[1]].mean() for found in (ours, theirs)]
    assert abs(hits[0] - hits[1]) < 0.02 and abs(hits[0] - 0.9) < 0.02


# ----------------------------------------------------------------------------------------------------------- coverage


@pytest.mark.parametrize("method", conformal.METHODS)
def test_the_stated_coverage_is_kept_on_average(method: str) -> None:
    hits, total = 0, 0
    for seed in range(60):
        held, asked = drawn(200, seed=2 * seed), drawn(200, seed=2 * seed + 1)
        found = made(held, asked, 0.9, method)
        hits, total = hits + int(found[np.arange(200), asked[1]].sum()), total + 200
    spread = math.sqrt(0.09 / total + 0.09 / (60 * 200))  # of the test samples, and of the held-out ones
    lowest = 0.9 - 4 * spread
    highest = 0.9 + 4 * spread + (0.05 if method == "class" else 1 / 200)  # few of a class promise a little more
    assert lowest < hits / total < highest


def test_each_class_is_covered_by_its_own_threshold() -> None:
    """Where lac lets a hard class down."""
    held, asked = drawn(6000), drawn(20_000, seed=1)
    for part in (held, asked):
        part[0][:, 0] **= 3  # the model hardly believes in it
        part[0][:] /= part[0].sum(1, keepdims=True)
    rows = asked[1] == 0
    assert made(held, asked)[rows, 0].mean() < 0.8
    assert made(held, asked, method="class")[rows, 0].mean() == pytest.approx(0.9, abs=0.03)


def test_lac_is_smaller_and_aps_is_fairer() -> None:
    held, asked = drawn(4000), drawn(4000, seed=1)
    assert made(held, asked).sum() < made(held, asked, method="aps").sum()


def test_few_held_out_samples_promise_less() -> None:
    """Against drawing: thresholds of 30 held-out scores, and what 200 new ones then show."""
    rng = np.random.default_rng(0)
    seen = [(rng.random(200) <= conformal.quantile(rng.random(30), 0.9)).mean() for _ in range(4000)]
    assert conformal.expected(30, 200, 0.9) == pytest.approx(np.quantile(seen, 0.025), abs=0.015)
    assert conformal.expected(30, 200, 0.9) < conformal.expected(3000, 200, 0.9) < 0.9
    assert conformal.expected(5, 200, 0.9) == 1.0  # every set holds all classes
