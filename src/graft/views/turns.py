"""All quarter turns of each picture, as RotNet sees them (Gidaris et al. 2018, arXiv:1803.07728).

A random crop and its mirror image first, then the four turns of it, in one batch. Turns by 90 degrees only move pixels,
so nothing that a resampling leaves behind gives the answer away. The authors crop a fixed share of the area, 0.77 of
photographs; here at least `scale` of it, as few pictures need more variety.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from graft.augment import Basic, within
from graft.types import Inputs

VIEWS = 4


@final
@dataclass(frozen=True)
class Turns:
    """Crops of at least `scale` of the area; `flip`: half of them mirrored. Raises UsageError for a wrong number."""

    scale: float = 0.5
    flip: bool = True

    def __post_init__(self) -> None:
        within(0 < self.scale <= 1, "scale", self.scale, "a share of the picture", "0 < scale <= 1")

    def __call__(self, samples: Tensor, size: int, seeds: Sequence[int]) -> Inputs:
        """(B, 3, R, R) uint8 -> `x` (4 B, 3, size, size) uint8: of each picture 0, 90, 180 and 270 degrees, counter
        to the clock; `truth` (4 B,) are the quarters, 0 to 3."""
        crops = Basic(self.scale, self.flip, 0.0, 0.0)(samples, size, seeds).x
        turned = torch.stack([crops.rot90(quarters, (2, 3)) for quarters in range(VIEWS)], 1).flatten(0, 1)
        truth = torch.arange(VIEWS, device=crops.device).repeat(len(samples))
        return Inputs(turned.contiguous(memory_format=torch.channels_last), truth=truth)
