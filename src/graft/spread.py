"""How evenly features are spread: figures of a trunk that need no labels.

RankMe, the effective rank (Garrido et al. 2023, arXiv:2210.02885), and the deviation of unit features (Chen & He 2021,
arXiv:2011.10566).
"""

from __future__ import annotations

from torch import Tensor
from torch.linalg import eigvalsh
from torch.nn import functional as F

EPSILON = 1e-7  # of RankMe


def effective_rank(features: Tensor) -> float:
    """(N, D) -> between 1, features that are all one direction, and min(N, D): e to the entropy of the singular values
    as shares of their sum. They are not centred, so that features that are all alike have rank 1.

    The paper takes features as they are; here each row has length 1 first. Otherwise a single row of a large norm
    decides: a random EfficientNet-B0 has rank 1.0 by its features, and 18 to 26 by their directions.
    """
    rows = F.normalize(features.double(), dim=1)
    gram = rows @ rows.T if len(rows) < rows.shape[1] else rows.T @ rows  # much faster than the singular values
    values = eigvalsh(gram).clamp(min=0).sqrt()
    shares = values / values.sum().clamp(min=EPSILON) + EPSILON
    return float((-(shares * shares.log()).sum()).exp())


def spread(features: Tensor) -> float:
    """(N, D) -> the standard deviation of each dimension of the unit features, their mean, times sqrt(D): 1 spread
    evenly over the sphere, 0 all alike. Features that are never negative, as after a ReLU, come to 0.6 or so."""
    unit = F.normalize(features.double(), dim=1)
    return float(unit.std(0, correction=0).mean() * features.shape[1] ** 0.5)
