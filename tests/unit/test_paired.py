"""Folds that divide no group, intervals against closed forms and simulation, and choices that do not peek."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from graft.errors import DataError
from graft.paired import SMALL, SPLITS, Fold, Hits, bootstrapped, corrected, folds, gain, score, without_peeking
from graft.types import Dataset, Sample


def pool(
    labels: Sequence[str], groups: Sequence[str | None] | None = None, parts: Sequence[str | None] | None = None
) -> Dataset:
    nothing: list[str | None] = [None] * len(labels)
    rows = zip(labels, parts or nothing, groups or nothing, strict=True)
    samples = tuple(Sample(str(i), i, label, part, group) for i, (label, part, group) in enumerate(rows))
    return Dataset("memory", "image", samples, tuple(sorted(set(labels))), lambda s: None, lambda s: b"")


def flat(found: Sequence[Fold]) -> list[list[int]]:
    return [part.tolist() for fold in found for part in (fold.train, fold.test, fold.report)]


def plain(counts: Sequence[int]) -> tuple[Fold, ...]:
    """Folds of which only the sizes matter: `counts` are those of the test parts, and each trains on 16."""
    starts = np.cumsum([0, *counts])
    return tuple(
        Fold(np.arange(16), np.arange(n) + start, np.ones(n, bool)) for n, start in zip(counts, starts, strict=False)
    )


# ----------------------------------------------------------------------------------------------------------- intervals


def test_corrected_is_the_closed_form_of_nadeau_and_bengio() -> None:
    """(1/J + n2/n1) s^2 with J - 1 = 3 degrees of freedom; quantiles of Student's t from its table."""
    found = corrected(np.array([0.02, 0.04, 0.00, 0.06]), 0.25)
    error = (0.5 * 0.002 / 3) ** 0.5  # the squared deviations sum to 0.002
    assert found.value == pytest.approx(0.03) and found.folds == 4
    assert (found.low, found.high) == pytest.approx((0.03 - 3.18245 * error, 0.03 + 3.18245 * error), rel=1e-4)
    assert (found.lower, found.upper) == pytest.approx((0.03 - 1.63774 * error, 0.03 + 1.63774 * error), abs=1e-6)


def test_corrected_without_overlap_is_the_ordinary_paired_t_test() -> None:
    a, b = np.random.default_rng(0).normal(0.1, 0.3, (2, 12))
    found, expected = corrected(a - b, 0.0), stats.ttest_rel(a, b)
    for level, bounds in ((0.95, (found.low, found.high)), (0.8, (found.lower, found.upper))):
        assert tuple(expected.confidence_interval(level)) == pytest.approx(bounds)


@pytest.mark.parametrize("differences", [[], [0.4]])
def test_of_less_than_two_differences_nothing_is_known(differences: list[float]) -> None:
    found = corrected(np.array(differences), 0.25)
    assert (found.value, found.low, found.high, found.folds) == (sum(differences), -1, 1, len(differences))
    assert not found.real


def test_a_gain_is_real_when_its_lower_bound_is_above_zero() -> None:
    assert corrected(np.array([0.1, 0.2, 0.1, 0.2]), 0.25).real
    assert not corrected(np.array([0.1, -0.2, 0.3, 0.0]), 0.25).real
    assert not corrected(np.zeros(10), 0.25).real, "of equals, the cheaper one stays"


def _accuracy(shift: float) -> float:
    """Of a nearest-mean classifier of two unit normals that lie `shift` apart, trained on 24 points of each."""
    ordered = stats.norm.cdf(shift / (1 / 12) ** 0.5)  # the estimated means lie as the true ones do
    right = stats.norm.cdf(shift / 2 / (1 + 1 / 48) ** 0.5)
    return float(ordered * right + (1 - ordered) * (1 - right))


def _covered(rng: np.random.Generator, ratio: float) -> bool:
    """Two classifiers, one of which sees a third of the signal, on two repeats of five folds of 60 points."""
    labels = np.arange(60) % 2
    points = rng.normal(0, 1, (60, 2)) + np.outer(labels, [1.2, 0.4])
    parts = [part for _ in range(2) for part in np.split(rng.permutation(60), 5)]
    found = corrected(np.array([_difference(points, labels, part) for part in parts]), ratio)
    return found.low <= _accuracy(1.2) - _accuracy(0.4) <= found.high


def _difference(points: np.ndarray, labels: np.ndarray, test: np.ndarray) -> float:
    train = np.setdiff1d(np.arange(60), test)
    means = np.stack([points[train][labels[train] == c].mean(0) for c in (0, 1)])
    said = np.abs(points[test, None] - means).argmin(1)
    right = (said == labels[test, None]).mean(0)
    return float(right[0] - right[1])


