"""GBC: how little Gaussians of the classes overlap, by the Bhattacharyya coefficient (Pandy et al. 2022)."""

from __future__ import annotations

import numpy as np

from graft.errors import DataError
from graft.evidence import Array, Evidence, Score


def gbc(evidence: Evidence, *, components: int = 64) -> Score:
    """Minus the mean over pairs of classes of exp(-D_B), in [-1, 0] (Pandy et al. 2022, arXiv:2111.12780).

    Each class is a diagonal Gaussian on the first principal components, D_B the Bhattacharyya distance. The paper takes
    the sum over pairs; the mean lets numbers of classes compare. A class with one sample gets the pooled variance of
    all classes, and no variance is below a thousandth of it. Not for classes with fewer than about 5 samples. -1 for
    features that never vary; DataError where every class has one sample. Unchanged by rotating, scaling or shifting the
    features.
    """
    x = evidence.spectrum.components(components)
    if evidence.counts.max() < 2:
        raise DataError("no class has two samples: there is no variance within classes", "give more samples a class")
    means, variances = _gaussians(evidence, x)
    overlap = sum(_overlap(means[i], variances[i], means[i + 1 :], variances[i + 1 :]) for i in range(len(means) - 1))
    return Score(-2 * overlap / (len(means) * (len(means) - 1)))


def _gaussians(evidence: Evidence, x: Array) -> tuple[Array, Array]:
    """Means and variances (C', p) of the classes that have samples, of (N, p)."""
    present = np.flatnonzero(evidence.counts)
    counts = evidence.counts[present, None]
    means = np.stack([x[evidence.targets == c].mean(0) for c in present])
    variances = np.stack([x[evidence.targets == c].var(0) for c in present])
    pooled = (counts * variances).sum(0) / (counts.sum() - len(present))
    pooled = np.maximum(pooled, np.finfo(float).eps * x.var(0))  # classes that are points
    unbiased = variances * counts / np.maximum(counts - 1, 1)
    return means, np.maximum(np.where(counts > 1, unbiased, pooled), 1e-3 * pooled)


def _overlap(mean: Array, variance: Array, means: Array, variances: Array) -> float:
    """The sum of exp(-D_B) of one class (p,) with others (M, p)."""
    middle = (variance + variances) / 2
    distance = np.square(mean - means) / (8 * middle) + np.log(middle / np.sqrt(variance * variances)) / 2
    return float(np.exp(-distance.sum(1)).sum())
