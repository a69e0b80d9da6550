"""Fine-tune the head and the trunk, or only its last k stages, at once (Yosinski et al. 2014, arXiv:1411.1792)."""

from __future__ import annotations

from graft import parts
from graft.types import Flow, Model, Phase


def full(
    model: Model, *, epochs: int = 10, lr: float | None = None, head_lr: float | None = None, last: int | None = None
) -> Flow:
    """`last` moves only the k stages nearest to the head. `lr`: that of the trunk, unless told otherwise.

    The head learns ten times as fast unless told otherwise.
    """
    rate = parts.rate(model, 1.0, lr)
    trunk = parts.group(parts.stages(model, last), rate)
    head = parts.group(parts.head(model), 10 * rate if head_lr is None else head_lr)
    name = "all" if last is None else f"last {last}"
    yield Phase(name, (head, trunk), epochs)
