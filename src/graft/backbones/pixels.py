"""No network at all: the pixels themselves, as the control that every trunk has to beat."""

from __future__ import annotations

from torch import nn

from graft.backbones._images import Images
from graft.backbones._readout import vector
from graft.spec import Spec
from graft.types import Backbone, Info


def pixels(*, size: int = 16, pretrained: bool = True) -> Backbone:
    """(B, 3, size, size) -> (B, 3 * size * size). There is nothing to pretrain."""
    info = Info(Spec("pixels", None, {"size": size}), "image", 3 * size * size, licence="none needed")
    return Backbone(info, [nn.Flatten()], Images(size=size, resize=size), vector)
