"""What is left of a picture of which most patches are hidden, and what these hold (He et al. 2022, arXiv:2111.06377).

Hidden patches show the mean colour of those that are seen: a convolution cannot leave them out, as the authors'
transformer does, and SimMIM (Xie et al. 2022, arXiv:2111.09886) hides them in the input, too. What is to be guessed is
in units of the patch itself, its values less their mean by their deviation (the authors' better targets), so that the
mean, which any neighbour gives away, is not asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from graft.augment import Basic, within
from graft.types import Inputs

TINY = 1e-6  # of a variance, in units of 0..1, as the authors add it: a patch of one colour is all zeros


@final
@dataclass(frozen=True)
class Patches:
    """`share` of `grid` x `grid` patches are hidden, of crops of at least `scale` of the area; `flip`: half of them
    mirrored. Raises UsageError for a number outside of its range.

    The authors' grid is 14, of 16 pixels; of small pictures patches of an eighth of the side are what their maps can
    tell. Where the grid does not divide the side, the last patches are cut by the border.
    """

    share: float = 0.75
    grid: int = 8
    scale: float = 0.2
    flip: bool = True

    def __post_init__(self) -> None:
        within(0 < self.share < 1, "share", self.share, "a share of the patches", "0 < share < 1")
        within(self.grid >= 2, "grid", self.grid, "a number of patches in a line", "grid >= 2")
        within(0 < self.scale <= 1, "scale", self.scale, "a share of the picture", "0 < scale <= 1")

    def __call__(self, samples: Tensor, size: int, seeds: Sequence[int]) -> Inputs:
        """(B, 3, R, R) uint8 -> `x` (B, 3, size, size) uint8 and `truth` (B, P, 3 p p) float32: the values of each
        patch, colour by colour and line by line, nan where it is seen, or reaches beyond the picture. The P patches
        are line by line, of p pixels."""
        crops = Basic(self.scale, self.flip, 0.0, 0.0)(samples, size, seeds).x
        side = -(-size // self.grid)  # p, rounded up
        lines = -(-size // side)
        hidden = self._hidden(lines * lines, seeds).to(crops.device)
        truth = told(crops.float() / 255, side).masked_fill(~hidden[..., None], torch.nan)
        marks = hidden.view(-1, 1, lines, lines).repeat_interleave(side, 2).repeat_interleave(side, 3)
        x = _blanked(crops, marks[..., :size, :size])
        return Inputs(x.contiguous(memory_format=torch.channels_last), truth=truth)

    def _hidden(self, patches: int, seeds: Sequence[int]) -> Tensor:
        """(B, P) True where hidden; at least one, and not all."""
        count = min(patches - 1, max(1, round(self.share * patches)))
        marks = np.zeros((len(seeds), patches), dtype=bool)
        for row, seed in zip(marks, seeds, strict=True):
            row[np.random.default_rng(seed).permutation(patches)[:count]] = True
        return torch.from_numpy(marks)


def told(pictures: Tensor, side: int) -> Tensor:
    """(B, 3, H, H) 0..1 -> (B, P, 3 p p): the patches of `side` pixels in units of their own, nan beyond the border."""
    beyond = -pictures.shape[-1] % side
    patches = nn.functional.pad(pictures, (0, beyond, 0, beyond), value=torch.nan)
    patches = nn.functional.unfold(patches, side, stride=side).mT
    there = ~patches.isnan()
    count = there.sum(-1, keepdim=True)
    apart = patches - patches.nansum(-1, keepdim=True) / count
    variance = apart.square().nansum(-1, keepdim=True) / (count - 1).clamp_min(1)
    return apart / (variance + TINY).sqrt()


def _blanked(pictures: Tensor, hidden: Tensor) -> Tensor:
    """(B, 3, H, H) uint8 and (B, 1, H, H) -> the same with the mean colour of what is seen where it is hidden."""
    values = pictures.float().masked_fill(hidden, 0)
    mean = values.sum((2, 3), keepdim=True) / (~hidden).sum((2, 3), keepdim=True)
    return torch.where(hidden, mean.round().to(torch.uint8), pictures)
