"""Multinomial logistic regression with an L2 penalty, its strength chosen by cross-validation (Cox 1958)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from graft.probes._affine import Affine
from graft.probes._choose import both, choose, columns
from graft.probes._data import Array, Labels, positive
from graft.types import Probe

GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
DEFAULT = 1e-2  # what few samples of wide, standardised features mostly come to
PLAIN_GRID, PLAIN_DEFAULT = (0.1, 1.0, 10.0, 100.0), 1.0  # of features as they come: those of length 1 are small


def logistic(*, c: float | None = None, standardize: bool = True) -> Probe:
    """scikit-learn's LogisticRegression on standardised features; `c` None: the C of least 5-fold log-loss.

    `standardize=False`: on features as they come, which stay sparse if most are zero, such as the weights of words.
    Arrays: weight (C, D), bias (C,). DataError for features that are not finite or samples of fewer than two classes.
    """
    positive("c", c)
    if standardize:
        return Affine(partial(_solve, c=c, grid=GRID, default=DEFAULT))
    return Affine(partial(_solve, c=c, grid=PLAIN_GRID, default=PLAIN_DEFAULT), standardize=False)


def _solve(z: Array, y: Labels, c: float | None, grid: Sequence[float], default: float) -> tuple[Array, Array]:
    from sklearn.linear_model import LogisticRegression

    rows = _sparse(z)
    model = LogisticRegression(C=c or _chosen(rows, y, grid, default), max_iter=1000, tol=1e-6).fit(rows, y)
    return both(model.coef_), both(model.intercept_)


def _sparse(z: Array) -> Any:
    """As a sparse matrix if most values are zero; standardised ones hardly ever are."""
    from scipy.sparse import csr_matrix

    return csr_matrix(z) if np.count_nonzero(z) < z.size / 2 else z


def _chosen(z: Any, y: Labels, grid: Sequence[float], default: float) -> float:
    """Each fold goes up the grid from where it was, as the next solution is near; a choice needs no float64."""
    from sklearn.linear_model import LogisticRegression

    rows = z.astype("float32")
    models: dict[int, LogisticRegression] = {}

    def score(c: float, number: int, fold: Labels) -> Array:
        model = models.setdefault(number, LogisticRegression(warm_start=True, max_iter=1000))
        model.set_params(C=c).fit(rows[fold != number], y[fold != number])
        return columns(model.decision_function(rows[fold == number]))

    return choose(y, grid, default, score, calibrate=False)[0]
