"""A network of a few thousand random weights, for tests and for trying things out in a second."""

from __future__ import annotations

import torch
from torch import nn

from graft.backbones._images import Images
from graft.backbones._readout import maps
from graft.checkpoint import digest
from graft.spec import Spec
from graft.types import Backbone, Info


def toy(*, size: int = 16, dim: int = 32, pretrained: bool = True) -> Backbone:
    """Four stages, one with BatchNorm and one with dropout, so that the contracts have something to catch.

    The weights are random but always the same ones: the "pretrained" toy is the one of seed 0.
    """
    with torch.random.fork_rng():
        if pretrained:
            torch.manual_seed(0)
        stages = [
            nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1), nn.BatchNorm2d(16), nn.ReLU()),
            nn.Sequential(nn.Conv2d(16, dim, 3, 2, 1), nn.ReLU()),
            nn.Sequential(nn.Dropout(0.1), nn.Conv2d(dim, dim, 3, 2, 1), nn.BatchNorm2d(dim), nn.ReLU()),
            nn.MaxPool2d(2),
        ]
    source = Spec("toy", None, {"size": size, "dim": dim})
    count = sum(p.numel() for stage in stages for p in stage.parameters())
    sha256 = digest(item for stage in stages for item in stage.state_dict().items()) if pretrained else ""
    info = Info(source, "image", dim, licence="Apache-2.0", sha256=sha256, parameters=count)
    return Backbone(info, stages, Images(size=size, resize=size), maps)
