"""Two random views of each picture, as SimCLR makes them (Chen et al. 2020, arXiv:2002.05709, appendices A and B.9).

A crop of at least `scale` of the area, its mirror image, jitter of the colours at strength `colour` for four of five
views, greys for one of five. The colours are those of the paper for CIFAR-10, where nothing is blurred; of photographs
it blurs half. Crops are from 0.2 of the area on, as in MoCo (He et al. 2020), and not from 0.08: of a small picture
that would be a few pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple, final

import torch
from torch import Tensor

from graft.augment import Box, box, crops, within
from graft.types import Inputs
from graft.views import _colours

VIEWS = 2
JITTERED = 0.8  # share of the views whose colours are changed
_HUE = 0.25  # of the strength of the other three: 0.2 and 0.8 in the paper
_SIGMA = (0.1, 2.0)  # pixels
_AT_ONCE = 1 << 20  # values whose colours are changed at a time: floats and their copies stay within some MB


class _Draw(NamedTuple):
    """What is random about one view."""

    box: Box
    mirrored: bool
    jittered: bool
    factors: tuple[float, ...]  # of brightness, contrast, saturation; a part of the circle of hues
    order: tuple[int, ...]
    grey: bool
    sigma: float  # of the blur; 0: none


@final
@dataclass(frozen=True)
class Pair:
    """`grey` and `blur` are shares of the views. Raises UsageError for a number outside of its range."""

    scale: float = 0.2
    flip: bool = True
    colour: float = 0.5
    grey: float = 0.2
    blur: float = 0.0

    def __post_init__(self) -> None:
        within(0 < self.scale <= 1, "scale", self.scale, "a share of the picture", "0 < scale <= 1")
        within(0 <= self.colour <= 1.25, "colour", self.colour, "a strength", "0 <= colour <= 1.25")
        within(0 <= self.grey <= 1, "grey", self.grey, "a share of the views", "0 <= grey <= 1")
        within(0 <= self.blur <= 1, "blur", self.blur, "a share of the views", "0 <= blur <= 1")

    def __call__(self, samples: Tensor, size: int, seeds: Sequence[int]) -> Inputs:
        """(B, 3, R, R) uint8 -> `x` (2 B, 3, size, size) uint8: the two views of a sample one after the other; `truth`
        (2 B,): which of the two it is, 0 or 1."""
        drawn = [one for seed in seeds for one in self.draws(seed, samples.shape[-1])]
        rows = [row for row in range(len(samples)) for _ in range(VIEWS)]
        made = crops(samples, rows, [one.box for one in drawn], [one.mirrored for one in drawn], size)
        few = max(1, _AT_ONCE // made[:1].numel())
        for start in range(0, len(made), few):
            planes = made[start : start + few].contiguous().float()
            made[start : start + few] = _coloured(planes, drawn[start : start + few]).round_().to(torch.uint8)
        return Inputs(made, truth=torch.arange(VIEWS, device=made.device).repeat(len(samples)))

    def draws(self, seed: int, side: int) -> list[_Draw]:
        """Of the two views of a picture of `side` pixels."""
        draw = Random(seed)  # noqa: S311 - not a secret
        return [self._draw(draw, side) for _ in range(VIEWS)]

    def _draw(self, draw: Random, side: int) -> _Draw:
        where, mirrored = box(draw, side, self.scale), self.flip and draw.random() < 0.5
        jittered, most = draw.random() < JITTERED and self.colour > 0, 0.8 * self.colour
        factors = [draw.uniform(max(0.0, 1 - most), 1 + most) for _ in range(3)]
        turn, order = draw.uniform(-_HUE * most, _HUE * most), tuple(draw.sample(range(4), 4))
        grey, blurs = draw.random() < self.grey, draw.random() < self.blur
        return _Draw(where, mirrored, jittered, (*factors, turn), order, grey, draw.uniform(*_SIGMA) * blurs)


def _coloured(planes: Tensor, drawn: Sequence[_Draw]) -> Tensor:
    """(B, 3, H, W) float, 0 to 255, each as it was drawn: jitter, greys, blur."""
    rows = [i for i, one in enumerate(drawn) if one.jittered]
    if rows:
        factors = torch.tensor([drawn[i].factors for i in rows], device=planes.device)
        orders = torch.tensor([drawn[i].order for i in rows], device=planes.device)
        planes[rows] = _colours.jitter(planes[rows], factors, orders)
    rows = [i for i, one in enumerate(drawn) if one.grey]
    if rows:
        planes[rows] = _colours.grey(planes[rows]).expand(-1, 3, -1, -1)
    rows = [i for i, one in enumerate(drawn) if one.sigma]
    if rows:
        sigma = torch.tensor([drawn[i].sigma for i in rows], device=planes.device)
        planes[rows] = _colours.blurred(planes[rows], sigma)
    return planes
