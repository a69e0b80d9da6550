"""What recognised speech is compared with, and its loss: CTC (Graves et al. 2006)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn import functional as F

from graft.intervals import Array
from graft.tasks import _metrics
from graft.transcripts import encode, least_frames, normal

NOTHING = -1  # the length of a transcript that is not known


@final
@dataclass(frozen=True)
class Transcripts:
    """The transcripts of N sounds, as texts and as symbols.

    `ids` (N, L): symbols, 0 after the last. `lengths` (N,): how many, -1 where there is no transcript. `least` (N,):
    how many frames they need. A text may have characters that no symbol has: these are in `texts` alone.
    """

    texts: tuple[str | None, ...]
    ids: Tensor
    lengths: Tensor
    least: Tensor

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, rows: Tensor) -> Transcripts:
        picked = torch.arange(len(self))[rows.cpu()].tolist()  # a mask is as good as indices
        rows = rows.to(self.ids.device)
        return Transcripts(tuple(self.texts[i] for i in picked), self.ids[rows], self.lengths[rows], self.least[rows])

    def to(self, device: torch.device | str) -> Transcripts:
        return Transcripts(self.texts, self.ids.to(device), self.lengths.to(device), self.least.to(device))

    def known(self) -> Tensor:
        """(N,) bool"""
        return self.lengths >= 0

    def alignable(self, frames: Tensor) -> Tensor:
        """(N,) bool: those that are known and whose sounds, of (N,) frames, are long enough to say them."""
        return self.known() & (frames >= self.least.clamp(min=1))


def transcripts(texts: Sequence[str | None], symbols: tuple[str, ...], case: str) -> Transcripts:
    """One that is blank is as good as none."""
    plain = [None if text is None else normal(text, case) or None for text in texts]
    return spelled(plain, [None if text is None else encode(text, symbols, case).ids for text in plain])


def spelled(texts: Sequence[str | None], found: Sequence[tuple[int, ...] | None]) -> Transcripts:
    ids = torch.zeros(len(found), max([1, *(len(one) for one in found if one)]), dtype=torch.long)
    for row, one in zip(ids, found, strict=True):
        row[: len(one or ())] = torch.tensor(one or (), dtype=torch.long)
    lengths = [NOTHING if one is None else len(one) for one in found]
    least = [least_frames(one or ()) for one in found]
    return Transcripts(
        tuple(texts), ids, torch.tensor(lengths, dtype=torch.long), torch.tensor(least, dtype=torch.long)
    )


def losses(logs: Tensor, frames: Tensor, targets: Transcripts) -> tuple[Tensor, Tensor]:
    """Of log-probabilities (B, T, C + 1), the blank last, -log of what each alignable transcript got by all its
    alignments, per symbol -> (M,); and which of the B these are. Their mean is PyTorch's "mean".

    On the processor: there it is the same each time, which it is not on CUDA, and it is no large part of the work.
    """
    targets, frames = targets.to("cpu"), frames.cpu()
    kept = targets.alignable(frames)
    if not kept.any():
        return logs.sum((1, 2))[kept.to(logs.device)], kept
    picked, sizes = logs[kept.to(logs.device)].cpu().transpose(0, 1), targets.lengths[kept]
    sums = F.ctc_loss(picked, targets.ids[kept], frames[kept], sizes, blank=logs.shape[2] - 1, reduction="none")
    return (sums / sizes.clamp(min=1)).to(logs.device), kept


def frames_of(values: Tensor) -> Tensor:
    """Probabilities (N, T, C + 1) -> (N,) frames, those after the last being rows of zeros."""
    return (values.sum(2) > 0).sum(1)


def losses_of(values: Tensor, targets: Transcripts) -> Array:
    """(N,) losses of probabilities (N, T, C + 1); nan where a transcript is not alignable."""
    made = torch.full((len(values),), torch.nan, dtype=torch.float64)
    found, kept = losses(values.detach().float().cpu().clamp(min=_metrics.TINY).log(), frames_of(values), targets)
    made[kept] = found.double()
    return made.numpy()
