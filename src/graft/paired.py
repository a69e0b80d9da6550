"""Ways compared on the same samples: folds, the gain of one over another with its interval, choices that do not peek.

Small data: five folds, twice, with other shuffles. The ten differences are not independent, as the training parts
overlap: their variance is corrected for that (Nadeau & Bengio 2003, Machine Learning 52). Larger data: one validation
part in two halves, A to choose by and B to report on, with the paired bootstrap over the samples of B.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from graft.data._split import strata
from graft.device import seed_of
from graft.errors import DataError
from graft.types import Dataset

Array = NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)
Rows = NDArray[np.int64]
Hits = dict[int, Array]  # fold -> what each of its test samples adds to the score (n,)
SMALL = 2000  # samples below which folds are worth their time
SPLITS, REPEATS = 5, 2


class Fold(NamedTuple):
    """Rows of the pool to fit on, and rows to score. `report` (n,) marks half B of the latter; for folds it is all."""

    train: Rows
    test: Rows
    report: NDArray[np.bool_]


class Gain(NamedTuple):
    """A difference of scores, its 95 % interval, and the one-sided 90 % bounds that decide a climb."""

    value: float
    low: float
    high: float
    lower: float
    upper: float
    folds: int

    @property
    def real(self) -> bool:
        """Beyond noise: the one-sided 90 % lower bound lies above 0."""
        return self.lower > 0


def folds(dataset: Dataset, share: float, seed: int) -> tuple[Fold, ...]:
    """Folds of a data set without its test part. Groups are never divided; a given valid part of large data is used.

    Raises DataError where a choice would be made by nothing: fewer than two samples of all classes but one.
    """
    targets = _layers(dataset)
    counts = np.bincount(targets[targets >= 0], minlength=len(dataset.classes))
    if dataset.kind == "class" and np.sort(counts)[-2] < 2:
        what = f"{len(dataset)} samples of {len(dataset.classes)} classes are too few to choose by"
        raise DataError(what, "add samples, or name the way yourself: --strategy centroid")
    groups = _groups(dataset)
    _require_groups(groups, dataset.name)
    if len(dataset) < SMALL:
        sizes = counts[counts > 0] if dataset.kind == "class" else np.bincount(targets)
        splits = int(np.clip(np.median(sizes), 2, SPLITS))
        splits = min(splits, len(np.unique(groups)))
        found = [
            f for repeat in range(REPEATS) for f in _folds(targets, groups, splits, seed_of("folds", seed, repeat))
        ]
        return tuple(Fold(train, test, np.ones(len(test), bool)) for train, test in found)
    return (_halves(dataset, targets, groups, share, seed),)


def _halves(dataset: Dataset, targets: Rows, groups: Rows, share: float, seed: int) -> Fold:
    given = np.array([sample.split == "valid" for sample in dataset.samples])
    if given.any():
        train, test = np.flatnonzero(~given), np.flatnonzero(given)
    else:
        parts = max(2, min(20, round(1 / share), len(np.unique(groups)) // 2))  # two groups at least: one for each half
        train, test = _folds(targets, groups, parts, seed_of("valid", seed))[0]
    _require_groups(groups[test], f"the validation part of {dataset.name}")
    half = _folds(targets[test], groups[test], 2, seed_of("half", seed))[0][1]
    report = np.zeros(len(test), bool)
    report[half] = True
    return Fold(train, test, report)


def _folds(targets: Rows, groups: Rows, splits: int, seed: int) -> list[tuple[Rows, Rows]]:
    with warnings.catch_warnings():  # a class with fewer samples than folds: the audit has said so
        warnings.simplefilter("ignore")
        whole = len(np.unique(groups)) == len(groups)  # then the faster of the two gives as good folds
        cut = (StratifiedKFold if whole else StratifiedGroupKFold)(splits, shuffle=True, random_state=seed % 2**32)
        found = cut.split(np.zeros(len(targets)), targets, groups)
        made = [(train, test) for train, test in found if len(train) and len(test)]
    if len(np.unique(targets)) > 1 and any(len(np.unique(targets[train])) < 2 for train, _ in made):
        what = "the groups are so few or so uneven that a part to train on would hold one class alone"
        raise DataError(what, "give other groups, or name the way yourself: --strategy centroid")
    return made


def _layers(dataset: Dataset) -> Rows:
    """(N,) what the folds are stratified by: the classes, or what stands for labels of another kind."""
    if dataset.kind == "class":
        return dataset.targets().numpy()
    return np.unique([str(layer) for layer in strata(dataset)], return_inverse=True)[1].astype(np.int64)


def _require_groups(groups: Rows, name: str) -> None:
    if len(np.unique(groups)) < 2:
        raise DataError(f"all samples of {name} belong to one group, which is never divided",
                        "give other groups, or name the way yourself: --strategy centroid")  # fmt: skip


def _groups(dataset: Dataset) -> Rows:
    names = [sample.group or f"{i}" for i, sample in enumerate(dataset.samples)]
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


# -------------------------------------------------------------------------------------------------------- comparing


def gain(a: Hits, b: Hits, folds: Sequence[Fold]) -> Gain:
    """Score of `a` less that of `b` on the folds that both have; one fold is a held-out part."""
    shared = sorted(a.keys() & b.keys())
    if len(folds) == 1:
        return bootstrapped((a[0] - b[0])[folds[0].report])
    means = np.array([(a[k] - b[k]).mean() for k in shared])
    ratio = float(np.mean([len(folds[k].test) / len(folds[k].train) for k in shared])) if shared else 0.0
    size = float(np.mean([len(folds[k].test) for k in shared])) if shared else 1.0
    return corrected(means, ratio, size)


def corrected(differences: Array, ratio: float, size: float = np.inf) -> Gain:
    """(J,) differences of J resamples, `ratio` = test / train size: Student's t with J - 1 degrees of freedom and the
    variance (1/J + ratio) s^2. With one difference nothing is known of the noise.

    `size`: samples in a test part. A few differences of few samples may be equal by chance: s^2 is at least what a rate
    of that size has. What is no rate, such as a share of variance, may differ by more than 1, and has no such bounds.
    """
    count = len(differences)
    value = float(differences.mean()) if count else 0.0
    bound = 1.0 if np.abs(differences).max(initial=0.0) <= 1 else np.inf
    if count < 2:
        return Gain(value, -bound, bound, -bound, bound, count)
    variance = max(float(differences.var(ddof=1)), abs(value) * (1 - abs(value)) / size)
    error = float(np.sqrt((1 / count + ratio) * variance))
    wide, narrow = (float(student.ppf(q, count - 1)) * error for q in (0.975, 0.9))
    low, high, lower, upper = (max(-bound, min(bound, value + by)) for by in (-wide, wide, -narrow, narrow))
    return Gain(value, low, high, lower, upper, count)


def bootstrapped(differences: Array, samples: int = 2000) -> Gain:
    """(n,) differences of paired samples -> their mean with percentile bounds; seeded."""
    rng = np.random.default_rng(0)
    step = max(1, 4_000_000 // len(differences))
    means = [differences[rng.integers(0, len(differences), (min(step, samples - start), len(differences)))].mean(1)
             for start in range(0, samples, step)]  # fmt: skip
    low, lower, upper, high = np.quantile(np.concatenate(means), (0.025, 0.1, 0.9, 0.975))
    return Gain(float(differences.mean()), float(low), float(high), float(lower), float(upper), 1)


def tied(best: Hits, other: Hits, folds: Sequence[Fold]) -> bool:
    """Whether `best` leads by at most one standard error, each sample counted once: the folds of the first repeat, or
    half A of a held-out part."""
    if len(folds) == 1:
        difference = (best[0] - other[0])[~folds[0].report]
    else:
        difference = np.concatenate([best[k] - other[k] for k in range(len(folds) // REPEATS)])
    return within_one_error(difference)


def within_one_error(difference: Array) -> bool:
    """Whether the mean of (n,) paired differences is at most its standard error: then the two are called ties."""
    return bool(difference.mean() <= difference.std(ddof=1) / np.sqrt(len(difference)))


def mean(several: Sequence[Hits]) -> Hits:
    """What several ways score on each sample, on average."""
    return {k: np.mean([hits[k] for hits in several], axis=0) for k in several[0]}


def score(hits: Hits, folds: Sequence[Fold], half: str = "B") -> float:
    """The mean score; of one held-out part, that on half A (to choose by) or B (to report)."""
    if len(folds) == 1:
        chosen = folds[0].report if half == "B" else ~folds[0].report
        return float(hits[0][chosen].mean())
    return float(np.mean([each.mean() for each in hits.values()]))


def without_peeking(candidates: Mapping[Key, Hits], folds: Sequence[Fold]) -> tuple[Key, Hits]:
    """The best of several candidates, and what choosing so is worth: each fold is scored with the candidate that the
    others that share no sample with it choose, a held-out part with the one that half A chooses."""
    means = {key: {k: each.mean() for k, each in hits.items()} for key, hits in candidates.items()}
    if len(folds) == 1:
        best = max(candidates, key=lambda key: score(candidates[key], folds, "A"))
        return best, candidates[best]
    best = max(candidates, key=lambda key: np.mean(list(means[key].values())))
    made: Hits = {}
    for k in candidates[best]:
        apart = [j for j in means[best] if not np.intersect1d(folds[j].test, folds[k].test).size]
        others = {key: np.mean([found[j] for j in apart]) for key, found in means.items()}
        made[k] = candidates[max(others, key=lambda key: others[key])][k]
    return best, made
