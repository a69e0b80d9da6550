"""Multinomial logistic regression with an L2 penalty, its strength chosen by cross-validation (Cox 1958)."""

from __future__ import annotations

from functools import partial

from graft.probes._affine import Affine
from graft.probes._choose import both, choose, columns
from graft.probes._data import Array, Labels, positive
from graft.types import Probe

GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
DEFAULT = 1e-2  # what few samples of wide, standardised features mostly come to


def logistic(*, c: float | None = None) -> Probe:
    """scikit-learn's LogisticRegression on standardised features; `c` None: the C of least 5-fold log-loss.

    Arrays: weight (C, D), bias (C,). DataError for features that are not finite or samples of fewer than two classes.
    """
    positive("c", c)
    return Affine(partial(_solve, c=c))


def _solve(z: Array, y: Labels, c: float | None) -> tuple[Array, Array]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=c or _chosen(z, y), max_iter=1000, tol=1e-6).fit(z, y)
    return both(model.coef_), both(model.intercept_)


def _chosen(z: Array, y: Labels) -> float:
    """Each fold goes up the grid from where it was, as the next solution is near; a choice needs no float64."""
    from sklearn.linear_model import LogisticRegression

    rows = z.astype("float32")
    models: dict[int, LogisticRegression] = {}

    def score(c: float, number: int, fold: Labels) -> Array:
        model = models.setdefault(number, LogisticRegression(warm_start=True, max_iter=1000))
        model.set_params(C=c).fit(rows[fold != number], y[fold != number])
        return columns(model.decision_function(rows[fold == number]))

    return choose(y, GRID, DEFAULT, score, calibrate=False)[0]
