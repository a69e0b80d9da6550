"""Fine-tune everything, each stage slower than the one above it (Howard & Ruder 2018, arXiv:1801.06146)."""

from __future__ import annotations

from graft import parts
from graft.strategies._start import started
from graft.strategies.linear_probe import linear_probe
from graft.types import Flow, Group, Model, Phase


def rates(model: Model, lr: float, decay: float) -> tuple[Group, ...]:
    """The head at `lr`, the last stage at lr / decay, the one before at lr / decay^2, ... Head first."""
    modules = [*parts.head(model), *reversed(parts.stages(model))]
    return tuple(parts.group([module], lr / decay**i) for i, module in enumerate(modules))


def discriminative(
    model: Model,
    *,
    head_epochs: int = 5,
    epochs: int = 10,
    head_lr: float = 1e-2,
    lr: float | None = None,
    decay: float = 2.6,
    start: str | None = None,
) -> Flow:
    """A short probe first, then all stages at rates that fall by `decay` (2.6 in the paper) towards the input.

    `start`: a probe, such as "logistic", that solves the head in one step instead of `head_epochs`; "auto":
    logistic, or a short linear probe where no probe can solve the head.
    `lr`: of the head, from which the others fall; three times that of the trunk, unless told otherwise.
    """
    if start:
        yield from started(model, start)
    elif head_epochs:
        yield from linear_probe(model, epochs=head_epochs, lr=head_lr)
    yield Phase("all, discriminative", rates(model, parts.rate(model, 3.0, lr), decay), epochs)
