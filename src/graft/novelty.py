"""Whether a sample is unlike those that a model was trained on: k-nearest neighbours, and how sure the model is.

The distance to the k-th nearest of a bank of training features, centred and scaled to length 1 (Sun et al. 2022,
arXiv:2204.06507), and the maximum softmax probability (Hendrycks & Gimpel 2017, arXiv:1610.02136). Each becomes a
p-value: the share of familiar samples, held-out ones of the same source, that are at least as strange. The two are
combined as their product, which is Fisher's statistic (1932); as they are not independent, the p-value of the product,
too, is counted among the familiar samples. 1 less that is the unlikeness; a stated 5 % of familiar samples is flagged.

On real pairs (benchmarks/trust_confidence.py) probability alone misses what is far from all classes, and distance alone
what lies between them; the product is ahead of both on intents out of scope, and between them on foreign pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graft.errors import DataError
from graft.rows import unit_length
from graft.types import Metric

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
Block = NDArray[np.float32]
STATED = 0.05  # the share of familiar samples that are flagged
ROWS, WIDTH, CELLS = 2000, 384, 600_000  # of a bank: features, their dimensions, and cells of its projection
FEWEST, MOST = 3, 50  # neighbours; a quarter of the bank's rows of a class, as more would be of other classes
TOGETHER = 4096  # samples whose distances to the bank are held at once
FOLDS = 10  # of groups


@final
@dataclass(frozen=True, eq=False)
class Bank:
    """Training features (M, W) as float16: centred by `centre` (D,), of length 1 and, where D is large, projected by
    `axes` (D, W), the directions in which they differ most. Distances to them are those before the projection, but for
    the part of a bank row that lies outside of it."""

    rows: NDArray[np.float16]
    centre: Block
    neighbours: int
    axes: NDArray[np.float16] | None = None


def chosen(targets: ArrayLike, most: int = ROWS, seed: int = 0) -> Rows:
    """Which of N training samples with classes (N,) go into a bank: at most so many, of each class in its share and at
    least one, in ascending order."""
    labels = np.asarray(targets).astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(labels))
    if len(labels) <= most:
        return np.arange(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    first = np.unique(labels[order], return_index=True)[1][:most]
    spread = np.linspace(0, len(labels) - 1, most - len(first)).round().astype(np.int64) if most > len(first) else first
    return np.sort(order[np.union1d(first, spread)])


def bank(features: ArrayLike, classes: int) -> Bank:
    """Of training features (M, D) that `chosen` chose. Raises DataError for what is empty or no number."""
    x = np.asarray(features, np.float32)
    if not len(x) or not np.isfinite(x).all():
        raise DataError(f"{len(x)} features make no bank, or are no numbers", "look at the trunk's features")
    centre = x.mean(0)
    unit = unit_length(x - centre)
    axes = _axes(unit) if x.shape[1] > WIDTH else None
    rows = (unit if axes is None else unit @ axes.astype(np.float32)).astype(np.float16)
    return Bank(rows, centre, int(np.clip(len(x) // (4 * classes), FEWEST, MOST)), axes)


def distances(known: Bank, features: ArrayLike) -> Array:
    """(N,) distance of each sample of (N, D) features to its k-th nearest row of the bank, in 0..2."""
    x = np.asarray(features, np.float32)
    near = known.rows.astype(np.float32).T
    axes = None if known.axes is None else known.axes.astype(np.float32)
    found = [_kth(known, x[start : start + TOGETHER], near, axes) for start in range(0, len(x), TOGETHER)]
    return np.concatenate(found) if found else np.empty(0)


def apart(features: ArrayLike, groups: ArrayLike, asked: ArrayLike, their: ArrayLike, classes: int) -> Array:
    """(N,) distance of each of `asked` (N, D), whose groups are `their` (N,), to a bank of those of `features` (M, D)
    that are of other groups (M,), as a sample of a new group would find it. 2 where nothing is left.

    The groups are divided into folds, and each fold has a bank of the others, with their centre and their k. To skip
    rows of one bank is not enough: its centre knows the group, and with few groups the samples lie too far from it.
    """
    x, y, own, others = (np.asarray(a) for a in (features, asked, groups, their))
    names, found = np.unique(np.concatenate([own, others])), np.full(len(y), 2.0)
    fold = np.random.default_rng(0).permutation(len(names)) % FOLDS
    of_bank, place = (fold[np.searchsorted(names, part)] for part in (own, others))
    for number in np.unique(place):
        if (of_bank != number).any():
            found[place == number] = distances(bank(x[of_bank != number], classes), y[place == number])
    return found


def p_values(familiar: ArrayLike, found: ArrayLike) -> Array:
    """(N,) share of familiar values (M,) at least as large as each found one, itself counted: (1 + #) / (M + 1)."""
    known = np.sort(np.asarray(familiar, np.float64))
    at_least = len(known) - np.searchsorted(known, np.asarray(found, np.float64), side="left")
    return np.asarray((1 + at_least) / (len(known) + 1))


@final
@dataclass(frozen=True, eq=False)
class Familiar:
    """Distances (M,) and maximum probabilities (M,) of the same M samples: the probabilities as models gave them that
    were not fitted to these samples, the distances to banks of other groups. Out of fold the trunk that measures
    the distances has been fitted to the samples, where it moved at all: they are then too small for new ones."""

    far: Array
    sure: Array

    def strangeness(self, far: ArrayLike, sure: ArrayLike) -> Array:
        """(N,) minus the sum of the logarithms of both p-values: Fisher's statistic, halved."""
        doubt = p_values(-self.sure, -np.asarray(sure, np.float64))
        return np.asarray(-np.log(p_values(self.far, far)) - np.log(doubt))

    def unlikeness(self, far: ArrayLike, sure: ArrayLike) -> Array:
        """(N,) in 0..1: the share of familiar samples that are less strange. A sample is flagged from 1 - STATED on."""
        known = self.strangeness(self.far, self.sure)
        return np.asarray(1 - p_values(known, self.strangeness(far, sure)))


def flagged(unlikeness: ArrayLike) -> NDArray[np.bool_]:
    """(N,) the strangest: among familiar samples a share of STATED, on average."""
    return np.asarray(np.asarray(unlikeness) >= 1 - STATED - 1e-12)


def auroc(familiar: ArrayLike, strange: ArrayLike) -> Metric:
    """The probability that a strange sample has the larger value, ties counted half (Mann & Whitney 1947).

    The interval is Newcombe's (2006, Statistics in Medicine 25, method 5): like Wilson's it keeps a width at 0 and 1.
    """
    low, high = np.asarray(familiar, np.float64), np.asarray(strange, np.float64)
    if not len(low) or not len(high):
        return Metric(0.5, 0.0, 1.0, "no samples")
    order = np.sort(low)
    below, upto = (np.searchsorted(order, high, side=side) for side in ("left", "right"))
    value = float((below + upto).mean() / (2 * len(low)))
    bounds = [_bound(value, end, len(low), len(high)) for end in (0.0, 1.0)]
    return Metric(value, bounds[0], bounds[1], "newcombe")


def _bound(value: float, end: float, m: int, n: int, z: float = 1.959964) -> float:
    """The area farthest towards `end` from which the seen one is no more than z standard errors away."""
    inside, outside = value, end
    for _ in range(50):
        area = (inside + outside) / 2
        spread = area * (1 - area) * (1 + ((m + n) / 2 - 1) * ((1 - area) / (2 - area) + area / (1 + area))) / (m * n)
        inside, outside = (area, outside) if abs(value - area) <= z * spread**0.5 else (inside, area)
    return inside


def _kth(known: Bank, x: Block, near: Block, axes: Block | None) -> Array:
    unit = unit_length(x - known.centre)
    alike = (unit if axes is None else unit @ axes) @ near
    k = min(known.neighbours, alike.shape[1])
    return np.sqrt(np.clip(2 - 2 * np.partition(alike, -k, axis=1)[:, -k].astype(np.float64), 0, None))


def _axes(unit: Block) -> NDArray[np.float16]:
    """(D, W) orthonormal directions of most variance of (M, D) rows; fewer where D is so large that they would take up
    more room than the bank."""
    few = unit[:: -(-len(unit) // 1000)].astype(np.float64)
    width = int(np.clip(CELLS // unit.shape[1], 16, WIDTH))
    values, vectors = np.linalg.eigh(few @ few.T)
    kept = np.argsort(-values)[:width]
    kept = kept[values[kept] > 1e-9 * values.max()]
    return np.asarray(few.T @ (vectors[:, kept] / np.sqrt(values[kept])), np.float16)
