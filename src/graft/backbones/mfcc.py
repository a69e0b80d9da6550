"""No network at all: MFCC and how they go on, the classical baseline of sounds that every trunk has to beat."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graft.backbones._cepstra import Cepstra
from graft.backbones._mel import Mel
from graft.backbones._sounds import Sounds
from graft.errors import UsageError
from graft.spec import Spec
from graft.types import Backbone, Features, Info, Inputs


def mfcc(
    *,
    count: int = 13,
    segments: int = 5,
    width: int = 9,
    mels: int = 40,
    rate: int = 16000,
    low: float = 20.0,
    high: float | None = None,
    pretrained: bool = True,
) -> Backbone:
    """A sound -> (B, 2 * count * (2 + segments)). There is nothing to pretrain.

    Of `count` coefficients and their slopes over `width` frames: mean, deviation, and the means of `segments` equal
    parts of the sound, without which the order of what is heard is lost. Raises UsageError for what cannot be.
    """
    if segments < 0:
        raise UsageError(f"segments={segments} cannot be", "choose segments=5, or 0 for mean and deviation alone")
    front = Cepstra(Mel(rate, mels, low, high), count, width)
    options = {
        "count": count,
        "segments": segments,
        "width": width,
        "mels": mels,
        "rate": rate,
        "low": low,
        "high": high,
    }
    statistics = Statistics(segments)
    info = Info(Spec("mfcc", None, options), "audio", front.dim * (2 + segments), licence="none needed")
    return Backbone(info, [HandOn()], Sounds(rate, front), statistics)


class HandOn(nn.Module):
    """What it is given: there is no network."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x


class Statistics:
    """Frames (B, T, D) -> mean, deviation and the means of `segments` equal parts, (B, (2 + segments) * D).

    A frame on the edge of two parts counts in both by its share, so that a sound of two frames has five parts, too.
    """

    def __init__(self, segments: int) -> None:
        self.segments = segments

    def __call__(self, inputs: Inputs) -> Features:
        x, mask = inputs.x, inputs.mask
        assert mask is not None, "sounds have a mask"
        real = mask.to(x.dtype)
        mean = torch.einsum("btd,bt->bd", x, real) / real.sum(1, keepdim=True)
        square = torch.einsum("btd,bt->bd", (x - mean.unsqueeze(1)).square(), real) / real.sum(1, keepdim=True)
        parts = torch.einsum("btd,bst->bsd", x, self._shares(real))
        return Features(torch.cat([mean, square.sqrt(), parts.flatten(1)], 1))

    def _shares(self, real: Tensor) -> Tensor:
        """(B, S, T): how much of part s frame t is; each part's shares add up to 1."""
        size = real.sum(1)[:, None, None] / max(self.segments, 1)
        begin = torch.arange(self.segments, device=real.device, dtype=real.dtype)[:, None] * size
        frame = torch.arange(real.shape[1], device=real.device, dtype=real.dtype)
        return (torch.minimum(frame + 1, begin + size) - torch.maximum(frame, begin)).clamp(min=0) / size
