"""The optimum of multinomial logistic regression of many samples: L-BFGS on blocks, preconditioned by the Gram matrix.

The Hessian of the mean log-loss lies near a multiple of the Gram matrix (Boehning 1992, its bound), so in the
coordinates that whiten it, penalty included, the problem is nearly round and tens of passes over the rows are enough.
"""

from __future__ import annotations

from typing import NamedTuple

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
        for at, x in self.rows.blocks():  # classes in the first dimension: the last one is what is computed at once
            logs, own = torch.log_softmax(product(table, x.T).add_(start), 0), targets[None, at]
            total -= float(logs.gather(0, own).sum(dtype=torch.float64))
            off = logs.exp_().scatter_add_(0, own, logs.new_full(own.shape, -1.0))
            slopes += product(off, x).numpy()
            shift += off.sum(1, dtype=torch.float64).numpy()
        return total / len(self.y), (slopes / scale).T / len(self.y), shift / len(self.y)


def minimised(
    problem: Softmax, gram: Gram, c: float, start: tuple[Array, Array] | None = None, tolerance: float = 1e-5
) -> tuple[Array, Array]:
    """Weight (K, D) and bias (K,) of least c * sum of log-losses + |weight|^2 / 2, from `start` or zeros.

    Two classes have one weight between them, as in scikit-learn, so the penalty on their halves is twice as strong.
    `tolerance`: the largest entry of the gradient of the mean log-loss in the whitened coordinates, times sqrt(N).
    """
    from scipy.optimize import minimize

    k, n = problem.classes, len(problem.y)
    penalty = (2 if k == 2 else 1) / (c * n)
    basis, scale = _whitener(gram, penalty, k)
    flat = np.zeros((len(scale) + 1, k))
    if start is not None:
        flat = np.concatenate([basis.T @ start[0].T / scale[:, None], start[1][None] * _curvature(k) ** 0.5])

    def value(point: Array) -> tuple[float, Array]:
        theta = point.reshape(-1, k)
        weight, bias = basis @ (scale[:, None] * theta[:-1]), theta[-1] / _curvature(k) ** 0.5
        loss, slopes, shift = problem.loss(weight, bias)
        slopes = scale[:, None] * (basis.T @ (slopes + penalty * weight))
        gradient = np.concatenate([slopes, shift[None] / _curvature(k) ** 0.5])
        return loss + penalty / 2 * float(np.square(weight).sum()), gradient.ravel()

    options = {"maxcor": 20, "maxiter": 300, "maxfun": 400, "ftol": 1e-9, "gtol": tolerance}
    theta = minimize(value, flat.ravel(), jac=True, method="L-BFGS-B", options=options).x.reshape(-1, k)
    return (basis @ (scale[:, None] * theta[:-1])).T, theta[-1] / _curvature(k) ** 0.5


def _curvature(k: int) -> float:
    """Of the softmax of k even classes: p (1 - p). Sure predictions are flatter, which L-BFGS finds out."""
    return (1 - 1 / k) / k


def _whitener(gram: Gram, penalty: float, k: int) -> tuple[Array, Array]:
    """Eigenvectors (D, p) of the Gram matrix and what they are multiplied by (p,)."""
    w, vectors = gram.eigen
    return vectors, 1 / np.sqrt(w / gram.n * _curvature(k) + penalty)
