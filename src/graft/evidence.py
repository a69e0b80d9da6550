"""What a ranker may look at: one trunk's features of the target's samples, and what is known of the trunk.

All rankers of one trunk share `Evidence.spectrum`, one eigendecomposition of the smaller Gram matrix, and
`Evidence.coefficients`. They are the only parts whose cost grows with the square of the features or faster, so five
rankers cost little more than one.

Shapes: N samples, D features, C classes, Z classes of the source head, k directions that vary.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from math import nan, sqrt
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graft.errors import DataError
from graft.gram import Spectrum, spectrum
from graft.rows import centred, large, not_finite, one_hot

Array = NDArray[np.float64]
Labels = NDArray[np.int64]


class Score(NamedTuple):
    """How much a trunk promises: higher is better, and only scores of one ranker on one target compare.

    `se` is the standard error of the value, nan where the method has none. `each` (N,) are the parts of the samples
    whose mean is the value, where there are such: two trunks are then compared in pairs, sample by sample.
    """

    value: float
    se: float = nan
    each: Array | None = None


@dataclass(frozen=True, eq=False)
class Evidence:
    """Pooled features (N, D) and targets (N,), indices in [0, classes).

    Features are kept as float64; large ones that come as float32 stay so, and graft.rows says what that means.

    `source` (N, Z) are the probabilities of the head that the checkpoint brought, `parameters` the size of the trunk,
    `source_accuracy` its accuracy in [0, 1] on what it was pretrained on, where its card says so. Raises DataError if
    shapes disagree, a feature is not finite, or fewer than 2 samples or 2 classes are there.
    """

    features: NDArray[np.floating]
    targets: Labels
    classes: int
    source: Array | None = None
    parameters: int = 0
    source_accuracy: float | None = None

    def __post_init__(self) -> None:
        given = np.ascontiguousarray(self.features)
        kept = given if given.dtype == np.float32 and large(tensor(given)) else given.astype(np.float64, copy=False)
        object.__setattr__(self, "features", kept)
        object.__setattr__(self, "targets", np.asarray(self.targets, dtype=np.int64))
        _check_shapes(self)
        _check_values(self)

    @cached_property
    def counts(self) -> Labels:
        """(C,) samples of each class."""
        return np.bincount(self.targets, minlength=self.classes).astype(np.int64)

    @cached_property
    def indicators(self) -> Array:
        """(N, C) one-hot targets less their means, the class frequencies."""
        return one_hot(self.targets, self.classes) - self.counts / len(self.targets)

    @cached_property
    def spectrum(self) -> Spectrum:
        """Of the centred features."""
        return spectrum(centred(tensor(self.features)))

    @cached_property
    def coefficients(self) -> Array:
        """(k, C) left singular vectors times indicators."""
        return self.spectrum.coefficients(self.targets, self.classes)


def tensor(features: NDArray[np.floating]) -> Tensor:
    """The same memory, which may be read-only: nothing here writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(features)


def accuracy(hits: NDArray[np.bool_]) -> Score:
    """The share of (N,) hits with its binomial standard error, which is 0 where all or none are right."""
    rate = float(hits.mean())
    return Score(rate, sqrt(rate * (1 - rate) / len(hits)), hits.astype(np.float64))


def _check_shapes(evidence: Evidence) -> None:
    features, targets, source = evidence.features, evidence.targets, evidence.source
    if features.ndim != 2 or targets.shape != features.shape[:1] or not features.size:
        raise DataError(f"features {features.shape} do not belong to targets {targets.shape}",
                        "give features (N, D) and one target for each of the N samples")  # fmt: skip
    if source is not None and (source.ndim != 2 or len(source) != len(targets)):
        raise DataError(f"source probabilities {source.shape} do not belong to {len(targets)} samples",
                        "give probabilities (N, Z) of the same samples")  # fmt: skip


def _check_values(evidence: Evidence) -> None:
    bad = not_finite(tensor(evidence.features))
    if len(bad):
        raise DataError(f"the features of row {bad[0]} are not finite ({len(bad)} such rows)",
                        "look at that sample, and run the trunk in float32")  # fmt: skip
    if evidence.targets.min() < 0 or evidence.targets.max() >= evidence.classes:
        raise DataError(f"targets go from {evidence.targets.min()} to {evidence.targets.max()}, "
                        f"but there are {evidence.classes} classes", "leave out samples without a label")  # fmt: skip
    if np.count_nonzero(evidence.counts) < 2:
        raise DataError(f"{len(evidence.targets)} samples of a single class tell nothing of a trunk",
                        "give samples of at least two classes")  # fmt: skip
