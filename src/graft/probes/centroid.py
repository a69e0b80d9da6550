"""Nearest class mean of centred features of length 1: SimpleShot's CL2N (Wang et al. 2019, arXiv:1911.04623)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from graft.probes._choose import choose
from graft.probes._data import Array, Labels, known, offset, positive, spread, squares, tensors
from graft.types import Probe

DEFAULT = 10.0  # where every class has one sample, so that none can be left out


def centroid(*, scale: float | None = None) -> Probe:
    """Logits are -scale times the squared distance; `scale` None: the one of least 5-fold log-loss.

    DataError for features that are not finite or samples of fewer than two classes.
    """
    positive("scale", scale)
    return _Centroid(scale)


@final
@dataclass(frozen=True)
class _Centroid:
    """Arrays: mean (D,), centres (K, D) of the classes with samples, scale, offset (C,)."""

    scale: float | None

    def fit(self, features: Tensor, targets: Tensor, classes: int) -> dict[str, Tensor]:
        data = known(features, targets, classes)
        mean = data.x.mean(0)
        x = F.normalize(torch.from_numpy(data.x - mean), dim=1).numpy()
        centres = _means(x, data.y)
        scale = self.scale or _scale(x, data.y)
        return {"offset": offset(data.present, classes)} | tensors(mean=mean, centres=centres, scale=scale)

    def logits(self, arrays: Mapping[str, Tensor], features: Tensor) -> Tensor:
        x = F.normalize(features.to(arrays["mean"].dtype) - arrays["mean"], dim=1)
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
