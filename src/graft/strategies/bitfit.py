"""Move only the biases of the trunk, and the head (BitFit, Ben Zaken et al. 2022, arXiv:2106.10199).

A thousandth of a transformer's parameters; on small data about as good as all of them.
"""

from __future__ import annotations

from graft import parts
from graft.strategies._start import AUTO, started
from graft.types import Flow, Group, Model, Phase


def bitfit(model: Model, *, epochs: int = 10, lr: float | None = None, start: str | None = AUTO) -> Flow:
    """`start`: the probe that the head begins as; "auto": logistic, or a short linear probe where no probe can solve
    the head; None: at random. `lr`: five times that of the trunk, unless told otherwise. Raises UsageError for a trunk
    without biases.
    """
    biases, rate = parts.biases(model), parts.rate(model, 5.0, lr)
    yield from started(model, start)
    yield Phase("biases", (parts.group(parts.head(model), rate), Group(biases, rate)), epochs)
