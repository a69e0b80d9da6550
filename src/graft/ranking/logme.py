"""LogME: the log evidence of a Bayesian linear model of each class, maximised exactly (You et al. 2021).

The fixed-point iteration of the authors' code counts the prior of all D weights but the determinant of only
k = min(N, D) directions, so that for N < D its value grows with the width. Here both are counted over the directions
that vary, which is the evidence itself.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from graft.evidence import Array, Evidence, Score

LOG_T = np.linspace(-20.0, 25.0, 91)  # log of the ratio of precisions, in units of the mean eigenvalue
_GOLDEN = (5**0.5 - 1) / 2


def logme(evidence: Evidence) -> Score:
    """The mean over classes of the log evidence per sample (You et al. 2021, arXiv:2102.11005), in nats.

    Class indicators y (N,) are linear in the features with weights of precision a, noise of precision b and an
    intercept with a flat prior, which leaves N - 1 contrasts. Over b the maximum is closed; over t = a / b it is found
    by a grid and golden sections. The grid's lower end bounds the value where features explain a class without noise.
    Classes without samples are left out. Unchanged by rotating, scaling or shifting the features.
    """
    w, n, present = evidence.spectrum.w, len(evidence.targets), evidence.counts > 0
    explained = np.square(evidence.coefficients[:, present])  # (k, C)
    counts = evidence.counts[present]
    rest = np.maximum(counts * (1 - counts / n) - explained.sum(0), 0)  # |indicator less its mean|^2, less that
    ratios = w / (w.mean() if len(w) else 1.0)

    def minus_evidence(log_t: Array) -> Array:
        """(C,), or (1,) for all classes -> (C,)."""
        growth = 1 + ratios[:, None] * np.exp(-log_t)
        return _minus_evidence(n - 1, (explained / growth).sum(0) + rest, np.log(growth).sum(0))

    return Score(-float(_minimum(minus_evidence).mean()) / n)


def _minus_evidence(n: int, quadratic: Array, log_determinant: Array) -> Array:
    """Of n contrasts, at the best noise precision n / quadratic."""
    value: Array = 0.5 * (n * np.log(2 * np.pi * quadratic / n) + log_determinant + n)
    return value


def _minimum(f: Callable[[Array], Array]) -> Array:
    """The least value (C,) over LOG_T: the best point of the grid, as f may have several valleys, then refined."""
    on_grid = np.stack([f(np.array([log_t])) for log_t in LOG_T])
    at, step = LOG_T[on_grid.argmin(0)], LOG_T[1] - LOG_T[0]
    low, high = np.maximum(at - step, LOG_T[0]), np.minimum(at + step, LOG_T[-1])
    for _ in range(40):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        goes_left = f(left) < f(right)
        low, high = np.where(goes_left, low, left), np.where(goes_left, right, high)
    least: Array = np.minimum(f((low + high) / 2), on_grid.min(0))
    return least
