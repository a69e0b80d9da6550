"""The log expected empirical prediction, which `leep` takes of source classes and `nleep` of clusters."""

from __future__ import annotations

from math import sqrt

import numpy as np

from graft.evidence import Array, Evidence, Score


def expected_prediction(source: Array, evidence: Evidence) -> Score:
    """The mean over samples of log sum_z p(y | z) p(z | x), p(y, z) = mean of p(z | x) where the class is y.

    `source` (N, Z): p(z | x), rows sum to 1. Nguyen et al. 2020 (arXiv:2002.12462), equation 2; the logarithm is part
    of it. In nats, at most 0; `each` are the logarithms.
    """
    joint = np.eye(evidence.classes)[evidence.targets].T @ source  # (C, Z), times N
    seen = joint.sum(0)
    given = joint / np.where(seen > 0, seen, 1)
    each = np.log((given[evidence.targets] * source).sum(1))
    return Score(float(each.mean()), float(each.std()) / sqrt(len(each)), each)
