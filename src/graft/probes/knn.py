"""k nearest neighbours by cosine, weighted by exp(cosine / 0.07) (Cover and Hart 1967; Wu et al. 2018, 1805.01978)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from graft.errors import UsageError
from graft.probes._data import FLOOR, known, offset, tensors, unit
from graft.types import Probe

SIZES = (1, 3, 5, 10, 20, 50)
TAU = 0.07
BLOCK = 1024  # rows of similarities held at once


def knn(*, k: int | None = None) -> Probe:
    """A class's share of the votes of the k nearest samples; `k` None: the one of best leave-one-out accuracy.

    Logits are the logarithms of the shares, at least that of 1e-12. Of equally near samples the choice is PyTorch's.
    DataError for features that are not finite or samples of fewer than two classes.
    """
    if k is not None and k < 1:
        raise UsageError(f"k={k} is not a number of neighbours", "choose k >= 1")
    return _Knn(k)


@final
@dataclass(frozen=True)
class _Knn:
    """Arrays: samples (N, D) of length 1, labels (N,) class indices, k, offset (C,)."""

    k: int | None

    def fit(self, features: Tensor, targets: Tensor, classes: int) -> dict[str, Tensor]:
        data = known(features, targets, classes)
        samples, labels = unit(torch.from_numpy(data.x)), torch.from_numpy(data.present[data.y])
        k = min(self.k, len(samples)) if self.k else _chosen(samples, labels, classes)
        return {"samples": samples, "labels": labels, "offset": offset(data.present, classes)} | tensors(k=k)

    def logits(self, arrays: Mapping[str, Tensor], features: Tensor) -> Tensor:
        samples, offsets = arrays["samples"], arrays["offset"]
        cosines = unit(features.to(samples.dtype)) @ samples.T
        near = cosines.topk(int(arrays["k"]), 1)
        return _shares(near.values, arrays["labels"][near.indices], len(offsets)).clamp(min=FLOOR).log() + offsets


def _shares(cosines: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Neighbours (B, k) -> shares of their votes (B, C)."""
    weights = torch.exp((cosines - 1) / TAU)  # at least exp(-2 / 0.07), which is no underflow
    votes = weights.new_zeros(len(labels), classes).scatter_add(1, labels, weights)
    return votes / votes.sum(1, keepdim=True)


def _chosen(samples: Tensor, labels: Tensor, classes: int) -> int:
    """The k of best leave-one-out accuracy, of equals the one of least log-loss."""
    most = min(len(samples) - 1, SIZES[-1])
    cosines, rows = _neighbours(samples, most)
    near = labels[rows]

    def quality(k: int) -> tuple[float, float]:
        shares = _shares(cosines[:, :k], near[:, :k], classes)
        own = shares.gather(1, labels[:, None]).clamp(min=FLOOR)
        return float((shares.argmax(1) == labels).double().mean()), float(own.log().mean())

    return max((k for k in SIZES if k <= most), key=quality)


def _neighbours(samples: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest others of each sample (N, D): their cosines and positions, (N, k) each."""
    found = []
    for start in range(0, len(samples), BLOCK):
        cosines = samples[start : start + BLOCK] @ samples.T
        cosines.diagonal(start).fill_(-torch.inf)
        found.append(cosines.topk(k, 1))
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])
