"""One pass over a sound, for the audit: what it is, what is wrong with it, and what it looks like.

The picture is a log-spectrogram up to 4 kHz of the first minute, without the quiet ends, of one size for all lengths:
so the same recording gives the same picture at any rate, volume and coding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from graft.data import _sound
from graft.data._sound import Header, Wave
from graft.types import Sound, UnreadableSample

HEARD = 60.0  # seconds
_WINDOW, _HOP, _COLUMNS = 0.032, 0.004, 1024  # seconds, and the most columns
_BINS = 128  # of 1 / _WINDOW Hz, whatever the rate: 4 kHz
_CELLS = (64, 96)  # of the picture, over which power is averaged: cells of it do not mind a shift of a few ms
_FLOOR, _TRIM = 20.0, 25.0  # dB below the loudest: what is black, and which ends are left out
_EIGHT, _SIXTEEN = 126.5 / 128, 32766.5 / 32768  # full scale of samples of few bits, and of all others
_CODED = {"PCM_S8": _EIGHT, "PCM_U8": _EIGHT, "ULAW": 32123.5 / 32768, "ALAW": 32255.5 / 32768}
_RUN = 3  # samples at full scale in a row are no chance
_AT_ONCE = 64  # columns

Source = Path | bytes | Sound


class Facts(NamedTuple):
    """`said`: seconds by the header, nan where it does not say. `clipped`: the share of samples in runs at full scale,
    of the channel that has most of them."""

    seconds: float
    rate: int
    channels: int
    peak: float  # of the mean of the channels; 1 is full scale
    rms: float
    clipped: float
    said: float
    format: str


class Scanned(NamedTuple):
    """`content` is equal for exact copies: the rate and all samples, in whatever container."""

    facts: Facts
    content: bytes
    picture: Image.Image


def scan(source: Source) -> Scanned:
    """All of a sound, in blocks. Raises UnreadableSample as `_sound.opened` does, and for NaN."""
    found: _Pass | None = None
    for header, block in _blocks(source):
        found = found or _Pass(header)
        found.add(block)
    if found is None:
        raise UnreadableSample("no sound in it (0 samples)")
    facts = found.facts()
    if not isinstance(source, Sound) and off(facts) and _sound.opened(source).frames != found.frames:
        raise UnreadableSample(f"damaged sound data (after {facts.seconds:.2f} of {facts.said:.2f} s)")
    return Scanned(facts, found.content.digest(), found.spectrum.picture())


def off(facts: Facts) -> bool:
    """Whether the header says another length than there is; that of an mp3 is a little vague."""
    return abs(facts.said - facts.seconds) > (0.1 if facts.format == "MP3" else 0.01)


def picture(source: Source) -> Image.Image:
    """That of `scan`; less of a long sound is read."""
    spectrum: _Spectrum | None = None
    for header, block in _blocks(source):
        spectrum = spectrum or _Spectrum(header)
        if not spectrum.add(_sound.mono(block)):
            break
    assert spectrum is not None, "scan has found samples"
    return spectrum.picture()


def _blocks(source: Source) -> Iterator[tuple[Header, Wave]]:
    return _heard(source) if isinstance(source, Sound) else _sound.blocks(source)


def _heard(sound: Sound) -> Iterator[tuple[Header, Wave]]:
    """(n, 1) of a sound that comes from no file."""
    header, step = Header("", "", sound.rate, sound.channels, sound.frames), int(_sound.SECONDS * sound.rate)
    for start in range(0, sound.frames, step):
        yield header, sound.read(start, min(start + step, sound.frames))[:, None]


class _Pass:
    """What is added up over the blocks."""

    def __init__(self, header: Header) -> None:
        self.header = header
        self.content = hashlib.sha256(f"{header.rate}:".encode())
        self.spectrum = _Spectrum(header)
        self.full = _CODED.get(header.coding, _SIXTEEN)
        self.frames, self.peak, self.power = 0, 0.0, 0.0
        self.clipped: NDArray[np.int64] = np.zeros(1, np.int64)

    def add(self, block: Wave) -> None:
        wave = _sound.mono(block)
        self.content.update((wave + np.float32(0)).tobytes())  # -0 is 0
        self.frames += len(block)
        self.peak = max(self.peak, float(wave.max()), -float(wave.min()))
        self.power += float(wave @ wave)
        self.clipped = self.clipped + clipped(block, self.full)
        self.spectrum.add(wave)

    def facts(self) -> Facts:
        header, frames = self.header, self.frames
        said = header.frames / header.rate if header.frames >= 0 else np.nan
        share, rms = int(self.clipped.max()) / frames, (self.power / frames) ** 0.5
        seconds = frames / header.rate
        return Facts(seconds, header.rate, header.channels, self.peak, rms, share, said, header.format)


def clipped(block: Wave, full: float) -> NDArray[np.int64]:
    """(channels,) samples of (n, channels) that stand in runs of three or more at full scale."""
    if len(block) < _RUN or (block.max() < full and block.min() > -full):
        return np.zeros(1, np.int64)
    high = np.abs(block) >= full
    whole = high[:-2] & high[1:-1] & high[2:]
    inside = np.zeros_like(high)
    for shift in range(_RUN):
        inside[shift : len(high) - _RUN + 1 + shift] |= whole
    return np.asarray(inside.sum(0), np.int64)


class _Spectrum:
    """Power in bins of equal width in Hz, (columns, 128), of a wave that comes in pieces."""

    def __init__(self, header: Header) -> None:
        self.size = round(header.rate * _WINDOW)
        self.left = int(HEARD * header.rate)
        heard = min(header.frames, self.left) if header.frames > 0 else self.left
        self.step = max(_HOP * header.rate, (heard + self.size) / _COLUMNS)
        self.window = np.hanning(self.size).astype(np.float32)
        self.rest, self.start = np.zeros(self.size, np.float32), 0  # silence before, which all copies have
        self.rows: list[Wave] = []
        self.column = 0

    def add(self, wave: Wave) -> bool:
        """Whether more will be heard."""
        wave = wave[: self.left]
        self.left -= len(wave)
        self._take(wave)
        return self.left > 0

    def _take(self, wave: Wave) -> None:
        self.rest = np.concatenate([self.rest, wave])
        last = int((self.start + len(self.rest) - self.size) / self.step)
        for first in range(self.column, last + 1, _AT_ONCE):
            columns = np.arange(first, min(first + _AT_ONCE, last + 1))
            places = (columns * self.step).astype(np.int64) - self.start
            pieces = self.rest[places[:, None] + np.arange(self.size)] * self.window
            self.rows.append(np.abs(np.fft.rfft(pieces)[:, :_BINS]).astype(np.float32) ** 2)
        self.column = max(self.column, last + 1)
        done = min(int(self.column * self.step) - self.start, len(self.rest))
        self.rest, self.start = self.rest[done:], self.start + done

    def picture(self) -> Image.Image:
        """RGB, grey: time from left to right, low frequencies above."""
        self._take(np.zeros(self.size, np.float32))
        power = np.concatenate(self.rows) if self.rows else np.zeros((1, 1), np.float32)
        loud = power.sum(1)
        ends = np.flatnonzero(loud >= loud.max() * 10 ** (-_TRIM / 10))
        full = np.zeros((ends[-1] + 1 - ends[0], _BINS), np.float32)
        full[:, : power.shape[1]] = power[ends[0] : ends[-1] + 1]
        cells = np.asarray(Image.fromarray(full.T).resize(_CELLS[::-1], Image.Resampling.BOX))
        level = 10 * np.log10(cells / max(float(cells.max()), 1e-20) + 10 ** (-_FLOOR / 10)) / _FLOOR + 1
        return Image.fromarray((255 * level.clip(0, 1)).astype(np.uint8)).convert("RGB")
