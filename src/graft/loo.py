"""Exact leave-one-out of ridge regression on one-hot targets, for all penalties at the price of about one fit.

With the hat matrix H of a linear fit, the residual of a sample that was left out is its plain residual divided by
1 - H_ii (PRESS, Allen 1974). This is exact for ridge with a free intercept, where
H = 1 1^T / N + U diag(w / (w + lambda)) U^T, so nothing is fitted N times and nothing is approximated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from graft.errors import UsageError
from graft.evidence import Array, Evidence

GRID = np.geomspace(1e-3, 1e6, 28)  # times the mean eigenvalue: the choice does not depend on the features' scale


class RidgeFit(NamedTuple):
    """Ridge with the penalty `lam` on |weight|^2: features @ weight + bias estimates the one-hot targets."""

    lam: float
    scores: Array  # (N, C) what a fit without the sample says of it, exactly
    weight: Array  # (D, C)
    bias: Array  # (C,)


def fit_ridge(evidence: Evidence, lambdas: Sequence[float] | None = None) -> RidgeFit:
    """The fit with the best leave-one-out accuracy; ties go to the least leave-one-out squared error.

    `lambdas`: penalties > 0, else UsageError; by default 28 from 1e-3 to 1e6 times the mean eigenvalue.
    """
    u, w, mean = evidence.spectrum
    lam, scores = loo_predictions(evidence, lambdas)
    dual = u @ ((u.T @ evidence.indicators) / (w + lam)[:, None])
    weight = evidence.features.T @ (dual - dual.mean(0))  # centring the dual spares a centred copy of the features
    bias = evidence.counts / len(evidence.targets) - mean @ weight
    return RidgeFit(lam, scores, weight, bias)


def loo_predictions(evidence: Evidence, lambdas: Sequence[float] | None = None) -> tuple[float, Array]:
    """The best penalty as in `fit_ridge`, and its leave-one-out predictions (N, C), class frequencies included."""
    u, w, _ = evidence.spectrum
    centred, one_hot = evidence.indicators, np.eye(evidence.classes)[evidence.targets]
    penalties = _penalties(w, lambdas)
    shrink = w / (w + penalties[:, None])  # (L, k)
    leverage = 1 / len(u) + np.square(u) @ shrink.T  # (N, L)
    coefficients, best = u.T @ centred, (-1.0, -np.inf)
    for i, lam in enumerate(penalties):
        errors = (centred - u @ (shrink[i, :, None] * coefficients)) / (1 - leverage[:, i, None])
        scores = one_hot - errors  # not centred - errors: that would lose the class frequencies
        quality = (float((scores.argmax(1) == evidence.targets).mean()), -float(np.square(errors).sum()))
        if quality > best:
            best, chosen = quality, (float(lam), scores)
    return chosen


def _penalties(w: Array, lambdas: Sequence[float] | None) -> Array:
    if lambdas is None:
        return GRID * (w.mean() if len(w) else 1.0)
    penalties = np.asarray(lambdas, dtype=np.float64)
    if penalties.ndim != 1 or not penalties.size or not (np.isfinite(penalties) & (penalties > 0)).all():
        raise UsageError(f"lambdas={lambdas!r} are not penalties > 0", "leave them out: 28 are tried")
    return penalties
