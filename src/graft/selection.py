"""Which samples to label next: uncertain ones, and of these such as differ from one another and from what is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from graft.rows import unit_length

Array = NDArray[np.float64]
SHORTLIST = 5  # times as many uncertain samples are looked at as are chosen


def entropy(probabilities: Array) -> Array:
    """(N, C) -> (N,) between 0, sure, and 1: the entropy over that of C equal probabilities."""
    p = np.clip(probabilities.astype(np.float64), 1e-12, 1.0)
    return np.asarray(-(p * np.log(p)).sum(1) / np.log(max(2, p.shape[1])))


def select(features: Array, uncertainty: Array, count: int, known: Array | None = None) -> list[int]:
    """At most `count` of the N samples (rows of `features` (N, D)), the most useful first.

    The SHORTLIST * count most uncertain ones (`uncertainty` (N,), higher is less sure) are kept, as in Zhdanov 2019
    (arXiv:1901.05954), and k-centre greedy chooses among them (Gonzalez 1985; Sener & Savarese 2018, arXiv:1708.00489):
    each time the one that is farthest from what is chosen and from `known` (M, D). Without known samples the most
    uncertain one is the first. Of copies one is chosen; farthest of all means cosine distance.
    """
    listed = np.argsort(-uncertainty, kind="stable")[: SHORTLIST * count]
    x = unit_length(features[listed])
    apart = (
        np.full(len(listed), np.inf) if known is None or not len(known) else _distances(x, unit_length(known)).min(1)
    )
    chosen: list[int] = []
    while len(chosen) < min(count, len(listed)):
        at = int(apart.argmax())  # of equals the most uncertain
        if apart[at] <= 1e-9:
            break
        chosen.append(int(listed[at]))
        apart = np.minimum(apart, _distances(x, x[at : at + 1])[:, 0])
        apart[at] = 0.0
    return chosen


def nearest(asked: Array, known: Array, count: int) -> NDArray[np.int64]:
    """(n, D) and (M, D) -> (n, k) rows of `known`, the most similar by cosine first, k = min(count, M)."""
    distances = _distances(unit_length(asked), unit_length(known))
    return np.argsort(distances, axis=1, kind="stable")[:, :count].astype(np.int64)


def _distances(a: Array, b: Array) -> Array:
    """(n, D) and (m, D) of length 1 -> (n, m) between 0 and 2."""
    return np.asarray(np.maximum(1 - a @ b.T, 0.0))
