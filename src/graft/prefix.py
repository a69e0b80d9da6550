"""The stages before a boundary as one module: what an engine is given to run."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor, nn

from graft.types import Backbone, Inputs

Run = Callable[[Tensor, Tensor | None], Tensor]  # (B, ...) and the mask (B, T) of sequences -> what is kept, (B, ...)
Build = Callable[["Prefix", Tensor, Tensor | None, torch.dtype], Run]  # what an engine is, given inputs to look at


@final
class Prefix(nn.Module):
    """`gives`: "stage", what the last of the stages hands on; "pooled", what a head takes; "stages", their means.

    The stages are those of the backbone itself: an engine that changes them changes a copy.
    """

    def __init__(self, backbone: Backbone, boundary: int, gives: str) -> None:
        super().__init__()
        stages = list(backbone.stages)[:boundary]
        self.trunk = Backbone(backbone.info, stages, backbone.preprocess, backbone.readout)
        self.gives = gives
        self.window: int | None = getattr(backbone.preprocess, "length", None)  # positions that are seen at once

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        inputs = Inputs(x, mask)
        if self.gives == "stages":
            return self.trunk.every_stage(inputs)
        if self.gives == "pooled":
            return self.trunk(inputs).pooled  # type: ignore[no-any-return]
        return self.trunk.encode(inputs).x


def widest(prefix: Prefix, x: Tensor, mask: Tensor | None) -> int:
    """The most numbers that one module hands on for one sample: what decides how many of them go in a batch."""
    sizes: list[int] = []

    def look(module: nn.Module, inputs: object, out: object) -> None:
        if isinstance(out, Tensor):
            sizes.append(out.numel())

    hooks = [module.register_forward_hook(look) for module in prefix.modules()]
    try:
        with torch.inference_mode():
            prefix(x[:1], None if mask is None else mask[:1])
    finally:
        for hook in hooks:
            hook.remove()
    return max(sizes)
