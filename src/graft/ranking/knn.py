"""Leave-one-out accuracy of cosine k-nearest neighbours: nothing is fitted (Cover and Hart 1967)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from graft.errors import UsageError
from graft.evidence import Evidence, Labels, Score, accuracy, tensor
from graft.rows import product, spans

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


def _directions(evidence: Evidence) -> Tensor:
    """(N, D) float32 of length 1; features that are all zero stay zero, similar to nothing."""
    x = tensor(evidence.features)
    found = torch.empty(x.shape, dtype=torch.float32)
    for at in spans(x):
        found[at] = F.normalize(x[at].double(), dim=1, eps=1e-300)  # float32 lengths would round, or overflow
    return found


def _guesses(x: Tensor, evidence: Evidence, k: int, temperature: float) -> Iterator[Labels]:
    """Classes of the rows of x, block by block: N x N similarities are never held at once."""
    rows, targets = max(1, _CELLS // len(x)), torch.from_numpy(evidence.targets)
    for start in range(0, len(x), rows):
        similar = product(x[start : start + rows], x.T)
        similar.diagonal(start).fill_(-torch.inf)  # a sample is not its own neighbour
        near = similar.topk(k, sorted=False)
        weights = torch.exp((near.values.double() - 1) / temperature)
        votes = torch.zeros(len(similar), evidence.classes, dtype=torch.float64)
        yield votes.scatter_add_(1, targets[near.indices], weights).numpy().argmax(1)
