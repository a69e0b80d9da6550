"""The probes that come to one linear layer: mostly standardised for the fit, which is folded in afterwards."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from graft.probes._data import Array, Labels, known, offset, standardized

Solve = Callable[[Array, Labels], tuple[Array, Array]]  # z (N, D), y (N,) -> weight (K, D), bias (K,)


@final
@dataclass(frozen=True)
class Affine:
    """Arrays: weight (C, D) and bias (C,), float64; a class without samples has a weight of zeros."""

    solve: Solve
    standardize: bool = True

    def fit(self, features: Tensor, targets: Tensor, classes: int) -> dict[str, Tensor]:
        data = known(features, targets, classes)
        width = data.x.shape[1]
        z, mean, deviation = standardized(data.x) if self.standardize else (data.x, np.zeros(width), np.ones(width))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a fold at the weakest penalty may not converge; then it is not chosen
            slopes, start = self.solve(z, data.y)
        slopes = slopes / deviation
        weight, bias = torch.zeros(classes, len(mean), dtype=torch.float64), offset(data.present, classes)
        weight[bias == 0] = torch.from_numpy(slopes)
        bias[bias == 0] = torch.from_numpy(start - slopes @ mean)
        return {"weight": weight, "bias": bias}

    def logits(self, arrays: Mapping[str, Tensor], features: Tensor) -> Tensor:
        return F.linear(features.to(arrays["weight"].dtype), arrays["weight"], arrays["bias"])
