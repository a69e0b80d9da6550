"""Unfreeze from the head down, one stage a phase, at falling rates (ULMFiT, Howard & Ruder 2018, arXiv:1801.06146)."""

from __future__ import annotations

from graft import parts
from graft.strategies.discriminative import rates
from graft.types import Flow, Model, Phase


def gradual(
    model: Model,
    *,
    each: int = 1,
    epochs: int = 5,
    lr: float | None = None,
    decay: float = 2.6,
    schedule: str = "triangular",
) -> Flow:
    """`each` epochs for every number of open stages, then `epochs` with all of them open. Slanted triangular rates.

    `lr`: of the head, from which the others fall; three times that of the trunk, unless told otherwise.
    """
    groups = rates(model, parts.rate(model, 3.0, lr), decay)
    for opened in range(1, len(groups)):
        yield Phase(f"top {opened}", groups[:opened], each, schedule)
    yield Phase("all", groups, epochs, schedule)