def test_the_interval_holds_the_truth_in_nine_of_ten_simulated_comparisons() -> None:
    """Without the correction it would not: the training parts overlap."""
    held, naive = (np.mean([_covered(np.random.default_rng(i), ratio) for i in range(400)]) for ratio in (0.25, 0.0))
    assert held >= 0.9 > naive, (held, naive)


def test_bootstrapped_is_near_the_normal_approximation_and_seeded() -> None:
    differences = np.random.default_rng(1).choice([-1.0, 0.0, 1.0], 400, p=[0.1, 0.7, 0.2])
    found, error = bootstrapped(differences), differences.std() / 20
    assert found == bootstrapped(differences) and found.value == differences.mean()
    for quantile, bound in ((-1.96, found.low), (1.96, found.high), (-1.2816, found.lower), (1.2816, found.upper)):
        assert bound == pytest.approx(found.value + quantile * error, abs=0.006)


# --------------------------------------------------------------------------------------------------------------- gains


def test_gain_pairs_only_the_folds_that_both_have() -> None:
    rng = np.random.default_rng(0)
    every: Hits = {k: rng.integers(0, 2, 4).astype(float) for k in range(4)}
    few: Hits = {k: rng.integers(0, 2, 4).astype(float) for k in (3, 1)}
    shared = np.array([(every[k] - few[k]).mean() for k in (1, 3)])
    assert gain(every, few, plain([4] * 4)) == corrected(shared, 0.25)
    assert gain(every, {}, plain([4] * 4)).folds == 0


def test_gain_on_one_held_out_part_is_reported_on_half_b() -> None:
    fold = Fold(np.arange(8), np.arange(4), np.array([True, False, True, False]))
    a, b = {0: np.array([1.0, 0, 1, 0])}, {0: np.array([0.0, 1, 1, 1])}
    assert gain(a, b, [fold]) == bootstrapped(np.array([1.0, 0.0]))
    assert (score(a, [fold], "A"), score(a, [fold], "B")) == (0.0, 1.0)


def test_score_of_folds_is_the_mean_of_their_means() -> None:
    assert score({0: np.array([1.0, 0.0]), 1: np.array([1.0])}, plain([2, 1])) == 0.75


# --------------------------------------------------------------------------------------------------------------- folds


def test_small_data_are_tested_once_in_each_repeat_and_the_repeats_differ() -> None:
    labels = ["a"] * 30 + ["b"] * 20
    found = folds(pool(labels), 0.15, seed=3)
    assert len(found) == 10 and flat(found) == flat(folds(pool(labels), 0.15, seed=3))
    for repeat in (found[:5], found[5:]):
        assert sorted(np.concatenate([fold.test for fold in repeat]).tolist()) == list(range(50))
    for fold in found:
        assert sorted([*fold.train, *fold.test]) == list(range(50)) and fold.report.all()
        assert sum(labels[i] == "a" for i in fold.test) == 6, "stratified"
    assert {tuple(f.test) for f in found[:5]}.isdisjoint(tuple(f.test) for f in found[5:])
    assert flat(found) != flat(folds(pool(labels), 0.15, seed=4))


def test_a_group_is_never_divided() -> None:
    labels = ["a", "b"] * 45
    groups = [f"person {i // 6}" if i < 60 else None for i in range(90)]
    for fold in folds(pool(labels, groups), 0.15, seed=0):
        sides = [{groups[i] for i in part} - {None} for part in (fold.train, fold.test)]
        assert sides[0].isdisjoint(sides[1])


@pytest.mark.parametrize("counts", [(2, 2), (2, 9, 40), (3, 3, 3, 3), (5, 2, 2), (7, 4)])
def test_every_class_is_in_every_training_part_where_it_can_be(counts: tuple[int, ...]) -> None:
    labels = [f"class {c}" for c, n in enumerate(counts) for _ in range(n)]
    for seed in range(5):
        for fold in folds(pool(labels), 0.15, seed):
            assert {labels[i] for i in fold.train} == set(labels)


