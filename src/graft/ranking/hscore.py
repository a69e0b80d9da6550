"""H-score with a shrunk covariance: how much of the features' variance lies between classes (Ibrahim et al. 2021)."""

from __future__ import annotations

import numpy as np

from graft.evidence import Array, Evidence, Score


def hscore(evidence: Evidence) -> Score:
    """(1 - a) tr(S_a^-1 B) / (C' - 1), about within [0, 1] (Ibrahim et al. 2021, arXiv:2110.06893; Bao et al. 2019).

    S_a = (1 - a) S + a mu I is the Ledoit-Wolf covariance (2004, closed-form a, mu = tr S / D), B the covariance of the
    class means, C' the classes that have samples; to divide by C' - 1 lets tasks compare. All is computed in the
    eigenbasis, where S_a is diagonal and which holds all of B, so nothing is inverted and N < D needs no identity.
    0 for features that never vary. Unchanged by rotating, scaling or shifting the features.
    """
    w, d = evidence.spectrum.w, evidence.features.shape[1]
    if not len(w):
        return Score(0.0)
    present = evidence.counts > 0
    between = np.square(evidence.coefficients[:, present]) / evidence.counts[present]  # (k, C')
    a = _shrinkage(evidence.spectrum.lengths(), w, d)
    ratios = w / ((1 - a) * w + a * w.sum() / d)  # N cancels between S_a and B
    return Score(float((1 - a) * (ratios @ between).sum() / (present.sum() - 1)))


def _shrinkage(lengths: Array, w: Array, d: int) -> float:
    """Ledoit and Wolf's a in [0, 1] for N samples of d features: noise of S over its distance from mu I."""
    n = len(lengths)
    square = np.square(w).sum() / n**2  # |S|^2, Frobenius
    noise = (np.square(lengths).sum() / n - square) / n
    distance = square - (w.sum() / n) ** 2 / d
    return float(np.clip(noise / distance, 0, 1)) if distance > 0 else 1.0
