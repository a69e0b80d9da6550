"""What strategies are written with: pieces of a model, and groups of them at a learning rate."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from graft.errors import UsageError
from graft.types import Group, Model


def head(model: Model) -> list[nn.Module]:
    return [model.head]


def stages(model: Model, last: int | None = None) -> list[nn.Module]:
    """The backbone's stages that have parameters, input first; `last` keeps the k nearest to the head."""
    moving = [stage for stage in model.backbone.stages if any(True for _ in stage.parameters())]
    if last is None:
        return moving
    if not 0 <= last <= len(moving):
        raise UsageError(f"last={last}, but this backbone has {len(moving)} stages with weights",
                         f"choose last between 0 and {len(moving)}")  # fmt: skip
    return moving[len(moving) - last :]


def group(modules: Iterable[nn.Module], lr: float) -> Group:
    """One group of all parameters in `modules`, each once."""
    params = {id(p): p for module in modules for p in module.parameters()}
    return Group(tuple(params.values()), lr)
