"""Many rows of features seen block by block, and the products that closed forms make of them.

Memory is bounded by a block, however many rows there are; they may lie in a memory-mapped file. Many float32 features
are multiplied in float32 and summed over blocks in float64; few, and float64 ones, in float64 throughout. Nothing here
is ever bfloat16: such a Gram matrix chooses a worse penalty.

Shapes: N rows, D features, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
Float = TypeVar("Float", bound=np.floating[Any])
LARGE = 1 << 20  # values of a matrix from which float32 features are multiplied as float32
CELLS, GRAM_CELLS = 1 << 20, 1 << 24  # values of a block: one that stays in the cache, one worth a D x D product
HUGE = 1e12  # deviations beyond which squares of float32 overflow, or, of its inverse, vanish
FAR = 1e5  # deviations from zero to the mean, beyond which float32 loses too many digits of what varies
FLOOR = 1e-6  # of the largest deviation: a feature that varies less is only centred


def unit_length(x: NDArray[Float]) -> NDArray[Float]:
    """(N, D) scaled to length 1, in their own precision; zeros stay."""
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12), x.dtype)


@dataclass(frozen=True, eq=False)
class Rows:
    """z = (features - mean) / deviation, never held. `features` (N, D) on the processor, `mean`, `deviation` (D,).

    Blocks are only centred, in `dtype`: to divide what comes of their products costs nothing.
    """

    features: Tensor
    mean: Array
    deviation: Array
    dtype: torch.dtype

    def __len__(self) -> int:
        return len(self.features)

    def blocks(self, cells: int | None = None, width: int = 0) -> Iterator[tuple[slice, Tensor]]:
        """features - mean. A block is valid until the next one is asked for: they share their memory.

        `width`: of what is made of a block, where it may be wider than the features.
        """
        mean = torch.from_numpy(self.mean).to(self.dtype)
        held: Tensor | None = None
        for at in spans(self.features, cells, width):
            rows = self.features[at].to(self.dtype)
            held = torch.empty_like(rows) if held is None else held
            yield at, torch.sub(rows, mean, out=held[: len(rows)])

    def scatter(self) -> Array:
        """(D, D) sum over rows of z z^T."""
        total = np.zeros((self.features.shape[1],) * 2)
        for _, x in self.blocks(GRAM_CELLS):
            total += x.numpy().T @ x.numpy()  # NumPy sees that both are one matrix, and computes half
        return np.asarray(total / self.deviation / self.deviation[:, None])

    def sums(self, targets: Labels, classes: int) -> Array:
        """(C, D) sum over the rows of each class."""
        total, y = torch.zeros(classes, self.features.shape[1], dtype=torch.float64), torch.from_numpy(targets)
        for at, x in self.blocks():
            total.index_add_(0, y[at], x.double())
        return np.asarray(total.numpy() / self.deviation)

    def times(self, weight: Array, width: int = 0) -> Iterator[tuple[slice, Tensor]]:
        """Blocks (b, K) of z times `weight` (D, K); `width` as in `blocks`."""
        table = torch.from_numpy(np.ascontiguousarray(weight / self.deviation[:, None])).to(self.dtype)
        for at, x in self.blocks(width=max(width, weight.shape[1])):
            yield at, product(x, table)

    def back(self, weight: Array) -> Array:
        """(D, K): z transposed, times `weight` (N, K)."""
        total, table = np.zeros((self.features.shape[1], weight.shape[1])), torch.from_numpy(weight).to(self.dtype)
        for at, x in self.blocks(width=weight.shape[1]):
            total += product(table[at].T.contiguous(), x).numpy().T
        return np.asarray(total / self.deviation[:, None])


def centred(features: Tensor) -> Rows:
    """Rows less their mean, on the scale that they have."""
    mean, deviation = moments(features)
    return Rows(features, mean, np.ones_like(mean), _dtype(features, mean, deviation))


def standardized(features: Tensor) -> Rows:
    """As the heads do it: a feature that never varies is only centred."""
    mean, deviation = moments(features)
    scale = np.where(deviation > FLOOR * deviation.max(), deviation, 1.0)
    return Rows(features, mean, scale, _dtype(features, mean, deviation))


def moments(features: Tensor) -> tuple[Array, Array]:
    """Mean and deviation (D,), in float64 around the mean of the first block, so that a large mean costs no digits."""
    first = sums = squares = torch.zeros(features.shape[1], dtype=torch.float64)
    for number, at in enumerate(spans(features)):
        rows = features[at].double()
        first = rows.mean(0) if number == 0 else first
        rows = rows - first  # a new tensor: float64 rows are the caller's own
        sums, squares = sums + rows.sum(0), squares + rows.square_().sum(0)
    shift = sums / len(features)
    deviation = (squares / len(features) - shift.square()).clamp(min=0).sqrt()
    return (first + shift).numpy(), deviation.numpy()


def spans(features: Tensor, cells: int | None = None, width: int = 0) -> Iterator[slice]:
    """Slices of rows of about `cells` values each, by default CELLS, where a row has D values or `width`, if more."""
    n, step = len(features), max(1, (cells or CELLS) // max(1, features.shape[1], width))
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def not_finite(features: Tensor) -> Labels:
    """The rows that hold a value that is not finite."""
    found = [np.empty(0, dtype=np.int64)]
    for at in spans(features):
        rows = features[at]
        if not torch.isfinite(rows.sum(dtype=torch.float64)):
            found.append(at.start + (~torch.isfinite(rows).all(1)).nonzero().numpy()[:, 0])
    return np.concatenate(found)


@contextmanager
def threads_for(values: int) -> Iterator[None]:
    """Linear algebra of few values on one thread: there, two that wait for each other take five times as long."""
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    with threadpool_limits(1, user_api="blas") if values < LARGE else nullcontext():
        yield


def large(features: Tensor) -> bool:
    """Whether rows outnumber features, and the whole is too much to be copied and sorted at leisure."""
    return features.ndim == 2 and features.numel() >= LARGE and len(features) > features.shape[1]


def _dtype(features: Tensor, mean: Array, deviation: Array) -> torch.dtype:
    varies = deviation > FLOOR * deviation.max()
    sane = 1 / HUGE < deviation.max() < HUGE and bool((np.abs(mean) < FAR * deviation)[varies].all())
    return torch.float32 if large(features) and features.dtype != torch.float64 and sane else torch.float64


def one_hot(targets: Labels, classes: int, dtype: Any = np.float64) -> NDArray[Any]:
    """(N,) -> (N, C). Not as rows of an identity, which of very many classes is the larger matrix."""
    found = np.zeros((len(targets), classes), dtype=dtype)
    found[np.arange(len(targets)), targets] = 1
    return found


def product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b of two matrices of one type; float32 by oneDNN where this build of PyTorch has it, else by NumPy."""
    fast = onednn() if a.dtype == torch.float32 and len(a) and a.device.type == "cpu" else None
    if fast is None:
        return torch.from_numpy(a.numpy() @ b.numpy())
    dense = b.is_contiguous() or b.T.is_contiguous()
    return fast(a.contiguous(), b.T if dense else b.T.contiguous())  # parts of wider rows take a path 100 times slower


@cache
def onednn() -> Callable[[Tensor, Tensor], Tensor] | None:
    """MKL is slow on AMD, and a tall product with few columns is slow in most libraries. The operator is private: it is
    taken only where it is there and its answer is right."""
    a, b = torch.linspace(-1, 1, 40 * 33).view(40, 33), torch.linspace(2, -1, 7 * 33).view(7, 33)
    try:
        operator = torch.ops.mkldnn._linear_pointwise
        right = torch.allclose(operator(a, b, None, "none", [], ""), a @ b.T, rtol=1e-4, atol=1e-4)
        right &= torch.allclose(operator(b, a.T.contiguous().T, None, "none", [], ""), b @ a.T, rtol=1e-4, atol=1e-4)
    except (AttributeError, RuntimeError, TypeError):
        return None
    return (lambda x, w: operator(x, w, None, "none", [], "")) if right else None
