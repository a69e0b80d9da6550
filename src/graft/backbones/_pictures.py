"""Sounds as pictures of their spectrograms, for networks that were trained on photographs; and those networks, run on
all pictures of a sound.

Time runs from left to right, low pitches are at the bottom. Grey is the level in dB, from the loudest of the sound down
to `floor` dB below it: a fixed function of the sound, which no gain changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graft.backbones._mel import LEAST, Mel, padded, seen
from graft.backbones._readout import mean_token
from graft.errors import UsageError, did_you_mean
from graft.types import Features, Inputs, Json, SoundView

FITS, INKS = ("stretch", "pad"), ("black", "white")


@final
@dataclass(frozen=True)
class Pictures:
    """A front (Front of _sounds.py): positions are windows of at most `seconds`, each a picture of `size` pixels.

    A sound takes as few windows as it can, all of one length, so that they count alike. What is shorter than `seconds`
    fills the picture (fit="stretch") or leaves silence behind it ("pad"). `loud` is "black", ink on paper, or "white".
    """

    mel: Mel
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    seconds: float = 1.0
    fit: str = "stretch"
    loud: str = "black"
    length: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        for name, value, known in (("fit", self.fit, FITS), ("loud", self.loud, INKS)):
            if value not in known:
                raise UsageError(f"{name}='{value}' is no way to draw a sound", did_you_mean(value, known))
        if self.window < self.mel.step:
            raise UsageError(f"seconds={self.seconds:g} is too short for a window", "choose seconds=1")

    @property
    def window(self) -> int:
        """Samples, at most."""
        return round(self.seconds * self.mel.rate)

    def positions(self, samples: int) -> int:
        return max(1, -(-samples // self.window))

    def inputs(self, waves: Sequence[Tensor], view: SoundView | None = None, seeds: Sequence[int] = ()) -> Inputs:
        """B waves (n_i,) -> x (B, k, 3, size, size), mask (B, k), places (B, k, 2) in samples; -1 for padding.

        What a view hides is not asked for: there is no truth.
        """
        greys = [seen(self._grey(wave), view, seeds, i, self.mel.top).frames for i, wave in enumerate(waves)]
        made = padded([self._drawn(grey, len(wave)) for grey, wave in zip(greys, waves, strict=True)])
        ends = [self._ends(len(grey), len(wave)) for grey, wave in zip(greys, waves, strict=True)]
        places = [torch.stack([one[:-1] * self.mel.step, (one[1:] * self.mel.step).clamp(max=len(wave))], 1)
                  for one, wave in zip(ends, waves, strict=True)]  # fmt: skip
        return made._replace(places=nn.utils.rnn.pad_sequence(places, True, -1))

    def json(self) -> Json:
        return {"kind": "pictures", **asdict(self)}

    def _grey(self, wave: Tensor) -> Tensor:
        """(n,) -> (T, mels), 1 where loudest, 0 from `floor` dB below; silence is 0."""
        level, span = self.mel.log(wave), self.mel.floor * math.log(10) / 10
        loudest = max(float(level.max()), math.log(LEAST) + span)
        return (1 + (level - loudest) / span).clamp(0, 1)

    def _ends(self, frames: int, samples: int) -> Tensor:
        """(k + 1,) frames at which windows end and begin."""
        count = self.positions(samples)
        return torch.arange(count + 1) * frames // count

    def _drawn(self, grey: Tensor, samples: int) -> Tensor:
        """(T, mels) -> (k, 3, size, size), as the network was taught to see."""
        ends = self._ends(len(grey), samples).tolist()
        one = torch.stack([self._picture(grey[a:b]) for a, b in zip(ends[:-1], ends[1:], strict=True)])
        shade = 1 - one if self.loud == "black" else one
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (shade[:, None] - mean) / std

    def _picture(self, grey: Tensor) -> Tensor:
        """(t, mels) -> (size, size)."""
        share = 1.0 if self.fit == "stretch" else len(grey) * self.mel.step / self.window
        width = min(max(1, round(share * self.size)), self.size)
        drawn = F.interpolate(grey.T.flip(0)[None, None], (self.size, width), mode="bilinear", antialias=True)
        return F.pad(drawn[0, 0], (0, self.size - width))


def pictures(record: Json) -> Pictures:
    """What `Pictures.json` wrote."""
    fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in record.items() if key != "kind"}
    return Pictures(**{**fields, "mel": Mel(**record["mel"])})


# ------------------------------------------------------------------------------------------- a network of pictures


@final
class EachWindow(nn.Module):
    """A stage of a network of pictures, run on each window (B, k, ...) by itself.

    Windows that are padding are skipped, so that BatchNorm in training does not count them.
    """

    def __init__(self, stage: nn.Module) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        flat, real = x.flatten(0, 1), mask.flatten()
        if torch.compiler.is_compiling() or bool(real.all()):  # a graph cannot have as many rows as a value says
            out = self._run(flat)
        else:
            some = self._run(flat[real])
            out = some.new_zeros(len(flat), *some.shape[1:]).index_put((real,), some)
        made: Tensor = out.unflatten(0, mask.shape)
        return made

    def _run(self, flat: Tensor) -> Tensor:
        out: Tensor = self.stage(flat.contiguous(memory_format=torch.channels_last) if flat.ndim == 4 else flat)
        return out


@final
class OverWindows:
    """The mean of what a readout makes of each window. Windows of a sound are of one length, so they count alike."""

    def __init__(self, readout: Callable[[Inputs], Features]) -> None:
        self.readout = readout

    def __call__(self, inputs: Inputs) -> Features:
        assert inputs.mask is not None, "sounds have a mask"
        each = self.readout(Inputs(inputs.x.flatten(0, 1))).pooled.unflatten(0, inputs.mask.shape)
        return Features(mean_token(Inputs(each, inputs.mask)).pooled)
