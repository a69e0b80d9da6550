"""Leave-one-out accuracy of cosine k-nearest neighbours: nothing is fitted (Cover and Hart 1967)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from graft.errors import UsageError
from graft.evidence import Evidence, Labels, Score, accuracy

_CELLS = 16_000_000  # similarities held at once: 64 MB


def knn(evidence: Evidence, *, k: int | None = None, temperature: float = 0.07) -> Score:
    """The share of samples whose k nearest others vote for their class, with its standard error and the hits.

    A neighbour of cosine similarity s votes with exp(s / temperature) (Wu et al. 2018, arXiv:1805.01978, whose 0.07 it
    is). k: by default the size of the smallest class that has samples, held within 5 to 20; never more than N - 1.
    Similarities are float32, with an error of about 1e-6: samples that are as near as that may change places. Ties go
    to the lower class. Unchanged by rotating or scaling the features, but not by shifting them. UsageError for k < 1.
    """
    if (k is not None and k < 1) or not temperature > 0:
        raise UsageError(f"k={k}, temperature={temperature} are not above 0", "leave them out")
    k = k or int(np.clip(evidence.counts[evidence.counts > 0].min(), 5, 20))
    votes = _guesses(_directions(evidence), evidence, min(k, len(evidence.targets) - 1), temperature)
    return accuracy(np.concatenate(list(votes)) == evidence.targets)


def _directions(evidence: Evidence) -> NDArray[np.float32]:
    """(N, D) of length 1; features that are all zero stay zero, similar to nothing."""
    lengths = np.linalg.norm(evidence.features, axis=1, keepdims=True)
    return (evidence.features / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def _guesses(x: NDArray[np.float32], evidence: Evidence, k: int, temperature: float) -> Iterator[Labels]:
    """Classes of the rows of x, block by block: N x N similarities are never held at once."""
    rows = max(1, _CELLS // len(x))
    for start in range(0, len(x), rows):
        similar = x[start : start + rows] @ x.T
        at = np.arange(len(similar))[:, None]
        similar[at[:, 0], start + at[:, 0]] = -np.inf  # a sample is not its own neighbour
        near = np.argpartition(similar, -k, axis=1)[:, -k:]
        weights = np.exp((similar[at, near].astype(np.float64) - 1) / temperature)
        cells = at * evidence.classes + evidence.targets[near]
        votes = np.bincount(cells.ravel(), weights.ravel(), len(similar) * evidence.classes)
        yield votes.reshape(len(similar), -1).argmax(1)
