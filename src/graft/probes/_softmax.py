"""The optimum of multinomial logistic regression of many samples: L-BFGS on blocks, preconditioned by the Gram matrix.

The Hessian of the mean log-loss lies near a multiple of the Gram matrix (Boehning 1992, its bound), so in the
coordinates that whiten it, penalty included, the problem is nearly round and tens of passes over the rows are enough.
"""

from __future__ import annotations

from typing import Any, NamedTuple, final

import numpy as np
import torch

from graft.gram import Gram
from graft.probes._data import Array, Labels
from graft.rows import Rows, product


class Softmax(NamedTuple):
    """The log-loss of standardised rows (N, D), whose classes are y (N,), and how it changes with the weights."""

    rows: Rows
    y: Labels
    classes: int

    def loss(self, weight: Array, bias: Array) -> tuple[float, Array, Array]:
        """The mean log-loss at weight (D, K), bias (K,), and its gradients; each block is read once for both."""
        scale = self.rows.deviation
        table, start = (torch.from_numpy(a).to(self.rows.dtype) for a in (weight.T / scale, bias[:, None]))
        targets, total = torch.from_numpy(self.y), 0.0
        slopes, shift = np.zeros(weight.T.shape), np.zeros(len(bias))
        for at, x in self.rows.blocks(width=len(bias)):  # classes first: the last dimension is what is computed at once
            logs, own = torch.log_softmax(product(table, x.T).add_(start), 0), targets[None, at]
            total -= float(logs.gather(0, own).sum(dtype=torch.float64))
            off = logs.exp_().scatter_add_(0, own, logs.new_full(own.shape, -1.0))
            slopes += product(off, x).numpy()
            shift += off.sum(1, dtype=torch.float64).numpy()
        return total / len(self.y), (slopes / scale).T / len(self.y), shift / len(self.y)


class _Whitened(NamedTuple):
    """The penalised problem in coordinates (p + 1, K): weights in the whitened directions, below them the biases."""

    problem: Softmax
    penalty: float
    basis: Array  # (D, p)
    scale: Array  # (p,) what a coordinate is multiplied by
    unit: float  # what a bias is multiplied by

    def weights(self, point: Array) -> tuple[Array, Array]:
        """(D, K) and (K,)."""
        theta = point.reshape(-1, self.problem.classes)
        return self.basis @ (self.scale[:, None] * theta[:-1]), theta[-1] * self.unit

    def point(self, weight: Array, bias: Array) -> Array:
        """Of weight (K, D), bias (K,)."""
        return np.concatenate([self.basis.T @ weight.T / self.scale[:, None], bias[None] / self.unit]).ravel()

    def value(self, point: Array) -> tuple[float, Array]:
        weight, bias = self.weights(point)
        loss, slopes, shift = self.problem.loss(weight, bias)
        slopes = self.scale[:, None] * (self.basis.T @ (slopes + self.penalty * weight))
        gradient = np.concatenate([slopes, shift[None] * self.unit])
        return loss + self.penalty / 2 * float(np.square(weight).sum()), gradient.ravel()


@final
class _Descent:
    """Ends where the largest entry of the whitened gradient of the mean log-loss, penalty included, is at most
    `tolerance` times the loss, or a step lowers it by less than a thousandth of that: steps below what float32 rounds
    lead nowhere. Both are shares of the loss because that of classes that lie well apart is itself near zero."""

    def __init__(self, whitened: _Whitened, tolerance: float) -> None:
        self.whitened, self.tolerance = whitened, tolerance
        self.slope = self.last = np.inf

    def value(self, point: Array) -> tuple[float, Array]:
        loss, gradient = self.whitened.value(point)
        self.slope = float(np.abs(gradient).max())
        return loss, gradient

    def ends(self, intermediate_result: Any) -> None:
        """SciPy's callback after a step, which asks for the parameter by this name."""
        loss = float(intermediate_result.fun)
        if self.slope <= self.tolerance * min(1.0, loss) or self.last - loss <= 1e-3 * self.tolerance * loss:
            raise StopIteration
        self.last = loss


def minimised(
    problem: Softmax, gram: Gram, c: float, start: tuple[Array, Array] | None = None, tolerance: float = 1e-5
) -> tuple[Array, Array]:
    """Weight (K, D) and bias (K,) of least c * sum of log-losses + |weight|^2 / 2, from `start` or zeros.

    Two classes have one weight between them, as in scikit-learn, so the penalty on their halves is twice as strong.
    `tolerance` on the gradient: see `_Descent`.
    """
    from scipy.optimize import minimize

    k = problem.classes
    whitened = _whitened(problem, gram, (2 if k == 2 else 1) / (c * len(problem.y)))
    first = np.zeros((len(whitened.scale) + 1) * k) if start is None else whitened.point(*start)
    options, descent = (
        {"maxcor": 20, "maxiter": 300, "maxfun": 400, "ftol": 0, "gtol": 0},
        _Descent(whitened, tolerance),
    )
    found = minimize(descent.value, first, jac=True, method="L-BFGS-B", options=options, callback=descent.ends)
    weight, bias = whitened.weights(found.x)
    return weight.T, bias


def _whitened(problem: Softmax, gram: Gram, penalty: float) -> _Whitened:
    """The curvature of the softmax of k even classes is p (1 - p). Sure ones are flatter, which L-BFGS finds out."""
    curvature = (1 - 1 / problem.classes) / problem.classes
    w, vectors = gram.eigen
    return _Whitened(problem, penalty, vectors, 1 / np.sqrt(w / gram.n * curvature + penalty), curvature**-0.5)
