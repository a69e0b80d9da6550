"""Random views of sounds, of the wave and then of its spectrogram; the draws are a pure function of the seed.

    none                                    the sound as it is, as in prediction
    basic(speed=0.1, shift=0.1, gain=6)     faster or slower, earlier or later, louder or softer
    basic(noise=(5, 30), channel=3)         and noise at a signal-to-noise ratio in dB, another microphone
    basic(warp=0.15, masks=2)               and another vocal tract, parts of the spectrogram hidden
    specaugment(bins=0.34, frames=100)      parts of the spectrogram hidden, and nothing else (Park et al. 2019)

Never applied to validation or test data: only the training feed takes a view. A network that hears the wave itself has
no spectrogram, and gets the first half. Nothing is clipped: waves are floats.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graft import spec
from graft.augment import within
from graft.errors import MissingExtra, UsageError, did_you_mean
from graft.types import SoundView

NOISY = 0.5  # share of the views that get noise
POINTS = 5  # of a channel's response, evenly spread over the mel scale; lines between them
TOP = 8000.0  # Hz, the end of spectrograms that do not say theirs
FORMANTS = 0.6  # of the highest frequency, up to which a warp is a plain factor: Jaitly & Hinton's 4.8 of 8 kHz
BINS, FRAMES, SHARE = 0.2, 100, 0.15  # of the masks of `basic`: they leave more of a short clip than LD does
WAVE, SPECTROGRAM = 0, 1  # each half of a view draws for itself
Draw = np.random.Generator
Array = NDArray[np.floating[Any]]


def build(text: str) -> SoundView | None:
    """The augmentation that a recipe names; None for "none". Raises UsageError for what does not exist."""
    asked = spec.parse(text)
    if asked.name == "none":
        return None
    known: dict[str, Callable[..., SoundView]] = {"basic": basic, "specaugment": specaugment}
    if asked.name not in known:
        what = f"there is no augmentation '{asked.name}' of sounds"
        raise UsageError(what, did_you_mean(asked.name, [*known, "none"]))
    return asked.bind(known[asked.name])  # type: ignore[no-any-return]


def uncut(view: SoundView | None) -> SoundView | None:
    """The same view of a sound whose every word counts: nothing of it falls off at an end."""
    return replace(view, shift=0.0) if isinstance(view, Basic) else view


def basic(
    *,
    shift: float = 0.1,
    noise: tuple[float, float] | None = (5.0, 30.0),
    speed: float = 0.1,
    gain: float = 6.0,
    channel: float = 3.0,
    warp: float = 0.15,
    masks: int = 2,
) -> SoundView:
    """What sounds get unless told otherwise. 0, or None for noise, leaves a part out.

    shift: most, as a share of the sound. noise: lowest and highest signal-to-noise ratio, in dB. speed and warp: 0.1
    stands for factors from 1/1.1 to 1.1. gain: most, in dB. channel: standard deviation of a response, in dB. masks:
    how many of the bins and as many of the frames. Raises UsageError for a number outside of its range.
    """
    within(0 <= shift < 1, "shift", shift, "a share of the sound", "0 <= shift < 1")
    low, high = noise or (0.0, 0.0)
    limits = "two numbers from -20 to 100, the lower one first, as noise=(5, 30)"
    within(-20 <= low <= high <= 100, "noise", noise, "a range of signal-to-noise ratios in dB", limits)
    within(0 <= speed <= 1, "speed", speed, "a share by which sounds get faster", "0 <= speed <= 1")
    within(0 <= gain <= 40, "gain", gain, "a number of dB, either way", "0 <= gain <= 40")
    within(0 <= channel <= 20, "channel", channel, "a number of dB", "0 <= channel <= 20")
    within(0 <= warp <= 0.5, "warp", warp, "a share by which frequencies get higher", "0 <= warp <= 0.5")
    _counted(masks)
    return Basic(shift, (low, high) if noise else None, speed, gain, channel, warp, Masks(masks, BINS, FRAMES, SHARE))


def specaugment(*, bins: float = 27 / 80, frames: int = 100, share: float = 0.2, masks: int = 2) -> SoundView:
    """SpecAugment (Park et al. 2019, arXiv:1904.08779), policy "LD" without its time warp, which helps least.

    bins: most of the mel bins under one mask, as a share (F, 27 of 80). frames, share: most frames under one mask (T),
    and as a share of the sound (p: 1 in LD, 0.2 in SM; clips of a second need the latter). masks: how many of the bins
    and as many of the frames. Raises UsageError for a number outside of its range.
    """
    within(0 <= bins <= 1, "bins", bins, "a share of the mel bins", "0 <= bins <= 1")
    within(frames >= 0, "frames", frames, "a number of frames", "frames=0 or more")
    within(0 <= share <= 1, "share", share, "a share of the sound", "0 <= share <= 1")
    _counted(masks)
    return Masks(masks, bins, frames, share)


def _counted(masks: int) -> None:
    within(0 <= masks <= 20, "masks", masks, "a number of masks", "0 <= masks <= 20")


@final
@dataclass(frozen=True)
class Masks:
    """Bands and stretches of a spectrogram are set to its mean, as in Park et al., whose spectrograms have mean 0."""

    count: int  # of bands, and of stretches
    bins: float  # most that a band covers, as a share of the bins
    frames: int  # most that a stretch covers
    share: float  # and as a share of the sound

    def wave(self, wave: Tensor, rate: int, seed: int) -> Tensor:
        return wave

    def spectrogram(self, mel: Tensor, seed: int, top: float = TOP) -> tuple[Tensor, None]:
        return self.over(mel, np.random.default_rng((seed, SPECTROGRAM))), None

    def over(self, mel: Tensor, draw: Draw) -> Tensor:
        """(T, F) -> the same with `count` bands and `count` stretches hidden; they may overlap, or be empty."""
        frames, bins = mel.shape
        seen, mean = mel.clone(), mel.mean()
        for _ in range(self.count):
            seen[:, _stretch(draw, bins, self.bins * bins)] = mean
            seen[_stretch(draw, frames, min(self.frames, self.share * frames))] = mean
        return seen


@final
@dataclass(frozen=True)
class Basic:
    shift: float  # share of the sound, either way
    noise: tuple[float, float] | None  # signal-to-noise ratios in dB
    speed: float  # factors up to 1 + speed, and down to its inverse
    gain: float  # dB, either way
    channel: float  # standard deviation in dB
    warp: float  # factors up to 1 + warp, and down to its inverse
    masks: Masks

    def wave(self, wave: Tensor, rate: int, seed: int) -> Tensor:
        """(n,) float32 at `rate` Hz -> (n / factor of the speed,). Raises MissingExtra without soxr."""
        draw = np.random.default_rng((seed, WAVE))
        if self.speed:
            wave = faster(wave, rate, _factor(draw, self.speed))
        if self.channel:
            wave = heard_through(wave, rate, self.channel * draw.standard_normal(POINTS))
        if self.shift:
            wave = shifted(wave, round(draw.uniform(-self.shift, self.shift) * len(wave)))
        if self.noise and draw.random() < NOISY:
            wave = noisy(wave, draw.uniform(*self.noise), noise(len(wave), draw.uniform(0, 1), draw))
        return wave * 10 ** (draw.uniform(-self.gain, self.gain) / 20) if self.gain else wave

    def spectrogram(self, mel: Tensor, seed: int, top: float = TOP) -> tuple[Tensor, None]:
        draw = np.random.default_rng((seed, SPECTROGRAM))
        return self.masks.over(warped(mel, _factor(draw, self.warp), top) if self.warp else mel, draw), None


def _factor(draw: Draw, most: float) -> float:
    """From 1 / (1 + most) to 1 + most, as often above 1 as below."""
    return math.exp(draw.uniform(-1, 1) * math.log1p(most))


def _stretch(draw: Draw, size: int, most: float) -> slice:
    """Some of `size` places in a row, 0 to `most` of them."""
    width = int(draw.integers(0, min(int(most), size) + 1))
    start = int(draw.integers(0, size - width + 1))
    return slice(start, start + width)


def shifted(wave: Tensor, by: int) -> Tensor:
    """(n,) -> (n,): later by so many frames (earlier by -by). Zeros come in, the other end falls off."""
    moved, kept = torch.zeros_like(wave), max(0, len(wave) - abs(by))
    if by >= 0:
        moved[len(wave) - kept :] = wave[:kept]
    else:
        moved[:kept] = wave[len(wave) - kept :]
    return moved


def faster(wave: Tensor, rate: int, factor: float) -> Tensor:
    """(n,) -> (n / factor,), at least one: as if the wave had been recorded at `factor` times its rate, so that pitch
    and formants move along (Ko et al. 2015, "Audio augmentation for speech recognition": 0.9, 1 and 1.1).

    By soxr, "MQ", which filters what would alias. Raises MissingExtra.
    """
    try:
        import soxr
    except ImportError:
        raise MissingExtra("soxr", "audio") from None
    made = soxr.resample(wave.numpy(), rate * factor, rate, "MQ")
    return torch.from_numpy(made) if len(made) else wave[:1]


def heard_through(wave: Tensor, rate: int, response: Array) -> Tensor:
    """(n,) -> (n,) through a filter without delay: `response` (P,) in dB, evenly spread over the mel scale up to half
    the rate. Microphones and rooms differ in it."""
    size = _quick(len(wave))
    mel = _mel(np.arange(size // 2 + 1) * (rate / size))
    level = np.interp(mel, np.linspace(0, _mel(rate / 2), len(response)), response)
    gains = torch.from_numpy(10 ** (level / 20)).float()
    made: Tensor = torch.fft.irfft(torch.fft.rfft(wave, n=size) * gains, n=size)
    return made[: len(wave)]


def noise(count: int, colour: float, draw: Draw) -> Tensor:
    """(n,) float32 whose power falls with frequency to the power of `colour`: 0 is white noise, 1 is pink."""
    size = _quick(count)
    parts = torch.from_numpy(draw.standard_normal((size // 2 + 1, 2), np.float32))
    fall = torch.arange(len(parts)).clamp(min=1).pow(-colour / 2)
    made: Tensor = torch.fft.irfft(torch.view_as_complex(parts) * fall, n=size)
    return made[:count]


def _quick(count: int) -> int:
    """A size of at least `count` whose Fourier transform is quick: that of a prime takes several times as long."""
    return -(-count // 512) * 512


def noisy(wave: Tensor, snr: float, noise: Tensor) -> Tensor:
    """(n,) wave + noise, scaled so that 10 log10(power of the wave / power of the noise) is `snr`, exactly.

    Power is the mean square of all n frames. Silence stays silence: it has no such ratio.
    """
    signal, added = wave.double().square().mean(), noise.double().square().mean()
    scale = (signal / added.clamp(min=torch.finfo(torch.float64).tiny) * 10 ** (-snr / 10)).sqrt()
    return wave + noise * scale.float()


def warped(mel: Tensor, factor: float, top: float = TOP) -> Tensor:
    """(T, F) -> (T, F): each bin shows what was at `factor` times its frequency, as from a vocal tract so much longer.

    Vocal tract length perturbation (Jaitly & Hinton 2013): a plain factor below the formants' end, from there a line to
    the highest frequency, which stays. Theirs moves the filters; this reads between the bins, which end at `top` Hz.
    """
    count = mel.shape[1]
    step = _mel(top) / (count + 1)
    hz = 700 * np.expm1(step * np.arange(1, count + 1) / 1127)
    at = torch.from_numpy(_mel(_warp(hz, factor, top)) / step - 1).float().clamp(0, count - 1).to(mel.device)
    low = at.long().clamp(max=max(0, count - 2))
    return torch.lerp(mel[:, low], mel[:, (low + 1).clamp(max=count - 1)], (at - low).to(mel.dtype))


def _warp(hz: Array, factor: float, top: float) -> Array:
    """Jaitly & Hinton's piecewise linear map of frequencies, with S / 2 = top and F_hi = FORMANTS of it."""
    end = FORMANTS * top * min(factor, 1)
    beyond = top - (top - end) / (top - end / factor) * (top - hz)
    return np.where(hz <= end / factor, hz * factor, beyond)


def _mel(hz: Array | float) -> Array:
    return 1127 * np.log1p(np.asarray(hz) / 700)
