"""Mel spectrograms of waves, and the front that gives them to a network frame by frame.

A frame stands for `hop` seconds, and is seen through a Hann window of `window` seconds around its middle; what lies
outside the wave is 0. A triangular filter on the mel scale takes the power around one pitch (HTK's formulas: Young et
al., The HTK Book, 2006, 5.4), and its logarithm is kept, but for what is `floor` dB below the loudest: so a gain adds
one number to all of it, and silence has a logarithm too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from typing import ClassVar, NamedTuple, final

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from graft.errors import UsageError, did_you_mean
from graft.types import Inputs, Json, SoundView

LEAST = 1e-20  # power: far below the last bit of a 16-bit file
BLOCK = 4096  # frames whose spectra are in memory at once
LONGEST_FFT, MOST = 1 << 13, 512
NORMALISE: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda mel: mel,
    "clip": lambda mel: mel - mel.mean(0),
    "level": lambda mel: (mel - mel.mean()) / 3,
    "utterance": lambda mel: (mel - mel.mean()) / mel.std(correction=0).clamp(min=1e-3),
}


@final
@dataclass(frozen=True)
class Mel:
    """`mels` filters between `low` and `high` Hz, None: up to what the rate can hold. UsageError for what cannot be."""

    rate: int = 16000
    mels: int = 64
    low: float = 20.0
    high: float | None = None
    window: float = 0.025
    hop: float = 0.010
    floor: float = 80.0

    def __post_init__(self) -> None:
        if self.rate < 1 or not 1 <= self.mels <= MOST:
            what = f"mels={self.mels} at rate={self.rate} make no spectrogram"
            raise UsageError(what, f"choose 1 to {MOST} mels, and the rate in Hz")
        if not 0 <= self.low < self.top <= self.rate / 2:
            what = f"low={self.low:g}, high={self.top:g}: a wave at {self.rate} Hz holds 0 to {self.rate / 2:g} Hz"
            raise UsageError(what, "choose 0 <= low < high <= rate / 2")
        if not 1 <= self.step <= self.size:
            what = f"hop={self.hop:g} and window={self.window:g} seconds at {self.rate} Hz leave moments out"
            raise UsageError(what, "choose a hop above 0 that is not longer than the window")
        _filters(self)

    @property
    def top(self) -> float:
        return self.rate / 2 if self.high is None else self.high

    @property
    def step(self) -> int:
        """Samples from frame to frame."""
        return round(self.hop * self.rate)

    @property
    def size(self) -> int:
        """Samples under the window of a frame."""
        return round(self.window * self.rate)

    def frames(self, samples: int) -> int:
        return max(1, -(-samples // self.step))

    def power(self, wave: Tensor) -> Tensor:
        """(n,) -> (frames(n), mels) float32."""
        bank, hann = _filters(self), torch.hann_window(self.size)
        cut = self._padded(wave).unfold(0, self.size, self.step)
        spectra = (torch.fft.rfft(some * hann, n=2 * len(bank) - 2) for some in cut.split(BLOCK))
        return torch.cat([(some.real.square() + some.imag.square()) @ bank for some in spectra])

    def log(self, wave: Tensor) -> Tensor:
        """(n,) -> (frames(n), mels), the natural logarithm of the power."""
        power = self.power(wave)
        return power.clamp(min=max(float(power.max()) * 10 ** (-self.floor / 10), LEAST)).log()

    def _padded(self, wave: Tensor) -> Tensor:
        lead = (self.size - self.step) // 2
        whole = (self.frames(len(wave)) - 1) * self.step + self.size
        return torch.nn.functional.pad(wave.float(), (lead, whole - lead - len(wave)))


@cache
def _filters(mel: Mel) -> Tensor:
    """(F, mels), over the smallest FFT that is not shorter than the window and leaves no filter without a bin."""
    size = 1 << max(mel.size - 1, 1).bit_length()
    while size <= LONGEST_FFT:
        bank = filters(mel.rate, size, mel.mels, mel.low, mel.top)
        if bool((bank > 0).any(0).all()):
            return bank
        size *= 2
    what = f"mels={mel.mels} between {mel.low:g} and {mel.top:g} Hz are too narrow for windows of {mel.window:g} s"
    raise UsageError(what, "choose fewer: mels=64")


def filters(rate: int, size: int, mels: int, low: float, high: float) -> Tensor:
    """(size / 2 + 1, mels) triangles of height 1 in Hz, whose corners are evenly spaced in mel."""
    first, last = (2595 * math.log10(1 + hertz / 700) for hertz in (low, high))
    corners = 700 * (10 ** (torch.linspace(first, last, mels + 2, dtype=torch.float64) / 2595) - 1)
    pitch = torch.linspace(0, rate / 2, size // 2 + 1, dtype=torch.float64)[:, None]
    up = (pitch - corners[:-2]) / (corners[1:-1] - corners[:-2])
    down = (corners[2:] - pitch) / (corners[2:] - corners[1:-1])
    return torch.minimum(up, down).clamp(min=0).float()


class Seen(NamedTuple):
    frames: Tensor  # (T, F)
    truth: Tensor | None = None  # (T, F), nan where nothing is hidden


def seen(frames: Tensor, view: SoundView | None, seeds: Sequence[int], number: int, top: float) -> Seen:
    """What a view shows of the frames (T, F) up to `top` Hz of sound `number`."""
    return Seen(frames) if view is None else Seen(*view.spectrogram(frames, seeds[number], top))


@final
@dataclass(frozen=True)
class LogMel:
    """A front (Front of _sounds.py): positions are frames, `stack` neighbours as one.

    `normalise`: "clip", each filter minus its mean over the sound (cepstral mean subtraction; Atal 1974), so that
    neither a gain nor the colour of a microphone is left; "level", minus the mean over all, in units of 13 dB, so that
    a gain alone is gone; "utterance", mean and deviation of all; "none".
    """

    rate: int = 16000
    mels: int = 64
    window: float = 0.025
    hop: float = 0.010
    stack: int = 2
    low: float = 20.0
    high: float | None = None
    floor: float = 80.0
    normalise: str = "clip"
    length: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        if self.normalise not in NORMALISE:
            what = f"normalise='{self.normalise}' is no way to normalise"
            raise UsageError(what, did_you_mean(self.normalise, NORMALISE))
        if self.stack < 1:
            raise UsageError(f"stack={self.stack} leaves no frames", "choose stack >= 1")
        assert self.mel is not None, "its own checks"

    @cached_property
    def mel(self) -> Mel:
        return Mel(self.rate, self.mels, self.low, self.high, self.window, self.hop, self.floor)

    @property
    def dim(self) -> int:
        """Numbers at one position."""
        return self.stack * self.mels

    def positions(self, samples: int) -> int:
        return -(-self.mel.frames(samples) // self.stack)

    def inputs(self, waves: Sequence[Tensor], view: SoundView | None = None, seeds: Sequence[int] = ()) -> Inputs:
        """B waves (n_i,) -> x (B, T, stack * mels), mask (B, T); truth as x, where the view hides something."""
        normal = NORMALISE[self.normalise]
        each = [seen(normal(self.mel.log(wave)), view, seeds, i, self.mel.top) for i, wave in enumerate(waves)]
        made = padded([self._stacked(one.frames, 0.0) for one in each])
        if all(one.truth is None for one in each):
            return made
        known = [torch.full_like(one.frames, math.nan) if one.truth is None else one.truth for one in each]
        truth = pad_sequence([self._stacked(one, math.nan) for one in known], True, math.nan)
        return made._replace(truth=truth)

    def json(self) -> Json:
        return {"kind": "log_mel", **asdict(self)}

    def _stacked(self, frames: Tensor, fill: float) -> Tensor:
        """(T, F) -> (ceil(T / stack), stack * F)."""
        missing = -len(frames) % self.stack
        return torch.nn.functional.pad(frames, (0, 0, 0, missing), value=fill).reshape(-1, self.stack * frames.shape[1])


def padded(rows: Sequence[Tensor]) -> Inputs:
    """B tensors (T_i, ...) -> x (B, T, ...) with zeros behind them, mask (B, T)."""
    x = pad_sequence(list(rows), batch_first=True)
    return Inputs(x, torch.arange(x.shape[1]) < torch.tensor([len(row) for row in rows])[:, None])


def log_mel(record: Json) -> LogMel:
    """What `LogMel.json` wrote."""
    return LogMel(**{key: value for key, value in record.items() if key != "kind"})
