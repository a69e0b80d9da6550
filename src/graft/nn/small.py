"""A small residual network for 64-pixel images on two cores (He et al. 2016, arXiv:1512.03385, without bottlenecks).

A stem of stride 2, then four stages that halve the map. The last stage is wide because it is cheap there (4 x 4 pixels)
and because its width is what a linear probe gets to see.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


def _conv(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut. (B, inputs, H, W) -> (B, outputs, H/stride, W/stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*_conv(inputs, outputs, 3, stride), nn.ReLU(), *_conv(outputs, outputs, 3, 1))
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else _conv(inputs, outputs, 1, stride)
        last = self.body[-1]
        assert isinstance(last, nn.BatchNorm2d)
        nn.init.zeros_(last.weight)  # each block begins as its shortcut (Goyal et al. 2017)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


def small(
    widths: Sequence[int] = (32, 64, 128, 384), blocks: Sequence[int] = (1, 1, 1, 1), expand: int = 0
) -> list[nn.Module]:
    """The stages, input first: the stem and one stage a width. (B, 3, H, W) -> (B, widths[-1], H/16, W/16).

    `expand` adds a last stage of 1x1 convolutions that many channels wide (Sandler et al. 2018, arXiv:1801.04381): it
    costs little, and a linear probe has more to choose from.
    """
    stages: list[nn.Module] = [nn.Sequential(*_conv(3, widths[0], 3, 2), nn.ReLU())]
    inputs = widths[0]
    for i, (width, depth) in enumerate(zip(widths, blocks, strict=True)):
        strides = [2 if i else 1] + [1] * (depth - 1)
        stages.append(nn.Sequential(*(Block(inputs if k == 0 else width, width, s) for k, s in enumerate(strides))))
        inputs = width
    if expand:
        stages.append(nn.Sequential(*_conv(inputs, expand, 1, 1), nn.ReLU()))
    return stages
