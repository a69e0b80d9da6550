"""Frames of a spectrogram that are hidden from a network, which is to guess them (TERA, Liu et al. 2021,
arXiv:2007.06028, after Mockingjay, arXiv:1910.12638).

As there, 15 % of the frames are hidden, in spans of 7: neighbours are so alike that a single one would be guessed by
repeating them. A hidden frame shows the mean of the sound, and those that are seen are moved to have this mean too:
where a front subtracts the mean of all frames, what the seen ones lack would tell what the hidden ones have. None is
left in place or replaced by another one, as 20 % are there: to give back what is seen would be counted as guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@final
@dataclass(frozen=True)
class HiddenFrames:
    """A view of a sound for `Sounds.batch`. About `share` of its frames are hidden, in spans; fixed by the seed.

    What is to be guessed is in units of the sound itself: how far a value lies from the mean of its bin over the frames
    that are seen, by the root mean square of all such distances (normalised targets, He et al. 2022, arXiv:2111.06377).
    So all 0 is the guess of who knows nothing but these means, and loud and soft sounds count alike.
    """

    share: float = 0.15
    span: int = 7  # frames

    def wave(self, wave: Tensor, rate: int, seed: int) -> Tensor:
        return wave

    def spectrogram(self, mel: Tensor, seed: int, top: float = 0.0) -> tuple[Tensor, Tensor]:
        """(T, F) -> (T, F) as the network sees it, and (T, F) what is hidden, nan elsewhere.

        One span at least is hidden, or half of a shorter sound, and one frame at least is seen; so nothing is hidden
        of a single frame.
        """
        hidden = torch.from_numpy(self.hidden(len(mel), seed)).to(mel.device)[:, None]
        mean = mel.mean(0)
        apart = mel - mel[~hidden[:, 0]].mean(0)
        spread = apart.square().mean().sqrt()
        truth = (apart / spread if spread > 0 else apart).masked_fill(~hidden, torch.nan)
        return torch.where(hidden, mean, mean + apart), truth

    def hidden(self, frames: int, seed: int) -> NDArray[np.bool_]:
        """(T,) True where hidden: spans that do not overlap, at random places."""
        draw, size = np.random.default_rng(seed), min(self.span, frames // 2)
        marks = np.zeros(frames, dtype=bool)
        if size:
            wanted = int(self.share * frames / size + draw.random())  # rounded at random: `share` on average
            count = min(max(1, wanted), (frames - 1) // size)
            places = np.sort(draw.choice(frames - count * (size - 1), count, replace=False))
            starts = places + (size - 1) * np.arange(count)
            marks[starts[:, None] + np.arange(size)] = True
        return marks
