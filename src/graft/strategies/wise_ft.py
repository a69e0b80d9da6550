"""Fine-tune, then go part of the way back to the weights as they came (WiSE-FT, Wortsman 2022, arXiv:2109.01903)."""

from __future__ import annotations

from graft import parts
from graft.strategies._start import AUTO, started
from graft.strategies.discriminative import rates
from graft.types import Flow, Model, Phase


def wise_ft(
    model: Model,
    *,
    alpha: float = 0.5,
    epochs: int = 10,
    lr: float | None = None,
    decay: float = 2.6,
    start: str | None = AUTO,
) -> Flow:
    """`alpha` is the share of the fine-tuned weights: at 0 the first head on the trunk as it came remains.

    `start`: the probe that the head begins as; "auto": logistic, or a short linear probe where no probe can solve the
    head; None: at random.

    `lr`: of the head, from which the stages' fall by `decay`; that of the trunk, unless told otherwise.
    """
    yield from started(model, start)
    before = parts.snapshot(model)
    yield Phase("all, discriminative", rates(model, parts.rate(model, 1.0, lr), decay), epochs)
    model.load_state_dict(parts.average([before, parts.snapshot(model)], [1 - alpha, alpha]))
