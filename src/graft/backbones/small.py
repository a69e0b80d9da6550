"""Graft's own small residual network with random weights: what `pretrain` starts from and the from-scratch control."""

from __future__ import annotations

from graft.backbones._images import Images
from graft.backbones._readout import maps
from graft.nn.small import small as stages_of
from graft.spec import Spec
from graft.types import Backbone, Info


def small(
    *,
    size: int = 64,
    widths: tuple[int, ...] = (32, 64, 128, 384),
    blocks: tuple[int, ...] = (1, 1, 1, 1),
    expand: int = 0,
    pretrained: bool = True,
) -> Backbone:
    """`pretrained` is there because every source has it; these weights are always random."""
    stages = stages_of(widths, blocks, expand)
    wider = {"expand": expand} if expand else {}
    source = Spec("small", None, {"size": size, "widths": widths, "blocks": blocks, **wider})
    count = sum(p.numel() for stage in stages for p in stage.parameters())
    info = Info(source, "image", expand or widths[-1], licence="Apache-2.0", parameters=count)
    return Backbone(info, stages, Images(size=size, resize=size + size // 8), maps)
