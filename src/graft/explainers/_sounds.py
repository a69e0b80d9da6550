"""Where the numbers that a network is given of a sound lie in time and pitch, for each kind of front (_sounds.py of
backbones/): what its `json` says is all that is known of it here."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from graft.types import Json

Places = tuple[Tensor, tuple[float, ...]]  # a map (F, T), the lowest pitch first, and its F + 1 edges in Hz, or none


def to_mel(hertz: float) -> float:
    """HTK's formula (Young et al., The HTK Book, 2006, 5.4)."""
    return 2595 * math.log10(1 + hertz / 700)


def to_hertz(mel: float) -> float:
    return float(700 * (10 ** (mel / 2595) - 1))


def edges(low: float, high: float, count: int) -> tuple[float, ...]:
    """`count` + 1 pitches in Hz, evenly spaced in mel."""
    first, last = to_mel(low), to_mel(high)
    return tuple(to_hertz(first + (last - first) * i / count) for i in range(count + 1))


def bands(low: float, high: float, count: int) -> tuple[float, ...]:
    """Edges of `count` overlapping triangles between two pitches: half-way between their tips."""
    first, step = to_mel(low), (to_mel(high) - to_mel(low)) / (count + 1)
    return tuple(to_hertz(first + step * (i + 0.5)) for i in range(count + 1))


def quietest(front: Json, x: Tensor) -> Tensor | None:
    """What stands for silence in the inputs (1, T, ...) of a sound; None where nothing is known of the front."""
    kind = front["kind"]
    if kind == "pictures":  # paper is white where ink is loud
        return torch.full_like(x, float(x.max() if front["loud"] == "black" else x.min()))
    if kind == "mfcc":
        return x.mean(1, keepdim=True).expand_as(x).clone()  # of a shape of spectrum there is no silence: the mean one
    if kind == "log_mel":
        return torch.full_like(x, float(x.min()))
    if kind in ("waves", "spectrograms"):  # the last number says how much is sound, and is no part of it
        quiet = torch.zeros_like(x) if kind == "waves" else torch.full_like(x, float(x[..., :-1].min()))
        quiet[..., -1] = x[..., -1]
        return quiet
    return None


def laid_out(preprocess: Json, found: Tensor, x: Tensor, samples: int) -> Places:
    """Numbers `found`, of the form of the inputs `x` (1, T, ...) that they belong to, in time and pitch."""
    front, rate = preprocess["front"], preprocess["rate"]
    one, kind = found[0].detach().cpu(), front["kind"]
    if kind == "pictures":
        return _of_pictures(front, one.sum(1), samples)
    if kind == "log_mel":
        high = front["high"] or rate / 2
        return one.reshape(-1, front["mels"]).T, bands(front["low"], high, front["mels"])
    if kind == "spectrograms":
        real = x[0, ..., -1].cpu() > 0
        return one[real][:, :-1].T, edges(20.0, rate / 2, one.shape[-1] - 1)
    return one.sum(-1)[None], ()


def _of_pictures(front: Json, windows: Tensor, samples: int) -> Places:
    """(k, S, S), low pitches at the bottom, all windows of one length -> (S, k * S)."""
    mel, size = front["mel"], windows.shape[-1]
    share = min(1.0, samples / len(windows) / round(front["seconds"] * mel["rate"]))
    width = size if front["fit"] == "stretch" else min(max(1, round(share * size)), size)
    whole = torch.cat(list(windows[..., :width].flip(1)), 1)
    return whole, edges(mel["low"], mel["high"] or mel["rate"] / 2, size)


# --------------------------------------------------------------------------------------------- a sound as it is shown

ROWS, FLOOR = 80, 60.0  # bands of pitch; dB below the loudest that are still drawn


def levels(wave: Tensor, rate: int, columns: int = 600) -> Tensor:
    """(n,) -> (ROWS, T), T <= columns: a spectrogram, 1 where loudest, 0 from FLOOR dB below, evenly spaced in mel from
    0 to half the rate, the lowest first."""
    size = 1 << max(6, round(math.log2(0.032 * rate)))
    padded = torch.nn.functional.pad(wave.float().cpu(), (0, max(0, size - len(wave))))
    hop = max(1, size // 8, len(padded) // columns)
    spectrum = torch.stft(padded, size, hop, window=torch.hann_window(size), pad_mode="constant", return_complex=True)
    power = spectrum.abs().square()
    rows = [pitch / (rate / 2) * (len(power) - 1) for pitch in edges(0.0, rate / 2, ROWS)]
    bands = [power[int(a) : max(int(a) + 1, math.ceil(b))].mean(0) for a, b in zip(rows[:-1], rows[1:], strict=True)]
    decibel = 10 * torch.stack(bands).clamp(min=1e-20).log10()
    return (1 + (decibel - decibel.max()) / FLOOR).clamp(0, 1)
