"""Linear discriminant analysis: normal classes of one covariance, which is shrunk (Fisher 1936; Friedman 1989)."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from graft.errors import UsageError
from graft.evidence import Evidence
from graft.gram import Gram
from graft.probes._affine import Affine
from graft.probes._choose import choose, drawn
from graft.probes._data import Array, Labels
from graft.rows import Rows, one_hot
from graft.types import Probe

GRID = (0.01, 0.03, 0.1, 0.3, 1.0)  # of the way from the covariance within classes to its mean variance
DEFAULT = 0.3  # where every class has one sample
TIGHT = 1e-3  # of the variance that is within classes, below which float32 rounds too much of it
MOST = 25_000  # of many samples, those of which a fifth is held out


def lda(*, shrinkage: float | None = None) -> Probe:
    """Linear in standardised features, with S_s = (1 - s) S + s tr(S) / D within classes in the place of S.

    `shrinkage` s in (0, 1]: scikit-learn's LinearDiscriminantAnalysis(solver="lsqr", shrinkage=s). None: the one of
    five with the least log-loss of held-out samples, times its temperature: over 5 folds, or on 5,000 of more than
    10,000 samples. Arrays: weight (C, D), bias (C,). DataError for features that are not finite or samples of fewer
    than two classes, UsageError for a shrinkage out of range. Costs one Gram matrix and a few Cholesky factors.
    """
    if shrinkage is not None and not 0 < shrinkage <= 1:
        raise UsageError(f"shrinkage={shrinkage} is not in (0, 1]", "leave it out: five are tried")
    return Affine(partial(_solve, shrinkage=shrinkage), many=partial(_solve_many, shrinkage=shrinkage))


class Sums(NamedTuple):
    """All that the method knows of samples: sums over rows, from which those of held-out rows can be taken."""

    counts: Array  # (K, 1)
    classes: Array  # (K, p) sum of the rows of each class
    scatter: Array  # (p, p) sum of z z^T of all rows

    def less(self, other: Sums) -> Sums:
        return Sums(*(a - b for a, b in zip(self, other, strict=True)))


def _solve(z: Array, y: Labels, shrinkage: float | None) -> tuple[Array, Array]:
    """In the coordinates of the directions that vary where they are fewer than the features: nothing is lost."""
    (n, d), spectrum = z.shape, None
    if n < d:
        spectrum = Evidence(z, y, int(y.max()) + 1).spectrum
        z = spectrum.components(n)
    weight, bias = _fitted(z, y, d, shrinkage)
    return (spectrum.weight(weight.T).T if spectrum else weight), bias


def _fitted(z: Array, y: Labels, d: int, shrinkage: float | None) -> tuple[Array, Array]:
    total, warmth = _sums(z, y, int(y.max()) + 1), 1.0
    if shrinkage is None:
        trained: dict[int, Sums] = {}

        def score(value: float, number: int, fold: Labels) -> Array:
            held = z[fold == number]
            if number not in trained:
                trained[number] = total.less(_sums(held, y[fold == number], len(total.counts)))
            weight, bias = discriminant(trained[number], d, value)
            return np.asarray(held @ weight.T + bias)

        shrinkage, warmth = choose(y, GRID, DEFAULT, score, calibrate=True)
    weight, bias = discriminant(total, d, shrinkage)
    return weight * warmth, bias * warmth


def _solve_many(gram: Gram, features: Tensor, y: Labels, shrinkage: float | None) -> tuple[Array, Array]:
    gram, total = _exact(gram, features, y)
    warmth = 1.0
    if shrinkage is None:
        shrinkage, warmth = _chosen_of_many(gram, features, y, total)
    weight, bias = discriminant(total, features.shape[1], shrinkage)
    return weight * warmth, bias * warmth


def _exact(gram: Gram, features: Tensor, y: Labels) -> tuple[Gram, Sums]:
    """In float64, at the price of a second Gram matrix, where classes are so tight that little remains between sums."""
    total = _sums_of(gram.rows(features), y, int(y.max()) + 1, gram.matrix)
    whole = np.trace(gram.matrix)
    if gram.dtype == torch.float64 or whole - (np.square(total.classes) / total.counts).sum() > TIGHT * whole:
        return gram, total
    gram = Gram.of(Rows(features, gram.mean, gram.deviation, torch.float64))
    return gram, _sums_of(gram.rows(features), y, int(y.max()) + 1, gram.matrix)


def _chosen_of_many(gram: Gram, features: Tensor, y: Labels, total: Sums) -> tuple[float, float]:
    few, trained = drawn(features, y, MOST), dict[int, Sums]()

    def score(value: float, number: int, fold: Labels) -> Array:
        held = few[fold == number]
        rows = gram.rows(features[torch.from_numpy(held)])
        if number not in trained:
            trained[number] = total.less(_sums_of(rows, y[held], len(total.counts), rows.scatter()))
        weight, bias = discriminant(trained[number], features.shape[1], value)
        return np.concatenate([said.double().numpy() for _, said in rows.times(weight.T)]) + bias

    return choose(y[few], GRID, DEFAULT, score, calibrate=True)


def _sums(z: Array, y: Labels, classes: int) -> Sums:
    members = one_hot(y, classes)
    return Sums(members.sum(0)[:, None], members.T @ z, z.T @ z)


def _sums_of(rows: Rows, y: Labels, classes: int, scatter: Array) -> Sums:
    counts = np.bincount(y, minlength=classes)[:, None].astype(np.float64)
    return Sums(counts, rows.sums(y, classes), scatter)


def discriminant(sums: Sums, d: int, shrinkage: float) -> tuple[Array, Array]:
    """Weights (K, p) and biases (K,) from sums of all classes. `d`: features, of which p directions may vary.

    Where no class varies within itself, the variance of all samples takes its place. UsageError for a shrinkage that
    leaves a singular matrix.
    """
    n, means = sums.counts.sum(), sums.classes / sums.counts
    covariance = (sums.scatter - sums.classes.T @ means) / n
    within, whole = np.trace(covariance) / d, np.trace(sums.scatter) / n / d
    if within <= 1e-9 * whole or whole == 0:
        covariance, within = np.zeros_like(covariance), whole or 1.0
    covariance *= 1 - shrinkage
    covariance[np.diag_indices_from(covariance)] += shrinkage * within
    try:
        weight = _solved(covariance, means)
    except np.linalg.LinAlgError:
        raise UsageError(f"shrinkage={shrinkage} is too small for these features", "leave it out") from None
    return weight, np.log(sums.counts[:, 0] / n) - (means * weight).sum(1) / 2


def _solved(covariance: Array, means: Array) -> Array:
    """means (K, p) times the inverse of (p, p), which is overwritten."""
    from scipy.linalg import cho_factor, cho_solve

    factor = cho_factor(covariance.T, lower=True, overwrite_a=True, check_finite=False)  # as LAPACK stores it: no copy
    return np.asarray(cho_solve(factor, means.T, check_finite=False).T)
