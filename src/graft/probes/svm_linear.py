"""Linear support vector machine, one against the rest, squared hinge loss (Fan et al. 2008, LIBLINEAR)."""

from __future__ import annotations

from functools import partial
from typing import Any

from graft.probes._affine import Affine
from graft.probes._choose import both, choose, columns
from graft.probes._data import Array, Labels, positive
from graft.types import Probe

GRID = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
DEFAULT = 1e-3


def svm_linear(*, c: float | None = None) -> Probe:
    """scikit-learn's LinearSVC on standardised features, times the temperature of least 5-fold log-loss.

    `c` None: the C of least log-loss. Arrays: weight (C, D), bias (C,). DataError for features that are not finite or
    samples of fewer than two classes.
    """
    positive("c", c)
    return Affine(partial(_solve, c=c))


def _solve(z: Array, y: Labels, c: float | None) -> tuple[Array, Array]:
    def score(value: float, number: int, fold: Labels) -> Array:
        model = _machine(value, 1e-2).fit(z[fold != number], y[fold != number])
        return columns(model.decision_function(z[fold == number]))

    chosen, temperature = choose(y, GRID if c is None else (c,), c or DEFAULT, score, calibrate=True)
    model = _machine(chosen, 1e-4).fit(z, y)
    return both(model.coef_) * temperature, both(model.intercept_) * temperature


def _machine(c: float, tol: float) -> Any:
    """The dual where features are more than samples, as it is smaller; it converges slowly where C is large."""
    from sklearn.svm import LinearSVC

    return LinearSVC(C=c, tol=tol, dual="auto", random_state=0, max_iter=10_000)
