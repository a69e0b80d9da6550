"""How a head begins before the trunk moves: solved in one step, trained for a few epochs, or as it is."""

from __future__ import annotations

from graft import parts
from graft.strategies.linear_probe import linear_probe
from graft.strategies.solved import solved
from graft.types import Flow, Model

AUTO = "auto"
PROBE = "logistic"  # what "auto" solves by
EPOCHS = 5  # of the linear probe in its place


def started(model: Model, start: str | None) -> Flow:
    """`start`: a probe that solves the head; "auto": logistic, or a short linear probe where no probe can (tags,
    numbers, several labels, an mlp head); None: as it is, at random. Raises UsageError for a probe that cannot."""
    if start == AUTO and not parts.solvable(model):
        yield from linear_probe(model, epochs=EPOCHS)
    elif start is not None:
        yield from solved(model, probe=PROBE if start == AUTO else start)
