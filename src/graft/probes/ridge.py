"""Ridge regression on one-hot targets, its strength chosen by exact leave-one-out (Allen 1974; Bishop 2006, 3.1.4)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from torch import Tensor

from graft.evidence import Evidence
from graft.gram import Gram, Spectrum
from graft.loo import RidgeFit, fit_ridge
from graft.probes._affine import Affine
from graft.probes._choose import temperature
from graft.probes._data import Array, Labels
from graft.types import Probe

DEFAULT = 10.0  # where every class has one sample
MOST, CELLS = 50_000, 1 << 23  # samples, and their scores, on which a temperature, one number, is found


def ridge() -> Probe:
    """The least-squares classifier in closed form, times the temperature of least leave-one-out log-loss.

    Arrays: weight (C, D), bias (C,). DataError for features that are not finite or samples of fewer than two classes.
    Time grows with N D^2 + D^3, memory with N times the penalties and classes.
    """
    return Affine(_solve, many=_solve_many)


def _solve(z: Array, y: Labels) -> tuple[Array, Array]:
    return _warmed(fit_ridge(Evidence(z, y, int(y.max()) + 1)), y)


def _solve_many(gram: Gram, features: Tensor, y: Labels) -> tuple[Array, Array]:
    fit = fit_ridge(_Many(gram.spectrum(features), y, int(y.max()) + 1))
    return _warmed(fit._replace(bias=fit.bias + gram.mean / gram.deviation @ fit.weight), y)  # of centred rows


@final
@dataclass(frozen=True)
class _Many:
    """What `fit_ridge` needs of standardised rows that are nowhere held."""

    spectrum: Spectrum
    targets: Labels
    classes: int

    @cached_property
    def coefficients(self) -> Array:
        return self.spectrum.coefficients(self.targets, self.classes)


def _warmed(fit: RidgeFit, y: Labels) -> tuple[Array, Array]:
    """The temperature is that of all other probes, which is smoothed: of few samples most are right when left out."""
    left = np.flatnonzero(np.bincount(y)[y] > 1)  # of a class with one sample, nothing is left when it is left out
    most = max(1000, min(MOST, CELLS // fit.scores.shape[1]))
    left = left[:: -(-len(left) // most) or 1]
    warmth = temperature(fit.scores[left].astype(np.float64), y[left]) if len(left) else DEFAULT
    return fit.weight.T * warmth, fit.bias * warmth