def test_from_small_on_there_is_one_part_with_two_halves() -> None:
    labels = ["a"] * (SMALL // 2) + ["b"] * (SMALL // 2)
    assert len(folds(pool(labels[1:]), 0.2, 0)) == 2 * SPLITS
    (fold,) = folds(pool(labels), 0.2, 0)
    assert len(fold.test) == 0.2 * SMALL and set(fold.train).isdisjoint(fold.test)
    for half in (fold.test[fold.report], fold.test[~fold.report]):
        assert len(half) == 0.1 * SMALL and sum(labels[i] == "a" for i in half) == 0.05 * SMALL
    assert flat([fold]) == flat(folds(pool(labels), 0.2, 0)) != flat(folds(pool(labels), 0.2, 1))


@pytest.mark.parametrize("count", [4, 5, 6, 11])
def test_few_groups_are_enough_for_two_halves(count: int) -> None:
    groups = [f"speaker {i % count}" for i in range(SMALL)]
    fold = folds(pool(["ab"[i // count % 2] for i in range(SMALL)], groups), 0.15, 0)[0]
    train, test = ({groups[i] for i in rows} for rows in (fold.train, fold.test))
    halves = ({groups[i] for i in fold.test[half]} for half in (fold.report, ~fold.report))
    assert not train & test and not set.intersection(*halves)


def test_halves_divide_no_group() -> None:
    groups = [f"person {i // 10}" for i in range(SMALL)]
    (fold,) = folds(pool(["a", "b"] * (SMALL // 2), groups), 0.2, 0)
    parts = [{groups[i] for i in rows} for rows in (fold.train, fold.test[fold.report], fold.test[~fold.report])]
    assert len(set().union(*parts)) == sum(map(len, parts)) == SMALL // 10


def test_the_given_valid_part_of_large_data_is_used() -> None:
    parts = [None if i % 5 else "valid" for i in range(SMALL)]
    (fold,) = folds(pool(["a", "b"] * (SMALL // 2), None, parts), 0.15, 0)
    assert fold.test.tolist() == list(range(0, SMALL, 5)) and fold.report.sum() == SMALL // 10
    assert len(fold.train) == SMALL - len(fold.test)


@pytest.mark.parametrize("labels", ["ab", "aaaaaab", "abc"])
def test_too_few_samples_to_choose_by_are_refused(labels: str) -> None:
    with pytest.raises(DataError, match="too few") as caught:
        folds(pool(list(labels)), 0.15, 0)
    assert "--strategy" in caught.value.hint


@pytest.mark.parametrize("valid", [False, True])
def test_one_group_that_cannot_be_divided_is_refused_in_words(valid: bool) -> None:
    """All of a small set is one group; or all of a large one's valid part is, which has to be halved."""
    size = SMALL if valid else 20
    groups = ["person 1" if i < 100 else f"person {i}" for i in range(size)]
    parts = ["valid" if valid and i < 100 else None for i in range(size)]
    with pytest.raises(DataError):
        folds(pool(["a", "b"] * (size // 2), groups, parts), 0.15, 0)


# ------------------------------------------------------------------------------------------------------ without peeking


def test_a_candidate_that_is_best_by_luck_on_one_fold_does_not_count_that_fold_for_itself() -> None:
    """`lucky` is the best on average, but only through fold 2; without that `steady` is chosen, and it scores there."""
    steady: Hits = {k: np.full(4, 0.5) for k in range(4)}
    lucky: Hits = {0: np.full(4, 0.45), 1: np.full(4, 0.45), 2: np.ones(4), 3: np.full(4, 0.45)}
    best, made = without_peeking({"steady": steady, "lucky": lucky}, plain([4] * 4))
    assert best == "lucky"
    assert [made[k].mean() for k in range(4)] == [0.45, 0.45, 0.5, 0.45]
    assert np.mean([each.mean() for each in made.values()]) < 0.5, "the luck is gone from the score"


def test_choosing_among_many_candidates_of_noise_is_worth_nothing() -> None:
    """The best of 50 coins looks good; what the choice is worth is a coin."""
    rng = np.random.default_rng(0)
    looks, worth = [], []
    for _ in range(40):
        coins: dict[str, Hits] = {str(c): {k: rng.integers(0, 2, 20) / 1.0 for k in range(10)} for c in range(50)}
        best, made = without_peeking(coins, plain([20] * 10))
        looks.append(score(coins[best], plain([20] * 10)))
        worth.append(score(made, plain([20] * 10)))
    assert np.mean(looks) > 0.56 and abs(np.mean(worth) - 0.5) < 0.02


def test_of_equals_the_first_is_chosen() -> None:
    hits: dict[str, Hits] = {name: {k: np.ones(2) for k in range(3)} for name in ("first", "second")}
    assert without_peeking(hits, plain([2] * 3))[0] == "first"


def test_on_one_held_out_part_half_a_chooses() -> None:
    fold = Fold(np.arange(8), np.arange(4), np.array([True, True, False, False]))
    hits: dict[str, Hits] = {"good on B": {0: np.array([1.0, 1, 0, 0])}, "good on A": {0: np.array([0.0, 0, 1, 0])}}
    assert without_peeking(hits, [fold]) == ("good on A", hits["good on A"])
