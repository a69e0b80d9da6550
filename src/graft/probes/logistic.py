"""Multinomial logistic regression with an L2 penalty, its strength chosen by cross-validation (Cox 1958)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graft.gram import Gram
from graft.probes._affine import Affine
from graft.probes._choose import ENOUGH, both, choose, columns, drawn
from graft.probes._data import Array, Labels, positive
from graft.probes._softmax import Softmax, minimised
from graft.types import Probe

GRID = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)  # many weak features ask for the least
DEFAULT = 1e-2  # what few samples of wide, standardised features mostly come to
PLAIN_GRID, PLAIN_DEFAULT = (0.1, 1.0, 10.0, 100.0), 1.0  # of features as they come: those of length 1 are small
CELLS = 1 << 26  # values of the samples, of many, on which C is chosen: 256 MB


def logistic(*, c: float | None = None, standardize: bool = True) -> Probe:
    """scikit-learn's LogisticRegression on standardised features; `c` None: the C of least 5-fold log-loss.

    Of many samples (see Affine) the same optimum is found by L-BFGS in blocks, preconditioned by the Gram matrix that
    probes share. Of more than 10,000, C is that of least log-loss on one fifth of at most 67 million values, drawn
    evenly: it is the variance of the weights' prior, which does not grow with N. So time grows with N, memory does not.
    `standardize=False`: on features as they come, which stay sparse if most are zero, such as the weights of words.
    Arrays: weight (C, D), bias (C,). DataError for features that are not finite or samples of fewer than two classes.
    """
    positive("c", c)
    if standardize:
        return Affine(partial(_solve, c=c, grid=GRID, default=DEFAULT), many=partial(_solve_many, c=c))
    return Affine(partial(_solve, c=c, grid=PLAIN_GRID, default=PLAIN_DEFAULT), standardize=False)


def _solve_many(gram: Gram, features: Tensor, y: Labels, c: float | None) -> tuple[Array, Array]:
    start = None
    if c is None:
        c, start = _chosen_of_many(gram, features, y)
    return minimised(Softmax(gram.rows(features), y, int(y.max()) + 1), gram, c, start)


def _chosen_of_many(gram: Gram, features: Tensor, y: Labels) -> tuple[float, tuple[Array, Array] | None]:
    """C, and a solution there, from which that of all samples is near."""
    few, classes = drawn(features, y, max(ENOUGH, CELLS // features.shape[1])), int(y.max()) + 1
    found, last = dict[float, tuple[Array, Array]](), dict[int, tuple[Array, Array]]()

    def score(c: float, number: int, fold: Labels) -> Array:
        train, held = (torch.from_numpy(few[part]) for part in (fold != number, fold == number))
        problem = Softmax(gram.rows(features[train]), y[train], classes)
        found[c] = last[number] = minimised(problem, gram, c, last.get(number), tolerance=1e-4)
        weight, bias = found[c]
        asked = gram.rows(features[held])
        return np.concatenate([said.double().numpy() for _, said in asked.times(weight.T)]) + bias

    c, _ = choose(y[few], GRID, DEFAULT, score, calibrate=False)
    return c, found.get(c)


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
