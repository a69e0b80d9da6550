"""Ridge regression on one-hot targets, its strength chosen by exact leave-one-out (Allen 1974; Bishop 2006, 3.1.4)."""

from __future__ import annotations

import numpy as np

from graft.evidence import Evidence
from graft.loo import fit_ridge
from graft.probes._affine import Affine
from graft.probes._choose import temperature
from graft.probes._data import Array, Labels
from graft.types import Probe

DEFAULT = 10.0  # where every class has one sample


def ridge() -> Probe:
    """The least-squares classifier in closed form, times the temperature of least leave-one-out log-loss.

    Arrays: weight (C, D), bias (C,). DataError for features that are not finite or samples of fewer than two classes.
    """
    return Affine(_solve)


def _solve(z: Array, y: Labels) -> tuple[Array, Array]:
    """The temperature is that of all other probes, which is smoothed: of few samples most are right when left out."""
    fit, counts = fit_ridge(Evidence(z, y, int(y.max()) + 1)), np.bincount(y)[y]
    left = counts > 1  # of a class with one sample, nothing is left when it is left out
    warmth = temperature(fit.scores[left], y[left]) if left.any() else DEFAULT
    return fit.weight.T * warmth, fit.bias * warmth
