"""Two views alike, with features that vary and are not correlated (Bardes et al. 2022, arXiv:2105.04906): VICReg.

Published, linear probe on frozen features: ResNet-18, 1,000 epochs, CIFAR-10 92.1 %, CIFAR-100 68.5 % (solo-learn).
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from graft.augment import within
from graft.nn.projector import projector
from graft.tasks import _checks, _pairs
from graft.types import Task
from graft.views.pair import Pair


def vicreg(
    classes: tuple[str, ...] = (),
    *,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    dim: int = 1024,
    hidden: int = 1024,
    scale: float = 0.2,
    flip: bool = True,
    colour: float = 0.5,
    grey: float = 0.2,
    blur: float = 0.0,
) -> Task:
    """The task of like embeddings; there are no labels, and `classes` mean nothing to it. It needs neither negatives,
    and so no large batches, nor a teacher.

    invariance, variance, covariance: weights of the three terms. dim, hidden: widths of the expander, 8,192 in the
    paper for 2,048 features. The others are those of the views (`views.pair.Pair`). Raises UsageError for what cannot
    be.
    """
    weights = {"invariance": invariance, "variance": variance, "covariance": covariance}
    for name, weight in weights.items():
        within(0 <= weight < math.inf, name, weight, "a weight", f"{name} >= 0")
    wide, last = _checks.count("hidden", hidden), _checks.count("dim", dim)
    return _pairs.TwoViews(
        tuple(classes),
        Pair(scale, flip, colour, grey, blur),
        make=lambda info: projector(info.dim, wide, wide, last, bias=False),
        objective=partial(weighted, weights=(invariance, variance, covariance)),
    )


def weighted(first: Tensor, second: Tensor, weights: tuple[float, float, float]) -> Tensor:
    """The three terms of embeddings (B, E) of two views of B >= 2 samples, as the authors' code adds them: the mean of
    both variances, the sum of both covariances."""
    alike, varied, apart = weights
    both = (varying(first) + varying(second)) / 2, correlated(first) + correlated(second)
    return alike * F.mse_loss(first, second) + varied * both[0] + apart * both[1]


def varying(z: Tensor) -> Tensor:
    """How much the standard deviations of the columns of (B, E) fall short of 1, their mean: a hinge."""
    return F.relu(1 - (z.var(0) + 1e-4).sqrt()).mean()


def correlated(z: Tensor) -> Tensor:
    """The squares of the covariances of different columns of (B, E), their sum over E."""
    centred = z - z.mean(0)
    matrix = centred.T @ centred / (len(z) - 1)
    same = torch.eye(len(matrix), dtype=torch.bool, device=z.device)
    return matrix.masked_fill(same, 0.0).square().sum() / len(matrix)
