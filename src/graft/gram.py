"""One Gram matrix and one eigendecomposition of a matrix of features, for all closed forms that stand on them.

Rankers, ridge and the preconditioner of logistic regression share the decomposition, discriminant analysis the matrix.

Shapes: N rows, D features, C classes, k directions that vary.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from graft.rows import GRAM_CELLS, Array, Labels, Rows, one_hot, product, spans, standardized

SEEN = 64  # rows by which a change is noticed that PyTorch did not count
_EPS, _EPS32 = float(np.finfo(np.float64).eps), float(np.finfo(np.float32).eps)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The rows as U diag(sqrt(w)) V^T. Only one side is kept: V (D, k), or for N < D, where `dual`, U (N, k)."""

    rows: Rows
    w: Array  # (k,) squared singular values, largest first; empty if no feature varies
    vectors: Array
    dual: bool

    def left(self, width: int = 0) -> Iterator[tuple[slice, Tensor]]:
        """Blocks (b, k) of U, whose columns are orthogonal to the ones, as the rows are centred; `width` as of rows."""
        if not self.dual:
            yield from self.rows.times(self.vectors / np.sqrt(self.w), width)
            return
        for at in spans(torch.empty(self.vectors.shape, device="meta"), width=width):
            yield at, torch.from_numpy(self.vectors[at])

    def components(self, most: int) -> Array:
        """(N, p) the first principal components, p <= most."""
        if self.dual:
            return np.asarray(self.vectors[:, :most] * np.sqrt(self.w[:most]))
        found = [z.double().numpy() for _, z in self.rows.times(self.vectors[:, :most])]
        return np.concatenate(found)

    def coefficients(self, targets: Labels, classes: int) -> Array:
        """U^T Y (k, C) of one-hot targets; they need not be centred, since U is."""
        if not self.dual:
            return np.asarray((self.vectors.T @ self.rows.sums(targets, classes).T) / np.sqrt(self.w)[:, None])
        return np.asarray(self.vectors.T @ one_hot(targets, classes))

    def weight(self, coefficients: Array) -> Array:
        """V times `coefficients` (k, C) -> (D, C)."""
        if not self.dual:
            return np.asarray(self.vectors @ coefficients)
        return self.rows.back(self.vectors @ (coefficients / np.sqrt(self.w)[:, None]))

    def fitted(self, coefficients: Array) -> Iterator[tuple[slice, Tensor]]:
        """Blocks (b, C) of U times `coefficients` (k, C), without U where V is kept."""
        if not self.dual:
            yield from self.rows.times(self.vectors @ (coefficients / np.sqrt(self.w)[:, None]))
            return
        table = torch.from_numpy(coefficients)
        yield from ((at, product(u, table)) for at, u in self.left(coefficients.shape[1]))

    def lengths(self) -> Array:
        """(N,) squared lengths of the rows."""
        scale = torch.from_numpy(self.rows.deviation)
        return np.concatenate([(x.double() / scale).square().sum(1).numpy() for _, x in self.rows.blocks()])


@dataclass(frozen=True, eq=False)
class Gram:
    """What is computed once of centred rows; holds nothing of their size, so it may be kept after them."""

    mean: Array
    deviation: Array
    dtype: torch.dtype
    n: int
    matrix: Array  # (D, D) sum of z z^T

    @classmethod
    def of(cls, rows: Rows) -> Gram:
        return cls(rows.mean, rows.deviation, rows.dtype, len(rows), rows.scatter())

    def rows(self, features: Tensor) -> Rows:
        return Rows(features, self.mean, self.deviation, self.dtype)

    @cached_property
    def eigen(self) -> tuple[Array, Array]:
        """w (k,), largest first, and V (D, k). Below the floor lies rounding: of the products, or of the mean."""
        diagonal = self.matrix.diagonal()
        raw = (diagonal + self.n * np.square(self.mean / self.deviation)).sum()
        if self.dtype == torch.float32:  # errors of entry i, j go with the deviations of i and of j
            return _eigen(self.matrix, 4 * _EPS32 * np.sqrt(diagonal.sum() * diagonal.max()), 0.0)
        return _eigen(self.matrix, _EPS * raw * _EPS * max(self.n, len(diagonal)), _EPS * max(self.n, len(diagonal)))

    def spectrum(self, features: Tensor) -> Spectrum:
        return Spectrum(self.rows(features), *self.eigen, dual=False)


def spectrum(rows: Rows) -> Spectrum:
    """By the Gram matrix that is smaller: D x D or N x N, never the larger one."""
    n, d = rows.features.shape
    if n >= d:
        return Gram.of(rows).spectrum(rows.features)
    total, raw = np.zeros((n, n)), 0.0
    for at in spans(rows.features.T, GRAM_CELLS):  # by columns
        x = rows.features[:, at].double().numpy()
        raw += float(np.square(x / rows.deviation[at]).sum())
        z = (x - rows.mean[at]) / rows.deviation[at]
        total += z @ z.T
    return Spectrum(rows, *_eigen(total, _EPS * raw * _EPS * d, _EPS * d), dual=True)


def _eigen(matrix: Array, floor: float, share: float) -> tuple[Array, Array]:
    """Eigenvalues above `floor` and above a `share` of the largest one, largest first, and their vectors."""
    w, vectors = np.linalg.eigh(matrix)
    kept = np.flatnonzero(w > max(floor, share * w[-1]))[::-1]
    return w[kept], vectors[:, kept]


_last: dict[int, tuple[weakref.ref[Tensor], int, Tensor, Gram]] = {}  # of one tensor at most


def shared(features: Tensor) -> Gram:
    """The Gram matrix of the standardised rows, for as long as the same tensor is asked for, unchanged.

    Probes that are fitted one after the other to one tensor share it so. It is known by the object itself, by PyTorch's
    count of changes in place and by the sum of 64 of its rows, and goes with it. Not seen is a change that PyTorch does
    not count (by NumPy, by `.data`, of a file under a memory map) and that touches other rows alone.
    """
    known = _last.get(id(features))
    version, seen = -1 if features.is_inference() else features._version, _seen(features)
    if known and known[0]() is features and known[1] == version >= 0 and torch.equal(known[2], seen):
        return known[3]
    gram = Gram.of(standardized(features))
    _last.clear()
    if version >= 0:
        key = id(features)
        _last[key] = (weakref.ref(features, lambda _: _last.pop(key, None)), version, seen, gram)
    return gram


def _seen(features: Tensor) -> Tensor:
    """(D,) sum of rows that are spread over all (N, D)."""
    return features[torch.arange(SEEN) * (len(features) - 1) // (SEEN - 1)].sum(0, dtype=torch.float64)
