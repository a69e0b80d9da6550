"""Fine-tune, then go part of the way back to the weights as they came (WiSE-FT, Wortsman 2022, arXiv:2109.01903)."""

from __future__ import annotations

from graft import parts
from graft.strategies.discriminative import rates
from graft.strategies.solved import solved
from graft.types import Flow, Model, Phase


def wise_ft(
    model: Model, *, alpha: float = 0.5, epochs: int = 10, lr: float = 1e-3, decay: float = 2.6, start: str = "logistic"
) -> Flow:
    """`alpha` is the share of the fine-tuned weights: at 0 the solved head on the trunk as it came remains."""
    yield from solved(model, probe=start)
    before = parts.snapshot(model)
    yield Phase("all, discriminative", rates(model, lr, decay), epochs)
    model.load_state_dict(parts.average([before, parts.snapshot(model)], [1 - alpha, alpha]))
