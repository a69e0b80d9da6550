"""Solve the linear head in one step on frozen features: regularised logistic regression (Cox 1958), or another probe.

What follows then starts from the best linear head there is, instead of one that was trained for a few epochs
(Kumar et al. 2022, arXiv:2202.10054, ask for exactly this).
"""

from __future__ import annotations

from graft import parts
from graft.types import Flow, Model, Phase


def solved(model: Model, *, probe: str = "logistic") -> Flow:
    """`probe`: logistic, ridge, lda or svm_linear. Raises UsageError for another probe, and for a head that none can
    solve: one of several layers, or of labels that are no classes.
    """
    yield Phase(f"head, {probe}", (), 0, solve=parts.solver(model, probe))
