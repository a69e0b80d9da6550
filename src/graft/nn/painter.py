"""A light decoder: from what a trunk makes of places of a picture to the values of its patches.

Two convolutions, on the grid of the patches. The decoder of masked autoencoders (He et al. 2022, arXiv:2111.06377) is a
transformer, as what it gets has no places of hidden patches; here the trunk has seen all places, and a light one
suffices (SimMIM, Xie et al. 2022, arXiv:2111.09886: one layer is no worse than more).
"""

from __future__ import annotations

from typing import final

from torch import Tensor, nn
from torch.nn import functional as F


@final
class Painter(nn.Module):
    """(B, C, h, h) -> (B, G * G, values): of a grid of G x G patches, line by line.

    Each place is told apart into the patches that it covers (sub-pixel convolution, Shi et al. 2016, arXiv:1609.05158);
    where the two grids do not fit, the finer one is averaged to that of the patches.
    """

    def __init__(self, channels: int, side: int, grid: int, values: int, width: int) -> None:
        super().__init__()
        self.grid, self.times = grid, -(-grid // side)
        self.norm = nn.LayerNorm(channels)
        self.spread = nn.Linear(channels, width * self.times**2)
        self.look_around = nn.Conv2d(width, width, 3, padding=1)
        self.say = nn.Linear(width, values)

    def forward(self, maps: Tensor) -> Tensor:
        spread = self.spread(self.norm(maps.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        patches = F.gelu(F.pixel_shuffle(spread, self.times))
        if patches.shape[-1] != self.grid:
            patches = F.adaptive_avg_pool2d(patches, self.grid)
        said: Tensor = self.say(F.gelu(self.look_around(patches)).flatten(2).mT)
        return said
