"""Nearest class mean of centred features of length 1: SimpleShot's CL2N (Wang et al. 2019, arXiv:1911.04623)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from graft.probes._choose import choose, drawn
from graft.probes._data import Array, Labels, checked, known, offset, positive, spread, squares, tensors, unit
from graft.rows import large, moments, spans
from graft.types import Probe

DEFAULT = 10.0  # where every class has one sample, so that none can be left out
MOST = 25_000  # of many samples, those that are drawn to be held out


def centroid(*, scale: float | None = None) -> Probe:
    """Logits are -scale times the squared distance; `scale` None: the one of least 5-fold log-loss.

    Many samples (see Affine) are read block by block, and a fold of at most 5,000 of them finds the scale. DataError
    for features that are not finite or samples of fewer than two classes.
    """
    positive("scale", scale)
    return _Centroid(scale)


@final
@dataclass(frozen=True)
class _Centroid:
    """Arrays: mean (D,), centres (K, D) of the classes with samples, scale, offset (C,)."""

    scale: float | None

    def fit(self, features: Tensor, targets: Tensor, classes: int) -> dict[str, Tensor]:
        if large(features):
            return self._fit_many(*checked(features, targets, classes), classes)
        data = known(features, targets, classes)
        mean = data.x.mean(0)
        x = unit(torch.from_numpy(data.x - mean)).numpy()
        centres = _means(x, data.y)
        scale = self.scale or _scale(x, data.y)
        return {"offset": offset(data.present, classes)} | tensors(mean=mean, centres=centres, scale=scale)

    def _fit_many(self, features: Tensor, y: Labels, present: Labels, classes: int) -> dict[str, Tensor]:
        mean = torch.from_numpy(moments(features)[0])
        sums = _sums(features, mean, y, len(present))
        scale = self.scale or _scale_of_many(features, mean, y, sums)
        centres = sums.numpy() / np.bincount(y)[:, None]
        return {"offset": offset(present, classes)} | tensors(mean=mean.numpy(), centres=centres, scale=scale)

    def logits(self, arrays: Mapping[str, Tensor], features: Tensor) -> Tensor:
        x = unit(features.to(arrays["mean"].dtype) - arrays["mean"])
        return spread(-arrays["scale"] * squares(x, arrays["centres"]), arrays["offset"])


def _scale(x: Array, y: Labels) -> float:
    """From folds: leaving out one sample alone would leave its class a longer mean, farther from all, than the rest."""

    def score(scale: float, number: int, fold: Labels) -> Array:
        train, test = fold != number, torch.from_numpy(x[fold == number])
        return -scale * squares(test, torch.from_numpy(_means(x[train], y[train]))).numpy()

    return math.prod(choose(y, (DEFAULT,), DEFAULT, score, calibrate=True))


def _means(x: Array, y: Labels) -> Array:
    """(N, D) -> the class means (K, D)."""
    return np.stack([x[y == label].mean(0) for label in range(y.max() + 1)])


def _scale_of_many(features: Tensor, mean: Tensor, y: Labels, sums: Tensor) -> float:
    """As `_scale`: the sums of those held out are taken from the sums of all."""
    few = drawn(features, y, MOST)

    def score(scale: float, number: int, fold: Labels) -> Array:
        held = few[fold == number]
        rows, counts = features[torch.from_numpy(held)], np.bincount(y) - np.bincount(y[held], minlength=len(sums))
        centres = (sums - _sums(rows, mean, y[held], len(sums))) / torch.from_numpy(counts)[:, None]
        return np.asarray(-scale * squares(unit(rows.double() - mean), centres).numpy())

    return math.prod(choose(y[few], (DEFAULT,), DEFAULT, score, calibrate=True))


def _sums(features: Tensor, mean: Tensor, y: Labels, classes: int) -> Tensor:
    """(K, D) the sum over each class of its rows, centred and of length 1."""
    total, targets = torch.zeros(classes, len(mean), dtype=torch.float64), torch.from_numpy(y)
    for at in spans(features):
        total.index_add_(0, targets[at], unit(features[at].double() - mean))
    return total
