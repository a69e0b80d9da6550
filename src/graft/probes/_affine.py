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

from graft.gram import Gram, shared
from graft.probes._data import Array, Labels, checked, known, offset, standardized
from graft.rows import large

Solve = Callable[[Array, Labels], tuple[Array, Array]]  # z (N, D), y (N,) -> weight (K, D), bias (K,)
SolveMany = Callable[[Gram, Tensor, Labels], tuple[Array, Array]]  # features (N, D) as they came, not standardised


@final
@dataclass(frozen=True)
class Affine:
    """Arrays: weight (C, D) and bias (C,), float64; a class without samples has a weight of zeros.

    Few samples are sorted by their content, so nothing depends on their order. Many (graft.rows.large) are read block
    by block where they lie, by `many` on the Gram matrix that probes share; there the order changes what rounding does.
    """

    solve: Solve
    standardize: bool = True
    many: SolveMany | None = None

    def fit(self, features: Tensor, targets: Tensor, classes: int) -> dict[str, Tensor]:
        if self.many is not None and large(features):
            x, y, present = checked(features, targets, classes)
            gram = shared(x)
            return _unscaled(*self.many(gram, x, y), gram.mean, gram.deviation, offset(present, classes))
        data = known(features, targets, classes)
        width = data.x.shape[1]
        z, mean, deviation = standardized(data.x) if self.standardize else (data.x, np.zeros(width), np.ones(width))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a fold at the weakest penalty may not converge; then it is not chosen
            solved = self.solve(z, data.y)
        return _unscaled(*solved, mean, deviation, offset(data.present, classes))

    def logits(self, arrays: Mapping[str, Tensor], features: Tensor) -> Tensor:
        return F.linear(features.to(arrays["weight"].dtype), arrays["weight"], arrays["bias"])


def _unscaled(slopes: Array, start: Array, mean: Array, deviation: Array, bias: Tensor) -> dict[str, Tensor]:
    """Weights (K, D) and biases (K,) of standardised features -> those of all classes, of features as they come."""
    slopes = slopes / deviation
    weight = torch.zeros(len(bias), len(mean), dtype=torch.float64)
    weight[bias == 0] = torch.from_numpy(slopes)
    bias[bias == 0] = torch.from_numpy(start - slopes @ mean)
    return {"weight": weight, "bias": bias}
