"""Mel-frequency cepstral coefficients (Davis & Mermelstein 1980): what a spectrum's shape comes to in a few numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from graft.backbones._mel import Mel, padded, seen
from graft.errors import UsageError
from graft.types import Inputs, Json, SoundView


@final
@dataclass(frozen=True)
class Cepstra:
    """A front (Front of _sounds.py): positions are frames; `count` coefficients, then their slopes over `width` frames.

    The level is that below the loudest of the sound, so a gain changes nothing.
    """

    mel: Mel
    count: int = 13
    width: int = 9
    length: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        if not 1 <= self.count <= self.mel.mels:
            what = f"count={self.count}: {self.mel.mels} mel filters give 1 to {self.mel.mels} coefficients"
            raise UsageError(what, "choose count=13")
        if self.width < 3 or self.width % 2 == 0:
            raise UsageError(f"width={self.width}: a slope is over an odd number of frames", "choose width=9")

    @property
    def dim(self) -> int:
        return 2 * self.count

    def positions(self, samples: int) -> int:
        return self.mel.frames(samples)

    def inputs(self, waves: Sequence[Tensor], view: SoundView | None = None, seeds: Sequence[int] = ()) -> Inputs:
        """B waves (n_i,) -> x (B, T, 2 * count), mask (B, T)."""
        levels = [self.mel.log(wave) for wave in waves]
        shown = [seen(level - level.max(), view, seeds, i, self.mel.top).frames for i, level in enumerate(levels)]
        return padded([self._with_slopes(one @ cosines(self.mel.mels, self.count)) for one in shown])

    def json(self) -> Json:
        return {"kind": "mfcc", **asdict(self)}

    def _with_slopes(self, cepstra: Tensor) -> Tensor:
        return torch.cat([cepstra, slopes(cepstra, self.width)], 1)


def cosines(size: int, count: int) -> Tensor:
    """(size, count): the first columns of the orthonormal DCT-II."""
    angle = math.pi / size * (torch.arange(size, dtype=torch.float64)[:, None] + 0.5) * torch.arange(count)
    scale = torch.full((count,), math.sqrt(2 / size), dtype=torch.float64)
    scale[0] = math.sqrt(1 / size)
    return (angle.cos() * scale).float()


def slopes(frames: Tensor, width: int) -> Tensor:
    """(T, F) -> (T, F): the line of least squares through `width` frames, the ends repeated (HTK's deltas: Young et
    al., The HTK Book, 2006, 5.9; librosa.feature.delta with mode="nearest")."""
    half = width // 2
    ends = torch.arange(-half, len(frames) + half).clamp(0, len(frames) - 1)
    steps = torch.arange(-half, half + 1, dtype=frames.dtype)
    return frames[ends].unfold(0, width, 1) @ steps / steps.square().sum()


def cepstra(record: Json) -> Cepstra:
    """What `Cepstra.json` wrote."""
    return Cepstra(Mel(**record["mel"]), record["count"], record["width"])
