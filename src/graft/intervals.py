"""A figure without an interval is a rumour: Wilson's interval for rates, the bootstrap for everything else.

`wilson`: a proportion of n independent samples (Wilson 1927). It stays inside [0, 1] and keeps a width at 0 and 1,
where the textbook's normal interval collapses.
`clopper_pearson`: the same by the exact binomial distribution, for promises that must hold: it is never too narrow.
`bootstrap_*`: percentile intervals over resampled samples (Efron 1979), seeded, so a report repeats to the digit. They
know only what was seen: where every sample gave the same value they have no width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graft.errors import DataError, UsageError
from graft.types import Metric

Array = NDArray[np.float64]
_CELLS = 4_000_000  # random numbers held at once: 32 MB


class Counts(NamedTuple):
    """What a confusion matrix says of each class; every figure of counts (F1, kappa, ...) follows from these three."""

    hits: Array  # (..., C) samples of the class that were recognised
    actual: Array  # (..., C) samples of the class
    predicted: Array  # (..., C) samples taken for the class


def counts(confusion: ArrayLike) -> Counts:
    """(C, C) confusion matrix, rows are truth -> its diagonal, row sums and column sums, (C,) each."""
    matrix = np.asarray(confusion, dtype=np.float64)
    return Counts(matrix.diagonal().copy(), matrix.sum(1), matrix.sum(0))


def wilson(successes: float, n: float, level: float = 0.95) -> Metric:
    """The rate successes / n with Wilson's score interval; without samples, 0 with the interval [0, 1]."""
    if not 0 <= successes <= n:
        raise UsageError(f"{successes} successes of {n} is not a rate", "give 0 <= successes <= n")
    z = NormalDist().inv_cdf(0.5 + _level(level) / 2)
    if n == 0:
        return Metric(0.0, 0.0, 1.0, "no samples")
    rate, spread = successes / n, z * z / n
    centre = (rate + spread / 2) / (1 + spread)
    half = (spread * (rate * (1 - rate) + spread / 4)) ** 0.5 / (1 + spread)
    # at the ends the bound is the rate itself; rounding must not put it beyond
    low = 0.0 if successes == 0 else min(centre - half, rate)
    high = 1.0 if successes == n else max(centre + half, rate)
    return Metric(rate, low, high, "wilson")


def clopper_pearson(successes: int, n: int, level: float = 0.95) -> Metric:
    """The rate with the exact interval of the binomial distribution (Clopper & Pearson 1934), which never covers less
    than `level`; without samples, 0 with the interval [0, 1]."""
    from scipy.special import betaincinv

    if not 0 <= successes <= n:
        raise UsageError(f"{successes} successes of {n} is not a rate", "give 0 <= successes <= n")
    if n == 0:
        return Metric(0.0, 0.0, 1.0, "no samples")
    tail = (1 - _level(level)) / 2
    low = float(betaincinv(successes, n - successes + 1, tail)) if successes else 0.0
    high = float(betaincinv(successes + 1, n - successes, 1 - tail)) if successes < n else 1.0
    return Metric(successes / n, low, high, "clopper-pearson")


def bootstrap_mean(values: ArrayLike, samples: int = 1000, seed: int = 0, level: float = 0.95) -> Metric:
    """The mean of (N,) values with a percentile interval; DataError if there are none or one is not a number."""
    column = _column(values)
    rng, rows = np.random.default_rng(seed), max(1, _CELLS // len(column))
    sizes = [min(rows, samples - start) for start in range(0, samples, rows)]
    means = [column[rng.integers(0, len(column), (size, len(column)))].mean(1) for size in sizes]
    return percentile(float(column.mean()), np.concatenate(means), level)


def paired_bootstrap(a: ArrayLike, b: ArrayLike, samples: int = 1000, seed: int = 0, level: float = 0.95) -> Metric:
    """mean(a - b) for two models on the same N samples: what both find hard cancels, so the interval is narrow."""
    left, right = _column(a), _column(b)
    if left.shape != right.shape:
        raise UsageError(f"{len(left)} and {len(right)} values cannot be paired", "score both on the same samples")
    return bootstrap_mean(left - right, samples, seed, level)._replace(method="paired bootstrap")


def bootstrap_confusion(
    confusion: ArrayLike,
    statistics: Mapping[str, Callable[[Counts], Any]],
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Metric]:
    """Intervals of figures of a (C, C) confusion matrix; a statistic maps Counts (..., C) to figures (...)."""
    draws = resample(confusion, samples, seed)
    seen = counts(confusion)
    return {name: percentile(float(f(seen)), np.asarray(f(draws)), level) for name, f in statistics.items()}


def resample(confusion: ArrayLike, samples: int = 1000, seed: int = 0) -> Counts:
    """Counts (S, C) of S bootstrap samples.

    Drawing N samples with replacement and counting them is one multinomial draw over the cells of the matrix, so the
    bootstrap costs cells that are not empty, not samples.
    """
    matrix = np.asarray(confusion, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.any() or matrix.min() < 0:
        raise DataError("a bootstrap needs a square matrix of counts with at least one sample", "label some samples")
    truth, guess = np.nonzero(matrix)
    cells = matrix[truth, guess]
    rng, step = np.random.default_rng(seed), max(1, _CELLS // len(cells))
    total, chances = round(cells.sum()), cells / cells.sum()
    sizes = [min(step, samples - start) for start in range(0, samples, step)]
    parts = [_margins(rng.multinomial(total, chances, size), truth, guess, len(matrix)) for size in sizes]
    return Counts(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def percentile(value: float, draws: Array, level: float = 0.95) -> Metric:
    """A value with the middle `level` of its (S,) bootstrap draws."""
    tail = (1 - _level(level)) / 2
    low, high = np.quantile(draws, (tail, 1 - tail))
    return Metric(value, float(low), float(high), "bootstrap")


def _margins(draws: NDArray[np.int64], truth: NDArray[Any], guess: NDArray[Any], classes: int) -> Counts:
    """Draws (S, K) of K cells at (truth, guess) -> their diagonal, row and column sums, (S, C) each."""
    same = truth == guess
    return Counts(
        _sums(draws[:, same], truth[same], classes), _sums(draws, truth, classes), _sums(draws, guess, classes)
    )


def _sums(draws: NDArray[np.int64], owner: NDArray[Any], classes: int) -> Array:
    """Add the columns of draws (S, K) by owner (K,) -> (S, C)."""
    sums = np.zeros((len(draws), classes))
    order = np.argsort(owner, kind="stable")
    owners, starts = np.unique(owner[order], return_index=True)
    if len(owners):
        sums[:, owners] = np.add.reduceat(draws[:, order], starts, axis=1)
    return sums


def _column(values: ArrayLike) -> Array:
    column = np.asarray(values, dtype=np.float64).ravel()
    if not len(column) or not np.isfinite(column).all():
        raise DataError(f"an interval needs finite values, got {len(column)} with {_bad(column)} that are not numbers",
                        "look for samples without a label or a diverged model")  # fmt: skip
    return column


def _bad(column: Array) -> int:
    return int((~np.isfinite(column)).sum())


def _level(level: float) -> float:
    if not 0 < level < 1:
        raise UsageError(f"level={level} is not between 0 and 1", "use level=0.95 for a 95 % interval")
    return level
