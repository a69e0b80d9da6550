"""Support vector machine with a Gaussian kernel, one against one (Boser et al. 1992; Chang and Lin 2011, LIBSVM)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from graft.probes._choose import choose, columns
from graft.probes._data import Array, Labels, known, offset, positive, spread, squares, standardized, tensors
from graft.types import Probe

GRID = (0.1, 1.0, 10.0, 100.0)
DEFAULT = 10.0


def svm_rbf(*, c: float | None = None) -> Probe:
    """scikit-learn's SVC(kernel="rbf", gamma="scale") on standardised features; `c` None: the C of least log-loss.

    Logits are its decision values (votes, and confidence between them) times the temperature of least 5-fold log-loss.
    DataError for features that are not finite or samples of fewer than two classes.
    """
    positive("c", c)
    return _SvmRbf(c)


@final
@dataclass(frozen=True)
class _SvmRbf:
    """Arrays of S support vectors, K classes with samples and P = K (K - 1) / 2 pairs: support (S, D) standardised,
    dual (K - 1, S), intercept (P,), counts (K,), mean, deviation (D,), offset (C,), gamma, temperature."""

    c: float | None

    def fit(self, features: Tensor, targets: Tensor, classes: int) -> dict[str, Tensor]:
        data = known(features, targets, classes)
        z, mean, deviation = standardized(data.x)
        c, temperature = _chosen(z, data.y, self.c)
        model = _machine(c, "rbf").fit(z, data.y)
        return {"offset": offset(data.present, classes)} | tensors(
            mean=mean, deviation=deviation, support=z[model.support_], dual=model.dual_coef_, gamma=_gamma(z),
            intercept=model.intercept_, counts=model.n_support_, temperature=temperature)  # fmt: skip

    def logits(self, arrays: Mapping[str, Tensor], features: Tensor) -> Tensor:
        z = (features.to(arrays["mean"].dtype) - arrays["mean"]) / arrays["deviation"]
        kernel = torch.exp(-arrays["gamma"] * squares(z, arrays["support"]))
        pairs = _pairs(kernel, arrays["dual"], arrays["counts"].tolist()) + arrays["intercept"]
        return spread(_votes(pairs, len(arrays["counts"])) * arrays["temperature"], arrays["offset"])


def _pairs(kernel: Tensor, dual: Tensor, counts: list[int]) -> Tensor:
    """Kernel (B, S) -> (B, P): a pair's value is the sum over the vectors of its two classes alone.

    LIBSVM keeps the coefficients of a vector of class i against class j in row j - 1 if i < j, and else in row j.
    """
    blocks = zip(kernel.split(counts, 1), dual.split(counts, 1), strict=True)
    sums = torch.stack([k @ d.T for k, d in blocks], 1)  # (B, K, K - 1)
    i, j = torch.triu_indices(len(counts), len(counts), 1, device=kernel.device)
    return sums[:, i, j - 1] + sums[:, j, i]


def _votes(pairs: Tensor, classes: int) -> Tensor:
    """Pairs (B, P) -> (B, K) as scikit-learn's decision_function_shape="ovr": votes, and less than 1/3 of confidence.

    Of two classes its public coefficients are those of the second class, and it does not vote.
    """
    if classes == 2:
        return torch.cat([-pairs / 2, pairs / 2], 1)
    i, j = torch.triu_indices(classes, classes, 1, device=pairs.device)
    votes, confidence = pairs.new_zeros(2, len(pairs), classes).unbind()
    votes.index_add_(1, i, (pairs >= 0).to(pairs.dtype)).index_add_(1, j, (pairs < 0).to(pairs.dtype))
    confidence.index_add_(1, i, pairs).index_add_(1, j, -pairs)
    return votes + confidence / (3 * (confidence.abs() + 1))


def _chosen(z: Array, y: Labels, c: float | None) -> tuple[float, float]:
    """C and temperature; the kernel matrix is computed once for all folds."""
    rows = torch.from_numpy(z)
    kernel = torch.exp(-_gamma(z) * squares(rows, rows)).numpy()

    def score(value: float, number: int, fold: Labels) -> Array:
        train, test = fold != number, fold == number
        model = _machine(value, "precomputed").fit(kernel[np.ix_(train, train)], y[train])
        return columns(model.decision_function(kernel[np.ix_(test, train)]))

    return choose(y, GRID if c is None else (c,), c or DEFAULT, score, calibrate=True)


def _gamma(z: Array) -> float:
    """What scikit-learn calls "scale"."""
    variance = float(z.var())
    return 1 / (z.shape[1] * variance) if variance else 1.0


def _machine(c: float, kernel: str) -> Any:
    from sklearn.svm import SVC

    return SVC(C=c, kernel=kernel, gamma="scale", break_ties=True, cache_size=500)
