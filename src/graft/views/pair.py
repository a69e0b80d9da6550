"""Two random views of each picture, as SimCLR makes them (Chen et al. 2020, arXiv:2002.05709, appendix A)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from graft.augment import Basic
from graft.device import seed_of
from graft.types import Inputs


@final
@dataclass(frozen=True)
class Pair:
    """A crop of at least `scale` of the area, its mirror image, jitter of colours and greys; of each picture two."""

    scale: float = 0.2
    flip: bool = True
    colour: float = 0.5
    grey: float = 0.2

    def __call__(self, samples: Tensor, size: int, seeds: Sequence[int]) -> Inputs:
        """(B, 3, R, R) uint8 -> (2 B, 3, size, size) uint8: the two views of a sample one after the other."""
        view = Basic(self.scale, self.flip, 0.0, min(0.9, self.colour))
        each = [view(one, size, seed_of(seed, "pair", i)) for one, seed in zip(samples, seeds, strict=True)
                for i in range(2)]  # fmt: skip
        return Inputs(torch.stack(each).contiguous(memory_format=torch.channels_last))
