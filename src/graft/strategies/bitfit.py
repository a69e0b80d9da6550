"""Move only the biases of the trunk, and the head (BitFit, Ben Zaken et al. 2022, arXiv:2106.10199).

A thousandth of a transformer's parameters; on small data about as good as all of them.
"""

from __future__ import annotations

from graft import parts
from graft.strategies.solved import solved
from graft.types import Flow, Group, Model, Phase


def bitfit(model: Model, *, epochs: int = 10, lr: float | None = None, start: str | None = "logistic") -> Flow:
    """`start`: the probe that the head begins as; None: at random. `lr`: five times that of the trunk, unless told
    otherwise. Raises UsageError for a trunk without biases.
    """
    biases, rate = parts.biases(model), parts.rate(model, 5.0, lr)
    if start:
        yield from solved(model, probe=start)
    yield Phase("biases", (parts.group(parts.head(model), rate), Group(biases, rate)), epochs)
