"""The prior: what a trunk's card says of it. Never looks at the data, and is the baseline that a ranker must beat."""

from __future__ import annotations

from math import log10

from graft.errors import DataError
from graft.evidence import Evidence, Score

WEIGHT = 1e-3  # of the accuracy: it decides between trunks of one size


def static(evidence: Evidence) -> Score:
    """log10(1 + parameters) + 0.001 * source_accuracy, the latter in [0, 1] where it is known and 0 where it is not.

    A fixed list by size orders ImageNet trunks better than most published scores do (Singh et al. 2026,
    arXiv:2510.06448). Accuracies on different sources say little about each other, so they only decide between trunks
    of one size. DataError for an accuracy outside [0, 1].
    """
    known = evidence.source_accuracy or 0.0
    if not 0 <= known <= 1:
        raise DataError(f"source_accuracy={known} is not a share of samples", "write 76.1 % as 0.761")
    return Score(log10(1 + evidence.parameters) + WEIGHT * float(known))
