"""Exact leave-one-out of ridge regression on one-hot targets, for all penalties at the price of about one fit.

With the hat matrix H of a linear fit, the residual of a sample that was left out is its plain residual divided by
1 - H_ii (PRESS, Allen 1974). This is exact for ridge with a free intercept, where
H = 1 1^T / N + U diag(w / (w + lambda)) U^T, so nothing is fitted N times and nothing is approximated. U is made block
by block and never held: memory grows with N by the leverages (N, L) and the predictions (N, C) alone. What is made of a
block is no wider than COLUMNS or C.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graft.errors import UsageError
from graft.gram import Spectrum
from graft.rows import Array, Labels, one_hot, product

GRID = np.geomspace(1e-3, 1e6, 28)  # times the mean eigenvalue: the choice does not depend on the features' scale
COLUMNS = 512  # of predictions made at once: narrow products are slow, wide ones are memory


class Labelled(Protocol):
    """What a ridge fit needs: an `Evidence`, or anything else with these."""

    @property
    def spectrum(self) -> Spectrum: ...
    @property
    def coefficients(self) -> Array: ...
    @property
    def targets(self) -> Labels: ...
    @property
    def classes(self) -> int: ...


class RidgeFit(NamedTuple):
    """Ridge with the penalty `lam` on |weight|^2: the rows @ weight + bias estimates the one-hot targets.

    The rows are those of the spectrum before they were centred, but divided by their deviation.
    """

    lam: float
    scores: Array  # (N, C) what a fit without the sample says of it, exactly; float32 where the products are
    weight: Array  # (D, C)
    bias: Array  # (C,)


def fit_ridge(evidence: Labelled, lambdas: Sequence[float] | None = None) -> RidgeFit:
    """The fit with the best leave-one-out accuracy; ties go to the least leave-one-out squared error.

    `lambdas`: penalties > 0, else UsageError; by default 28 from 1e-3 to 1e6 times the mean eigenvalue. Penalties below
    1e-4 times it are not for large float32 features, whose products are rounded to about as much.
    """
    spectrum = evidence.spectrum
    lam, scores = loo_predictions(evidence, lambdas)
    weight = spectrum.weight((np.sqrt(spectrum.w) / (spectrum.w + lam))[:, None] * evidence.coefficients)
    centre = spectrum.rows.mean / spectrum.rows.deviation
    return RidgeFit(lam, scores, weight, _frequencies(evidence) - centre @ weight)


def loo_predictions(evidence: Labelled, lambdas: Sequence[float] | None = None) -> tuple[float, Array]:
    """The best penalty as in `fit_ridge`, and its leave-one-out predictions (N, C), class frequencies included."""
    spectrum = evidence.spectrum
    penalties = _penalties(spectrum.w, lambdas)
    shrink = spectrum.w / (spectrum.w + penalties[:, None])  # (L, k)
    frequencies = _frequencies(evidence)
    leverage, hits, errors = _tried(evidence, shrink, frequencies)
    best = max(range(len(penalties)), key=lambda i: (hits[i], -errors[i], -i))
    scores = np.empty((len(evidence.targets), evidence.classes), dtype=leverage.dtype)
    for at, said in spectrum.fitted(shrink[best, :, None] * evidence.coefficients):
        y = evidence.targets[at]
        scores[at] = _left_out(y, frequencies, said.numpy()[:, None], leverage[at, best, None])[0][:, 0]
    return float(penalties[best]), scores


def _tried(evidence: Labelled, shrink: Array, frequencies: Array) -> tuple[NDArray[np.floating], Labels, Array]:
    """Leverages (N, L), and hits and squared errors (L,) of the left-out predictions."""
    spectrum, n, count = evidence.spectrum, len(evidence.targets), len(shrink)
    leverage = np.empty((n, count), dtype=str(spectrum.rows.dtype).removeprefix("torch."))
    hits, errors = np.zeros(count, dtype=np.int64), np.zeros(count)
    tables = _tables(evidence, shrink)
    shrinkage = torch.from_numpy(shrink.T.copy()).to(spectrum.rows.dtype)
    for at, u in spectrum.left(evidence.classes):
        leverage[at] = 1 / n + product(u.square(), shrinkage).numpy()
        for group, factor, table in tables:
            fits = product(u if factor is None else u * factor, table).numpy()
            said = fits.reshape(len(u), len(group), evidence.classes)
            scores, wrong = _left_out(evidence.targets[at], frequencies, said, leverage[at][:, group])
            hits[group] += (scores.argmax(2) == evidence.targets[at][:, None]).sum(0)
            errors[group] += np.square(wrong).sum((0, 2), dtype=np.float64)
    return leverage, hits, errors


def _tables(evidence: Labelled, shrink: Array) -> list[tuple[Labels, Tensor | None, Tensor]]:
    """Penalties, factor (k,) and table (k, L C) such that (U * factor) @ table are the fits of these penalties.

    Of few classes several penalties make one table, as narrow products are slow; many classes share one table.
    """
    dtype, c, each = evidence.spectrum.rows.dtype, evidence.coefficients, np.arange(len(shrink))
    if 2 * evidence.classes > COLUMNS:
        table = torch.from_numpy(c).to(dtype)
        return [(each[i : i + 1], torch.from_numpy(shrink[i]).to(dtype), table) for i in each]
    groups = np.array_split(each, max(1, -(-len(each) * evidence.classes // COLUMNS)))
    return [(group, None, _beside(shrink[group], c).to(dtype)) for group in groups if len(group)]


def _beside(shrink: Array, coefficients: Array) -> Tensor:
    """(L, k) and (k, C) -> (k, L C): the coefficients of all these penalties, side by side."""
    table = shrink.T[:, :, None] * coefficients[:, None]
    return torch.from_numpy(table.reshape(len(table), table.shape[1] * table.shape[2]))


def _left_out(
    y: Labels, frequencies: Array, said: NDArray[np.floating], leverage: NDArray[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Fits (b, L, C) less the class frequencies and leverages (b, L) -> left-out predictions and errors (b, L, C)."""
    truth = one_hot(y, len(frequencies), said.dtype)[:, None]
    errors = (truth - frequencies.astype(said.dtype) - said) / (1 - leverage[..., None])
    return truth - errors, errors  # not less the frequencies, which would lose them


def _frequencies(evidence: Labelled) -> Array:
    return np.asarray(np.bincount(evidence.targets, minlength=evidence.classes) / len(evidence.targets))


def _penalties(w: Array, lambdas: Sequence[float] | None) -> Array:
    if lambdas is None:
        return np.asarray(GRID * (w.mean() if len(w) else 1.0))
    penalties = np.asarray(lambdas, dtype=np.float64)
    if penalties.ndim != 1 or not penalties.size or not (np.isfinite(penalties) & (penalties > 0)).all():
        raise UsageError(f"lambdas={lambdas!r} are not penalties > 0", "leave them out: 28 are tried")
    return penalties
