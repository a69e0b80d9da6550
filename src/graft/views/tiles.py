"""Nine tiles of each picture in another order, as jigsaw puzzles (Noroozi & Favaro 2016, arXiv:1603.09246).

As there, the picture is divided into 3 x 3 cells, and of each a tile of 64/75 of its side is cut at a random place, so
that no line can be followed from one tile into the next; each colour of each tile is brought to one mean and deviation,
as neighbours are alike in these; and three of ten pictures are shown in grey. To shift the colours against each other,
as the authors do, is left out: on small canvases it is less than a pixel.

The order is one of a set of permutations that are far from each other (`permutations`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any, NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from graft.augment import within
from graft.types import Inputs
from graft.views import _colours

SIDE = 3
VIEWS = SIDE * SIDE
MOST = 1000  # permutations: what the authors take at most
SHARE = 64 / 75  # of a cell's side that its tile shows
LEAST = 16  # pixels of a tile as the network sees it: of fewer a trunk of stride 16 makes nothing
FEWEST = 16  # that may be asked for: tiles of one pixel show nothing, and a loss was not finite
_CHOSEN = 30_000  # more agreements than there can be, with room for those that are added
MEAN, DEVIATION = 128.0, 48.0  # of each colour of a tile, in bytes: 2.6 deviations either way


class _Draw(NamedTuple):
    """What is random about one picture."""

    order: int
    mirrored: bool
    grey: bool
    corner: tuple[int, int]  # of the 3 x 3 cells in the canvas
    offsets: tuple[tuple[int, int], ...]  # of the nine tiles in their cells


@final
@dataclass(frozen=True)
class Tiles:
    """`count` permutations to choose from; `grey`: share of the pictures without colours; `flip`: half of them
    mirrored, which the authors do not, but few pictures become more by it; `tile`: pixels of a tile's side as the
    network sees it, at least 8, None: as it is cut, or 16 if that is less. Raises UsageError for a number outside
    of its range."""

    count: int = 100
    grey: float = 0.3
    flip: bool = True
    tile: int | None = None

    def __post_init__(self) -> None:
        within(2 <= self.count <= MOST, "permutations", self.count, "a number of orders", f"2 to {MOST}")
        within(0 <= self.grey <= 1, "grey", self.grey, "a share of the pictures", "0 <= grey <= 1")
        enough = self.tile is None or self.tile >= FEWEST
        within(enough, "tile", self.tile, "a side in pixels", f"tile >= {FEWEST}, or leave it out")

    def __call__(self, samples: Tensor, size: int, seeds: Sequence[int]) -> Inputs:
        """(B, 3, R, R) uint8 -> `x` (9 B, 3, t, t) uint8: at place i of a picture its tile `permutations[order][i]`,
        counted line by line; `truth` (9 B,): the order, nine times each. `size` decides nothing."""
        side = samples.shape[-1]
        drawn = [self._draw(Random(seed), side) for seed in seeds]  # noqa: S311 - not secrets
        order = torch.tensor([one.order for one in drawn], dtype=torch.long)
        places = torch.from_numpy(permutations(self.count)).long()[order]  # (B, 9)
        tiles = _cut(samples, drawn, side // SIDE)
        tiles = tiles[torch.arange(len(samples))[:, None], places].flatten(0, 1)
        made = _bytes(_seen(_normalised(tiles), self.tile or max(LEAST, tiles.shape[-1])))
        return Inputs(made, truth=order.repeat_interleave(VIEWS).to(samples.device))

    def _draw(self, draw: Random, side: int) -> _Draw:
        cell = side // SIDE
        slack, gap = side - SIDE * cell, cell - tile_of(cell)
        order, mirrored, grey = draw.randrange(self.count), self.flip and draw.random() < 0.5, draw.random() < self.grey
        corner = draw.randint(0, slack), draw.randint(0, slack)
        offsets = tuple((draw.randint(0, gap), draw.randint(0, gap)) for _ in range(VIEWS))
        return _Draw(order, mirrored, grey, corner, offsets)


def tile_of(cell: int) -> int:
    """Pixels of the side of a tile that is cut out of a cell."""
    return max(1, int(cell * SHARE))


def _cut(samples: Tensor, drawn: Sequence[_Draw], cell: int) -> Tensor:
    """(B, 3, R, R) uint8 -> (B, 9, 3, t, t) float: the tiles line by line, mirrored and grey where that was drawn."""
    device, side = samples.device, samples.shape[-1]
    rows, columns = (line.to(device) for line in _lines(drawn, cell))  # (B, 9, t)
    mirrored = torch.tensor([one.mirrored for one in drawn], dtype=torch.bool, device=device).view(-1, 1, 1)
    columns = torch.where(mirrored, side - 1 - columns, columns)
    which = torch.arange(len(samples), device=device).view(-1, 1, 1, 1)
    pixels = samples.permute(0, 2, 3, 1)[which, rows[..., :, None], columns[..., None, :]]  # (B, 9, t, t, 3)
    tiles = pixels.permute(0, 1, 4, 2, 3).float()
    grey = torch.tensor([i for i, one in enumerate(drawn) if one.grey], dtype=torch.long, device=device)
    tiles[grey] = _colours.grey(tiles[grey].flatten(0, 1)).unflatten(0, (-1, VIEWS))
    return tiles


def _lines(drawn: Sequence[_Draw], cell: int) -> tuple[Tensor, Tensor]:
    """The rows and the columns (B, 9, t) of the pixels of each tile in its picture."""
    corners = torch.tensor([one.corner for one in drawn], dtype=torch.long).view(-1, 1, 2)
    offsets = torch.tensor([one.offsets for one in drawn], dtype=torch.long).view(-1, VIEWS, 2)
    cells = cell * torch.tensor([divmod(place, SIDE) for place in range(VIEWS)])
    start, run = corners + offsets + cells, torch.arange(tile_of(cell))
    return start[..., 0, None] + run, start[..., 1, None] + run


def _normalised(tiles: Tensor) -> Tensor:
    """Each colour of each tile to MEAN and DEVIATION; one without any difference is all MEAN."""
    apart = tiles - tiles.mean((2, 3), keepdim=True)
    spread = apart.square().mean((2, 3), keepdim=True).sqrt()
    return MEAN + DEVIATION * apart / spread.clamp_min(0.5)  # half a byte: rounding is no contrast


def _seen(tiles: Tensor, side: int) -> Tensor:
    if tiles.shape[-1] == side:
        return tiles
    return nn.functional.interpolate(tiles, (side, side), mode="bilinear", antialias=True)


def _bytes(tiles: Tensor) -> Tensor:
    return tiles.round().clamp(0, 255).to(torch.uint8).contiguous(memory_format=torch.channels_last)


@cache
def permutations(count: int, of: int = VIEWS) -> NDArray[Any]:
    """(count, of) uint8: the greedy choice of the paper's algorithm 1, of all permutations the one whose Hamming
    distance to those chosen before is largest on average; of equals the first in the order of the lexicon.

    It begins with the identity, where the authors draw one: any other would give the same set with the tiles renamed,
    up to ties. How often each of the 9! agrees with those chosen is kept and added to.
    """
    every = _every(of)
    columns, chosen = np.ascontiguousarray(every.T), [0]
    alike = np.zeros(len(every), dtype=np.uint16)
    while len(chosen) < min(count, len(every)):
        last = chosen[-1]
        for column, value in zip(columns, every[last], strict=True):
            np.add(alike, column == value, out=alike, casting="unsafe")
        alike[last] = _CHOSEN
        chosen.append(int(alike.argmin()))
    return every[chosen]


@cache
def _every(of: int) -> NDArray[Any]:
    """(of!, of) uint8, in the order of the lexicon."""
    made = np.zeros((1, 0), dtype=np.uint8)
    for size in range(1, of + 1):
        first = np.repeat(np.arange(size, dtype=np.uint8), len(made))[:, None]
        rest = np.tile(made, (size, 1))
        made = np.hstack([first, rest + (rest >= first)])
    return made
