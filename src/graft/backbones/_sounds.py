"""Preprocessing of sounds: the wave at the rate that belongs to the weights, then what the network is given of it.

`sample` reads a sound and resamples it (soxr, "HQ"); the wave is kept. `batch` makes views of it in training, and hands
it to the front of the network: frames of a spectrogram, pictures, or pieces of the wave itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graft.errors import MissingExtra
from graft.types import Inputs, Json, Sound, SoundView

HEARD = 300.0  # seconds of one sound, unless every moment of it counts
STRETCHES = 30  # what is left of a longer one: so many stretches, evenly spread
AT_ONCE = 60.0  # seconds of a file that are in memory at its own rate
Wave = NDArray[np.float32]


class Front(Protocol):
    """What a network is given of waves at its rate. `length`: positions of a window, where longer waves are several."""

    @property
    def length(self) -> int | None: ...

    def positions(self, samples: int) -> int:
        """How many positions a wave of so many samples takes: frames, or windows."""
        ...

    def inputs(self, waves: Sequence[Tensor], view: SoundView | None = None, seeds: Sequence[int] = ()) -> Inputs:
        """B waves (n_i,) -> x (B, T, ...) and mask (B, T); `view.spectrogram` is applied where there is one to see."""
        ...

    def json(self) -> Json:
        """`kind`, and what builds it again."""
        ...


@final
@dataclass(frozen=True)
class Sounds:
    """`rate` in Hz. Of a sound longer than `heard` seconds, evenly spread stretches are heard; None: all of it."""

    rate: int
    front: Front
    heard: float | None = HEARD
    ragged: ClassVar[bool] = True

    def sample(self, raw: Sound) -> Tensor:
        """(n,) float32 at `rate`, n >= 1. Raises UnreadableSample."""
        pieces = [self._resampled(raw, start, stop) for start, stop in self._stretches(raw)]
        return torch.from_numpy(np.concatenate(pieces))

    def samples(self, raws: Sequence[Sound]) -> list[Tensor]:
        return [self.sample(raw) for raw in raws]

    def positions(self, sample: Tensor) -> int:
        return self.front.positions(len(sample))

    def expected(self, raw: Sound) -> int:
        """The length of `sample`, known without reading: soxr makes n * rate / raw.rate samples of n, half up."""
        sizes = [stop - start for start, stop in self._stretches(raw)]
        return sum(max(1, (2 * size * self.rate + raw.rate) // (2 * raw.rate)) for size in sizes)

    def batch(self, samples: Sequence[Tensor], augment: SoundView | None = None, seeds: Sequence[int] = ()) -> Inputs:
        """B waves (n_i,) -> what the front makes of them, or of views of them."""
        if augment is None:
            return self.front.inputs(samples)
        waves = [augment.wave(one, self.rate, seed) for one, seed in zip(samples, seeds, strict=True)]
        return self.front.inputs(waves, augment, seeds)

    @property
    def length(self) -> int | None:
        return self.front.length

    def unheard(self, raw: Sound) -> float:
        """Seconds of a sound that are left out."""
        return 0.0 if self.heard is None else max(0.0, raw.seconds - self.heard)

    def json(self) -> Json:
        return {"kind": "sounds", "rate": self.rate, "heard": self.heard, "front": self.front.json()}

    def _stretches(self, raw: Sound) -> list[tuple[int, int]]:
        """[start, stop) in frames of the file: all of it, or evenly spread stretches that make up `heard` seconds."""
        if self.heard is None or raw.seconds <= self.heard:
            return [(0, raw.frames)]
        size = int(self.heard * raw.rate / STRETCHES)
        starts = np.linspace(0, raw.frames - size, STRETCHES).astype(int).tolist()
        return [(start, start + size) for start in starts]

    def _resampled(self, raw: Sound, start: int, stop: int) -> Wave:
        """One stretch, read in blocks, so that an hour of music at its own rate is never whole in memory."""
        if raw.rate == self.rate:
            return np.concatenate(list(_blocks(raw, start, stop)))
        soxr = _soxr()
        if stop - start <= AT_ONCE * raw.rate:
            found = soxr.resample(raw.read(start, stop), raw.rate, self.rate)
        else:
            stream = soxr.ResampleStream(raw.rate, self.rate, 1, dtype="float32")
            parts = [stream.resample_chunk(block) for block in _blocks(raw, start, stop)]
            found = np.concatenate([*parts, stream.resample_chunk(np.zeros(0, np.float32), last=True)])
        return np.asarray(found, np.float32) if len(found) else np.zeros(1, np.float32)


def _blocks(raw: Sound, start: int, stop: int) -> Iterator[Wave]:
    step = int(AT_ONCE * raw.rate)
    for at in range(start, stop, step):
        yield raw.read(at, min(at + step, stop))


def _soxr() -> Any:
    try:
        import soxr
    except ImportError:
        raise MissingExtra("soxr", "audio") from None
    return soxr
