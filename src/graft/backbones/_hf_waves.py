"""A front that hands on the wave itself, cut into pieces, one for each frame of a convolutional encoder.

For wav2vec 2.0 (Baevski et al. 2020, arXiv:2006.11477) and its kin: without padding in their convolutions, frame t is
made of the samples [t * hop, t * hop + field) and of no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from graft.backbones._extractors import built
from graft.types import Inputs, Json, SoundView


@final
@dataclass(frozen=True)
class Waves:
    """A front (Front of _sounds.py): positions are frames, each with the piece of the wave that it is made of.

    Piece t is wave[t * hop : t * hop + field + hop - 1] and, as its last number, how many samples of it belong to the
    frame: `field`, and in the last frame also those behind that make up no frame of their own, which a norm over time
    sees. So a row needs none of its neighbours. Sounds of more than `length` frames are several windows.
    """

    extractor: Json
    hop: int
    field: int
    length: int

    @cached_property
    def _extractor(self) -> Any:
        return built(self.extractor)

    def positions(self, samples: int) -> int:
        return max(1, (samples - self.field) // self.hop + 1)

    def inputs(self, waves: Sequence[Tensor], view: SoundView | None = None, seeds: Sequence[int] = ()) -> Inputs:
        """B waves (n_i,) -> x (B, T, field + hop), mask (B, T). There is no spectrogram for a view to see."""
        counts = [self.positions(len(wave)) for wave in waves]
        width = max(counts)
        if width > self.length:
            width = -(-width // self.length) * self.length  # windows are whole
        x = torch.zeros(len(waves), width, self.field + self.hop)
        for row, wave, count in zip(x, waves, counts, strict=True):
            row[:count] = pieces(self._normal(wave), self.hop, self.field)
        return Inputs(x, torch.arange(width) < torch.tensor(counts)[:, None])

    def json(self) -> Json:
        return {"kind": "waves", "extractor": self.extractor, "hop": self.hop, "field": self.field,
                "length": self.length}  # fmt: skip

    def _normal(self, wave: Tensor) -> Tensor:
        rate = self.extractor["sampling_rate"]
        made = self._extractor([wave.numpy()], sampling_rate=rate)["input_values"][0]
        return torch.from_numpy(np.asarray(made, np.float32))


def waves(record: Json) -> Waves:
    """What `Waves.json` wrote."""
    return Waves(**{key: value for key, value in record.items() if key != "kind"})


def pieces(wave: Tensor, hop: int, field: int) -> Tensor:
    """(n,) -> (T, field + hop), as Waves describes them; silence stands behind a wave that is shorter than a frame."""
    size = max(len(wave), field)
    count = (size - field) // hop + 1
    rows = pad(wave, (0, count * hop + field - 1 - len(wave))).unfold(0, field + hop - 1, hop)
    mine = torch.full((count, 1), float(field))
    mine[-1] = size - (count - 1) * hop
    return torch.cat([rows, mine], 1)


def joined(rows: Tensor, hop: int) -> Tensor:
    """(T, field + hop), all real -> the wave (n,) of these frames."""
    return torch.cat([rows[:-1, :hop].flatten(), rows[-1, : int(rows[-1, -1])]])


def hop_and_field(config: Any) -> tuple[int, int]:
    """Samples from frame to frame, and those that a frame sees, of convolutions one after the other."""
    hop, field = 1, 1
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        field += (kernel - 1) * hop
        hop *= stride
    return hop, field
