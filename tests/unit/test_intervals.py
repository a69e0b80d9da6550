"""Intervals against closed forms, scipy and the bootstrap done one sample at a time."""

import time

import numpy as np
import pytest
from scipy import stats

from graft.errors import DataError, UsageError
from graft.intervals import (
    bootstrap_confusion,
    bootstrap_mean,
    clopper_pearson,
    counts,
    paired_bootstrap,
    resample,
    wilson,
)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (1, 1), (81, 263), (97, 100), (40, 40), (5000, 10000)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_is_scipys(successes: int, n: int, level: float) -> None:
    reference = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    metric = wilson(successes, n, level)
    assert metric[:3] == pytest.approx((successes / n, reference.low, reference.high), abs=1e-12)


def test_wilson_is_the_published_example() -> None:
    """Newcombe 1998, table I: 81/263, 15/148, 0/20, 1/29."""
    published = [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718)]
    for successes, n, *bounds in published:
        assert wilson(successes, n)[1:3] == pytest.approx(bounds, abs=5e-5)


def test_wilson_contains_its_rate_and_keeps_a_width() -> None:
    for n in (1, 7, 999):
        for successes in {0, 1, n - 1, n}:
            metric = wilson(successes, n)
            assert 0 <= metric.low <= metric.value <= metric.high <= 1 and metric.high > metric.low
    assert wilson(0, 0)[:3] == (0, 0, 1)


@pytest.mark.parametrize("wrong", [(-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_rate(wrong: tuple[int, int]) -> None:
    with pytest.raises(UsageError):
        wilson(*wrong)
    with pytest.raises(UsageError, match="level"):
        wilson(1, 2, level=95)


def test_bootstrap_mean_is_the_normal_interval_for_many_values() -> None:
    values = np.random.default_rng(1).exponential(size=4000)
    metric = bootstrap_mean(values, samples=4000)
    half = 1.959964 * values.std() / len(values) ** 0.5
    assert metric.value == pytest.approx(values.mean())
    assert (metric.low, metric.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=half * 0.08)


def test_bootstrap_mean_covers_the_truth() -> None:
    """95 % intervals hold the true mean about 95 % of the time (binomial: 400 trials, five sigma)."""
    rng = np.random.default_rng(2)
    held = sum(m.low <= 3 <= m.high for m in (bootstrap_mean(rng.normal(3, 1, 60), 400) for _ in range(400)))
    assert 0.88 <= held / 400 <= 0.99


def test_bootstraps_repeat_with_their_seed_and_only_with_it() -> None:
    values = np.random.default_rng(3).normal(size=50)
    assert bootstrap_mean(values) == bootstrap_mean(values) != bootstrap_mean(values, seed=1)
    chunks = bootstrap_mean(np.resize(values, 100_000), samples=90)  # more than one chunk of random numbers
    assert chunks.low < chunks.value < chunks.high


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_bootstrap_mean_refuses_what_has_no_mean(values: list[float]) -> None:
    with pytest.raises(DataError):
        bootstrap_mean(values)


def test_pairs_are_narrower_than_two_intervals() -> None:
    rng = np.random.default_rng(4)
    hard = rng.normal(size=500) * 5
    a, b = hard + rng.normal(1, 0.5, 500), hard + rng.normal(0, 0.5, 500)
    metric = paired_bootstrap(a, b)
    assert metric.low < 1 < metric.high and metric.low > 0.9 and metric.method == "paired bootstrap"
    assert bootstrap_mean(a).high - bootstrap_mean(a).low > 5 * (metric.high - metric.low)
    with pytest.raises(UsageError, match="paired"):
        paired_bootstrap(a, b[:-1])


def _figures() -> dict:  # type: ignore[type-arg]
    return {"accuracy": lambda c: c.hits.sum(-1) / c.actual.sum(-1), "first": lambda c: c.predicted[..., 0]}


def test_the_bootstrap_of_a_matrix_is_the_bootstrap_of_its_samples() -> None:
    matrix = np.array([[30, 5, 0], [2, 40, 1], [0, 4, 8]])
    truth, guess = (np.repeat(axis.ravel(), matrix.ravel()) for axis in np.indices(matrix.shape))
    rng, accuracies, firsts = np.random.default_rng(5), [], []
    for _ in range(4000):
        rows = rng.integers(0, len(truth), len(truth))
        accuracies.append((truth[rows] == guess[rows]).mean())
        firsts.append((guess[rows] == 0).sum())
    made = bootstrap_confusion(matrix, _figures(), samples=4000)
    assert made["accuracy"][1:3] == pytest.approx(np.quantile(accuracies, (0.025, 0.975)), abs=0.012)
    assert made["first"][1:3] == pytest.approx(np.quantile(firsts, (0.025, 0.975)), abs=1.1)
    assert made["accuracy"].value == pytest.approx(78 / 90) and made["first"].value == 32


def test_resampled_counts_belong_together() -> None:
    matrix = np.random.default_rng(6).integers(0, 4, (9, 9))
    draws = resample(matrix, 300)
    assert (draws.actual.sum(1) == matrix.sum()).all() and (draws.predicted.sum(1) == matrix.sum()).all()
    assert (draws.hits <= np.minimum(draws.actual, draws.predicted)).all()
    for drawn, seen in zip(draws, counts(matrix), strict=True):
        assert drawn.mean(0) == pytest.approx(seen, abs=6 * (matrix.sum() / 300) ** 0.5)


def test_two_hundred_classes_take_a_moment() -> None:
    matrix = np.random.default_rng(7).multinomial(6000, np.eye(200).ravel() * 0.004 + 0.2 / 40000).reshape(200, 200)
    start = time.perf_counter()
    bootstrap_confusion(matrix, _figures())
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("matrix", [np.zeros((2, 2)), np.ones((2, 3)), -np.eye(2)])
def test_a_matrix_without_samples_is_refused(matrix: np.ndarray) -> None:  # type: ignore[type-arg]
    with pytest.raises(DataError):
        resample(matrix)


def test_clopper_pearson_is_scipys_exact_interval() -> None:
    for hits, n in ((0, 7), (7, 7), (90, 100), (1, 1)):
        found, exact = clopper_pearson(hits, n), stats.binomtest(hits, n).proportion_ci(method="exact")
        assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
    assert clopper_pearson(0, 0)[1:3] == (0.0, 1.0)
    with pytest.raises(UsageError):
        clopper_pearson(3, 2)
