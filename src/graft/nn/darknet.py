"""Tiny Darknet (Redmon 2016, pjreddie.com/darknet/tiny-darknet): ImageNet-1K in 4 MB, sixteen convolutions.

As in the Keras port: inputs in 0..1, leaky ReLU of slope 0.1, BatchNorm with eps 1e-3, and the class scores are the
mean over the map of the last 1x1 convolution.
"""

from __future__ import annotations

from torch import Tensor, nn

# (kernel, channels) of each convolution; the narrow last one is a stage of its own, made for the classes of ImageNet
GROUPS = (
    ((3, 16),),
    ((3, 32),),
    ((1, 16), (3, 128), (1, 16), (3, 128)),
    ((1, 32), (3, 256), (1, 32), (3, 256)),
    ((1, 64), (3, 512), (1, 64), (3, 512)),
    ((1, 128),),
)
POOLED = (False, True, True, True, True, False)  # does a max-pool come before the group?
DIM = GROUPS[-1][-1][1]


class Unit(nn.Module):
    """Convolution, BatchNorm, leaky ReLU. (B, inputs, H, W) -> (B, outputs, H, W)."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, 1, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3)
        self.act = nn.LeakyReLU(0.1)
        nn.init.kaiming_normal_(self.conv.weight, a=0.1, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.norm(self.conv(x)))
        return y


class DarknetTiny(nn.Module):
    """(B, 3, H, W) -> (B, classes); the features before the classifier are (B, 128, H/16, W/16).

    The mean and a 1x1 convolution commute, so the classifier is a plain Linear on the pooled map.
    """

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.groups = nn.ModuleList()
        inputs = 3
        for group, pooled in zip(GROUPS, POOLED, strict=True):
            layers: list[nn.Module] = [nn.MaxPool2d(2, 2, ceil_mode=True)] if pooled else []
            for kernel, outputs in group:
                layers.append(Unit(inputs, outputs, kernel))
                inputs = outputs
            self.groups.append(nn.Sequential(*layers))
        self.linear = nn.Linear(DIM, classes)

    def stages(self) -> list[nn.Module]:
        return list(self.groups)

    def units(self) -> list[Unit]:
        """The fifteen convolutions before the classifier, input first."""
        return [layer for layer in self.modules() if isinstance(layer, Unit)]

    def forward(self, x: Tensor) -> Tensor:
        for group in self.groups:
            x = group(x)
        scores: Tensor = self.linear(x.mean((2, 3)))
        return scores
