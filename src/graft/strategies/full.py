"""Fine-tune the head and the trunk, or only its last k stages, at once (Yosinski et al. 2014, arXiv:1411.1792)."""

from __future__ import annotations

from graft import parts
from graft.types import Flow, Model, Phase


def full(
    model: Model, *, epochs: int = 10, lr: float = 1e-3, head_lr: float | None = None, last: int | None = None
) -> Flow:
    """`last` moves only the k stages nearest to the head. The head learns ten times as fast unless told otherwise."""
    rate = 10 * lr if head_lr is None else head_lr
    trunk = parts.group(parts.stages(model, last), lr)
    name = "all" if last is None else f"last {last}"
    yield Phase(name, (parts.group(parts.head(model), rate), trunk), epochs)
