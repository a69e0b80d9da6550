"""What a check may look at: the audited and split data, what their files say of themselves, and a trunk's features.

What several checks need is computed here once: groups, folds, and what a probe says of samples that it was not fitted
to.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import inf
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graft import registry
from graft.clock import Clock
from graft.curve import components
from graft.device import seed_of
from graft.intervals import paired_bootstrap, wilson
from graft.nn.fitted import Fitted
from graft.types import Dataset, Metric

Rows = NDArray[np.int64]
Floats = NDArray[np.float32]
FOLDS = 5
PROBE = "lda"  # closed form, so that ten fits take seconds; a few wrong labels hardly move its means
LEAST = 20  # samples below which a fold says nothing
WIDE = 2048  # features, beyond which they are projected: the probe's cost grows with the cube of their number
CELLS, NARROW = 20_000_000, 1024  # of features, beyond which so many components of them are enough: half a minute


class HeldOut(NamedTuple):
    """What a probe says of labelled samples that were held out of its fit: rows (n,) of the data set, `said` (n, C)
    probabilities, `truth` (n,) the given classes."""

    rows: Rows
    said: Floats
    truth: Rows


class Leaking(NamedTuple):
    """Whether a probe is right on each sample of the test part (n,): fitted with the samples whose copies stand in that
    part (`copies` of them), and without."""

    given: NDArray[np.float64]
    clean: NDArray[np.float64]
    copies: int

    @property
    def scores(self) -> dict[str, Metric]:
        """Accuracies "with" and "without" the copies, and their paired "difference"."""
        rates = [wilson(float(right.sum()), len(right)) for right in (self.given, self.clean)]
        return {"with": rates[0], "without": rates[1], "difference": paired_bootstrap(self.given, self.clean)}


@dataclass(frozen=True, eq=False)
class Seen:
    """`dataset`: audited and split, with `Sample.about` filled. `features` (N, D): pooled, of a trunk as it came; None
    where none was run, and checks that need them then say nothing. `classes` are looked at only where the labels are
    of kind "class". `leaks`: the samples that the split left out, as their copies stand in the test part, and their
    features (M, D). `seconds`: what the probe may take to judge labels; it then sees few components, and judges whole
    folds, as many as fit."""

    dataset: Dataset
    features: Floats | None = None
    seed: int = 0
    leaks: Dataset | None = None
    leak_features: Floats | None = None
    seconds: float = inf

    @cached_property
    def targets(self) -> Rows:
        """(N,) classes; -1 where a sample has none, and everywhere if the labels are no classes."""
        if self.dataset.kind != "class":
            return np.full(len(self.dataset), -1, dtype=np.int64)
        return self.dataset.targets().numpy()

    @cached_property
    def groups(self) -> Rows:
        """(N,) the number of each sample's group: equal for copies, and for what the data say belongs together."""
        return grouped(self.dataset)

    def folds(self, rows: Rows) -> Rows:
        """(n,) fold of each of these labelled rows. Groups are whole, and each class is dealt out evenly."""
        groups, first = np.unique(self.groups[rows], return_index=True)
        chance = np.random.default_rng(seed_of(self.seed, "checks")).permutation(len(groups))
        order = np.lexsort((chance, self.targets[rows][first]))
        fold = np.empty(len(groups), dtype=np.int64)
        fold[order] = np.arange(len(groups)) % FOLDS
        return fold[np.searchsorted(groups, self.groups[rows])]

    @cached_property
    def held_out(self) -> HeldOut | None:
        """None without features or classes, or with too few samples. Classes that stand in one fold alone are left out:
        nothing could know them when they are held out."""
        rows = np.flatnonzero(self.targets >= 0)
        if self.features is None or not len(rows):
            return None
        fold, y = self.folds(rows), self.targets[rows]
        known = np.array([len(np.unique(fold[y == c])) > 1 for c in range(len(self.dataset.classes))])
        rows, fold = rows[known[y]], fold[known[y]]
        if len(rows) < LEAST or known.sum() < 2:
            return None
        x, y = self._judged(rows), self.targets[rows]
        said, judged = np.zeros((len(rows), len(known)), np.float32), np.zeros(len(rows), bool)
        for held in _in_time(fold, self.seconds):
            judged |= held
            if len(np.unique(y[~held])) > 1:
                said[held] = _said(x[~held], y[~held], len(known), x[held])
        return HeldOut(rows[judged], said[judged], y[judged])

    def _judged(self, rows: Rows) -> Floats:
        """(n, d) features of rows as the probe sees them: fewer where time is short, or where it would take minutes."""
        assert self.features is not None, "they were asked for"
        if self.seconds < inf:
            return np.asarray(components(self.features[rows]), np.float32)
        x = _narrow(self.features)[rows]
        return np.asarray(components(x, NARROW), np.float32) if x.size > CELLS and x.shape[1] > NARROW else x

    @cached_property
    def leaking(self) -> Leaking | None:
        """None where nothing leaked into a test part that the data give."""
        parts = np.array([sample.split or "" for sample in self.dataset.samples], dtype=str)
        test, train = (np.flatnonzero((parts == part) & (self.targets >= 0)) for part in ("test", "train"))
        if self.features is None or self.leaks is None or self.leak_features is None:
            return None
        extra, y = self.leaks.targets().numpy(), self.targets[train]
        copies = extra >= 0
        if len(test) < LEAST or len(np.unique(y)) < 2 or not copies.any():
            return None
        whole, classes = _narrow(self.features), len(self.dataset.classes)
        x = whole[train]
        more, both = np.concatenate([x, _narrow(self.leak_features)[copies]]), np.concatenate([y, extra[copies]])
        asked, truth = whole[test], self.targets[test]
        given, clean = (_said(rows, of, classes, asked).argmax(1) == truth for rows, of in ((more, both), (x, y)))
        return Leaking(given.astype(np.float64), clean.astype(np.float64), int(copies.sum()))


def grouped(dataset: Dataset) -> Rows:
    """(N,) the number of each sample's group; who has none is a group alone."""
    names = [sample.group or f"\0{i}" for i, sample in enumerate(dataset.samples)]
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def _in_time(fold: Rows, seconds: float) -> Iterator[NDArray[np.bool_]]:
    """(n,) which samples are of a fold, fold by fold: the first one, and others for which there is time."""
    clock, longest = Clock(seconds), 0.0
    for count, number in enumerate(np.unique(fold)):
        began = time.monotonic()
        if count and clock.left(longest) < 0:
            return
        yield fold == number
        longest = max(longest, time.monotonic() - began)


def _narrow(features: Floats) -> Floats:
    """(N, D) -> (N, at most WIDE): a random projection, which keeps distances (Johnson & Lindenstrauss 1984)."""
    if features.shape[1] <= WIDE:
        return features
    from scipy.sparse import csr_matrix  # most of what is so wide are counts of words

    table = np.random.default_rng(0).standard_normal((features.shape[1], WIDE // 2), dtype=np.float32)
    found: Floats = csr_matrix(features) @ table
    return found


def _said(x: Floats, y: Rows, classes: int, asked: Floats) -> Floats:
    """(n, C) probabilities of the probe, fitted to (N, D) and (N,)."""
    head = Fitted(registry.find("probe", PROBE)(), classes)
    head.fit(_tensor(x), torch.from_numpy(y))
    with torch.inference_mode():
        found: Floats = head(_tensor(asked)).softmax(1).float().numpy()
    return found


def _tensor(rows: Floats) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(rows))
