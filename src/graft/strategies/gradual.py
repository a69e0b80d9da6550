"""Unfreeze from the head down, one stage a phase, at falling rates (ULMFiT, Howard & Ruder 2018, arXiv:1801.06146)."""

from __future__ import annotations

from graft.strategies.discriminative import rates
from graft.types import Flow, Model, Phase


def gradual(
    model: Model,
    *,
    each: int = 1,
    epochs: int = 5,
    lr: float = 3e-3,
    decay: float = 2.6,
    schedule: str = "triangular",
) -> Flow:
    """`each` epochs for every number of open stages, then `epochs` with all of them open. Slanted triangular rates."""
    groups = rates(model, lr, decay)
    for opened in range(1, len(groups)):
        yield Phase(f"top {opened}", groups[:opened], each, schedule)
    yield Phase("all", groups, epochs, schedule)
