"""Move only the scales and shifts of the normalisation layers (Frankle et al. 2021, arXiv:2003.00152), and the head.

A few thousand parameters: it adapts what each channel says to new inputs, and cannot forget much.
"""

from __future__ import annotations

from graft import parts
from graft.strategies._start import AUTO, started
from graft.types import Flow, Model, Phase


def norm_affine(model: Model, *, epochs: int = 10, lr: float | None = None, start: str | None = AUTO) -> Flow:
    """`start`: the probe that the head begins as; "auto": logistic, or a short linear probe where no probe can solve
    the head; None: at random. `lr`: three times that of the trunk, unless told otherwise.
    """
    layers, rate = parts.norms(model), parts.rate(model, 3.0, lr)
    yield from started(model, start)
    yield Phase("norms", (parts.group(parts.head(model), rate), parts.group(layers, rate)), epochs)
