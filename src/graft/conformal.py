"""Sets of classes that hold the truth as often as was promised, whatever the model is worth.

Split conformal prediction (Vovk et al. 2005; Angelopoulos & Bates 2023, arXiv:2107.07511): a threshold on held-out
samples' scores, such that a new sample of the same source falls below it with probability >= coverage. The promise is
one on average, over all samples and over the held-out samples that may have been drawn.

lac    1 - probability of the class: the smallest sets on average (Sadinle et al. 2019, arXiv:1609.00451)
aps    the probability of all classes that are more probable, and a random part of its own (Romano et al. 2020,
       arXiv:2006.02544): sets that grow where a sample is hard
class  lac with a threshold for each class, so that the coverage holds for each class (Vovk 2012, arXiv:1209.2673)
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graft.errors import UsageError, did_you_mean
from graft.intervals import clopper_pearson
from graft.types import Metric

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
Flags = NDArray[np.bool_]
METHODS = ("lac", "aps", "class")


def draws(digests: Sequence[str]) -> Array:
    """(N,) numbers in 0..1, uniform over contents and fixed by each: one sample always gets the same set."""
    hashes = (hashlib.blake2b(b"aps " + digest.encode(), digest_size=8).digest() for digest in digests)
    return np.array([int.from_bytes(one, "big") / 2**64 for one in hashes], dtype=np.float64)


def thresholds(
    held: ArrayLike, targets: ArrayLike, uniform: ArrayLike, coverage: float = 0.9, method: str = "lac"
) -> Array:
    """(C,) up to which score a class is in a set, from M held-out samples' probabilities (M, C), classes (M,) and, for
    aps, `draws` (M,). One number for all classes, but for the method "class"; infinite where there are too few samples
    to promise so much: the class is then in every set. Raises UsageError for another method or no coverage."""
    own = true_scores(held, targets, uniform, method)
    return limits(own, targets, np.asarray(held).shape[1], coverage, method)


def true_scores(held: ArrayLike, targets: ArrayLike, uniform: ArrayLike, method: str) -> Array:
    """(M,) the scores of the classes that M held-out samples have: all that thresholds are made of."""
    truth = np.asarray(targets).astype(np.int64)
    return np.asarray(scores(held, uniform, method)[np.arange(len(truth)), truth])


def limits(own: ArrayLike, targets: ArrayLike, classes: int, coverage: float, method: str) -> Array:
    """(C,) `thresholds`, from `true_scores` (M,) and classes (M,). Raises UsageError like it."""
    check(coverage, method)
    values, truth = np.asarray(own, np.float64), np.asarray(targets).astype(np.int64)
    if method != "class":
        return np.full(classes, quantile(values, coverage))
    order = np.argsort(truth, kind="stable")
    starts = np.searchsorted(truth[order], np.arange(1, classes))
    return np.array([quantile(part, coverage) for part in np.split(values[order], starts)])


def sets(probabilities: ArrayLike, uniform: ArrayLike, limits: ArrayLike, method: str = "lac") -> Flags:
    """(N, C) which classes are in the set of each of N samples, by their `draws` (N,) and `thresholds` (C,). A set may
    be empty; `with_top` fills those."""
    return np.asarray(scores(probabilities, uniform, method) <= np.asarray(limits))


def scores(probabilities: ArrayLike, uniform: ArrayLike, method: str) -> Array:
    """(N, C) how badly each class fits each sample: in 0..1, and more where it is less probable."""
    values = np.asarray(probabilities, np.float64)
    if method != "aps":
        return np.asarray(1 - values)
    order = np.argsort(-values, axis=1, kind="stable")
    sorted_values = np.take_along_axis(values, order, axis=1)
    before = np.cumsum(sorted_values, axis=1) - sorted_values
    found = np.empty_like(values)
    np.put_along_axis(found, order, before + np.asarray(uniform, np.float64)[:, None] * sorted_values, axis=1)
    return found


def quantile(own: ArrayLike, coverage: float) -> float:
    """The k-th smallest of n scores, k = ceil((n + 1) coverage); infinite where n is too small to promise so much."""
    values = np.asarray(own, np.float64)
    rank = math.ceil((len(values) + 1) * coverage - 1e-9)
    return float(np.partition(values, rank - 1)[rank - 1]) if rank <= len(values) else math.inf


def least(coverage: float) -> int:
    """How many held-out samples a threshold needs."""
    return math.ceil(coverage / (1 - coverage) - 1e-9)


def expected(held: int, samples: int, coverage: float) -> float:
    """The least coverage of new `samples` that a threshold of so many held-out ones lets expect, 39 times of 40: few
    held-out samples may have been easy ones. The coverage of a threshold is Beta distributed (Vovk 2012), what is seen
    of it on new samples beta-binomial; for each class by itself this is an approximation."""
    from scipy.stats import betabinom  # half a second, that only a measured run takes

    rank = math.ceil((held + 1) * coverage - 1e-9)
    if not samples or rank > held:
        return 0.0 if not samples else 1.0
    return float(betabinom.ppf(0.025, samples, rank, held + 1 - rank)) / samples


def with_top(found: Flags, probabilities: ArrayLike) -> Flags:
    """Sets that are never empty: the most probable class is added, which can only raise the coverage."""
    made = found.copy()
    made[np.arange(len(made)), np.asarray(probabilities).argmax(1)] = True
    return made


def covered(found: Flags, targets: ArrayLike) -> Metric:
    """The share of N sets (N, C) that hold the class (N,), with Clopper and Pearson's interval."""
    truth = np.asarray(targets).astype(np.int64)
    return clopper_pearson(int(found[np.arange(len(truth)), truth].sum()), len(truth))


def check(coverage: float, method: str) -> None:
    """Raises UsageError for what is no coverage, or no method."""
    if not 0 < coverage < 1:
        raise UsageError(f"a coverage of {coverage:g} is not between 0 and 1", "--coverage 0.9")
    if method not in METHODS:
        raise UsageError(f"there are no sets called '{method}'", did_you_mean(method, METHODS))
