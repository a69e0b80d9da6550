"""Near copies among sounds: the same recording at another rate or volume, coded anew, or with its ends cut.

Candidates are sounds whose spectrograms show the same picture. Two people who say one word look alike, too: a pair is
believed only if the waves themselves agree, shifted against each other (the peak of their cross-correlation).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from graft.data import _copies
from graft.data._sound_scan import picture
from graft.types import Sound

_HEARD = 16  # seconds that are compared
_BAND = 4000  # Hz; below it all rates and codings keep the wave
_SAME = 0.95  # recordings of one word by one person reach 0.92
Spectrum = NDArray[np.complex64]


def near_copies(thumbs: NDArray[np.uint8], sound: Callable[[int], Sound]) -> list[tuple[int, int]]:
    """Pairs of rows of (N, 16, 18, 3) spectrograms that are one recording; `sound(i)` opens it again. Pairs that follow
    from others are left out."""
    pairs = _copies.near_copies(thumbs, lambda i: picture(sound(i)))
    spectrum = lru_cache(maxsize=64)(lambda i: _spectrum(sound(i)))
    return _copies.linked(len(thumbs), pairs, lambda a, b: agreement(spectrum(a), spectrum(b)) >= _SAME)


def _spectrum(sound: Sound) -> Spectrum:
    """The first seconds below 4 kHz, of unit length, in bins of 1 / 32 Hz at any rate."""
    wave = sound.read(0, min(sound.frames, _HEARD * sound.rate))
    bins = np.zeros(2 * _HEARD * _BAND, np.complex64)
    found = np.fft.rfft(wave - wave.mean(), 2 * _HEARD * sound.rate)[: len(bins)]
    bins[: len(found)] = found / max(float(np.linalg.norm(found)), 1e-12)
    return bins


def agreement(one: Spectrum, other: Spectrum) -> float:
    """The largest correlation of two waves over all shifts, 0..1; one that is turned upside down agrees, too."""
    shifted = np.fft.irfft(one * other.conj(), 2 * len(one))
    return float(np.abs(shifted).max()) * len(one)
