"""How well classes can be told from a few columns: a small tree, held out, against the largest class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from graft.checks._metadata import Column
from graft.checks._seen import LEAST, Rows, Seen
from graft.intervals import wilson
from graft.types import Metric, Sample

MOST = 4000  # samples that are looked at: an interval of two points is narrow enough
ENOUGH = 0.5  # of the way from the largest class to always right, for a finding
ALONE = 0.9  # precision and recall of one class, for a finding about it alone
MANY = 256  # leaves


class Told(NamedTuple):
    """What was told from `names`: the rate of held-out samples that were right, and the classes that stand out, or all
    (none is named)."""

    names: tuple[str, ...]
    right: Metric
    classes: tuple[int, ...] = ()


class Sampled(NamedTuple):
    """At most MOST labelled rows (n,) of the data, with their classes, folds and samples."""

    rows: Rows
    y: Rows
    fold: Rows
    samples: tuple[Sample, ...]

    @property
    def usual(self) -> float:
        """The rate of always saying the largest class."""
        return float(np.bincount(self.y).max() / len(self.y))


def sampled(seen: Seen) -> Sampled | None:
    """None where there are too few samples, or no classes."""
    rows = np.flatnonzero(seen.targets >= 0)
    if len(rows) > MOST:
        order = rows[np.argsort(seen.targets[rows], kind="stable")]
        rows = np.sort(order[np.linspace(0, len(order) - 1, MOST).round().astype(np.int64)])
    y = seen.targets[rows]
    if len(rows) < LEAST or len(np.unique(y)) < 2:
        return None
    return Sampled(rows, y, seen.folds(rows), tuple(seen.dataset.samples[row] for row in rows))


def told(found: Sampled, columns: Sequence[Column]) -> Told | None:
    """None where the columns, of the sampled rows, together tell no class beyond noise, or little."""
    x = np.stack([column.values for column in columns], 1)
    said = _held_out(x, found.y, found.fold)
    right = wilson(float((said == found.y).sum()), len(said))
    names = tuple(column.name for column in columns)
    if right.low >= found.usual + ENOUGH * (1 - found.usual):
        return Told(names, right)
    alone = tuple(c for c in np.unique(found.y).tolist() if _stands_out(said == c, found.y == c))
    return Told(names, right, alone) if alone else None


def _held_out(x: NDArray[np.float64], y: Rows, fold: Rows) -> Rows:
    """(n,) what a tree says that was fitted to the other folds."""
    from sklearn.tree import DecisionTreeClassifier

    leaves, least = min(MANY, max(8, 4 * len(np.unique(y)))), max(2, min(20, len(y) // 100))
    said = np.full_like(y, -1)
    for number in np.unique(fold):
        held = fold == number
        if not held.all():
            tree = DecisionTreeClassifier(max_leaf_nodes=leaves, min_samples_leaf=least, random_state=0)
            said[held] = tree.fit(x[~held], y[~held]).predict(x[held])
    return said


def _stands_out(said: NDArray[np.bool_], true: NDArray[np.bool_]) -> bool:
    """Whether one class of at least ten samples, no majority, is found, and little else is taken for it."""
    both = float((said & true).sum())
    if true.sum() < 10 or 2 * true.sum() > len(true) or not both:
        return False
    sure = wilson(both, float(true.sum())).low >= ALONE - 0.1
    return sure and both >= ALONE * max(said.sum(), true.sum())
