"""The prior: what a trunk's card says of it. Never looks at the data, and is the baseline that a ranker must beat."""

from __future__ import annotations

from math import log10

from graft.errors import DataError
from graft.evidence import Evidence, Score


def static(evidence: Evidence) -> Score:
    """`source_accuracy` in [0, 1] where it is known, else log10(1 + parameters) / 12 - 1, in [-1, 0).

    A fixed list by accuracy or size orders ImageNet trunks better than most published scores do (Singh et al. 2026,
    arXiv:2510.06448). Trunks of unknown accuracy are placed by their size, below all of known accuracy; 12 stands for
    10^12 parameters, which is taken for the most. DataError for an accuracy outside [0, 1].
    """
    known = evidence.source_accuracy
    if known is None:
        return Score(min(log10(1 + evidence.parameters) / 12, 1.0) - 1)
    if not 0 <= known <= 1:
        raise DataError(f"source_accuracy={known} is not a share of samples", "write 76.1 % as 0.761")
    return Score(float(known))
