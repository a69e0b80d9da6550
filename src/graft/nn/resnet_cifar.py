"""The residual network for 32-pixel images (He et al. 2016, arXiv:1512.03385, section 4.2), shortcuts of option A.

Parameter names are those of akamaster/pytorch_resnet_cifar10, so that its public checkpoints load as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graft.errors import UsageError


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut. (B, inputs, H, W) -> (B, outputs, H/stride, W/stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.extra = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))

    def shortcut(self, x: Tensor) -> Tensor:
        """Option A: every second pixel, and zeros for the new channels, half before and half after."""
        if self.stride == 1 and self.extra == 0:
            return x
        before = self.extra // 2
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.extra - before))


class ResNetCifar(nn.Module):
    """depth = 6n + 2: a 3x3 stem and three groups of n blocks, 16, 32 and 64 channels. (B, 3, H, W) -> (B, classes).

    Raises UsageError when no n gives the depth.
    """

    def __init__(self, depth: int = 20, classes: int = 10) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise UsageError(f"resnet_cifar cannot have depth {depth}",
                             "choose depth=20, 32, 44, 56, 110 or another 6n + 2")  # fmt: skip
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        blocks = (depth - 2) // 6
        self.layer1 = _group(16, 16, 1, blocks)
        self.layer2 = _group(16, 32, 2, blocks)
        self.layer3 = _group(32, 64, 2, blocks)
        self.linear = nn.Linear(64, classes)
        self.apply(_initialise)

    def stages(self) -> list[nn.Module]:
        return [nn.Sequential(self.conv1, self.bn1, nn.ReLU()), self.layer1, self.layer2, self.layer3]

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages():
            x = stage(x)
        return torch.as_tensor(self.linear(x.mean((2, 3))))


def _group(inputs: int, outputs: int, stride: int, blocks: int) -> nn.Sequential:
    rest = (Block(outputs, outputs, 1) for _ in range(blocks - 1))
    return nn.Sequential(Block(inputs, outputs, stride), *rest)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.kaiming_normal_(module.weight)
