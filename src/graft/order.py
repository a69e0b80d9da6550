"""Which samples go together: batches of about one length, and pairs of one class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import final

import torch
from torch import Tensor

from graft.device import permutation, seed_of

NEAR = 50  # batches within which texts are sorted by length; they stay shuffled beyond that


@final
class Pairs:
    """Which samples are of one class, sorted once: a draw then costs no look at all of them."""

    def __init__(self, targets: Tensor) -> None:
        _, self.group, self.sizes = targets.unique(return_inverse=True, return_counts=True)
        self.order = self.group.argsort(stable=True)  # the rows of each class, one class after the other
        self.place = self.order.argsort()  # of each row in `order`
        self.starts = self.sizes.cumsum(0) - self.sizes

    def partners(self, rows: Tensor, *where: int | str) -> Tensor:
        """For each row any of the others of its class, all as likely, fixed by `where`; itself where there is none."""
        start, size = self.starts[self.group[rows]], self.sizes[self.group[rows]]
        drawn = torch.rand(len(rows), generator=torch.Generator().manual_seed(seed_of(*where)), dtype=torch.float64)
        ahead = 1 + (drawn * (size - 1)).long()
        chosen: Tensor = self.order[start + (self.place[rows] - start + ahead) % size]
        return chosen


def batches(
    count: int, size: int, lengths: Tensor | None, *where: int | str, most: int | None = None
) -> Sequence[Tensor]:
    """The rows of `count` samples in batches of `size`, shuffled, fixed by `where`.

    Samples of about one length go together, out of every NEAR batches, as each is padded to the longest of its batch.
    A last batch of one sample joins the one before it: BatchNorm cannot take the variance of one value. A batch of more
    than `most` positions, padding included, is divided, but not into less than two samples.
    """
    order = permutation(count, *where)
    if lengths is not None:
        order = torch.cat([part[lengths[part].argsort(stable=True)] for part in order.split(NEAR * size)])
    made = list(order.split(size))
    if len(made) > 1 and len(made[-1]) == 1:
        made[-2:] = [torch.cat(made[-2:])]
    if lengths is not None and most is not None:
        made = [few for rows in made for few in _divided(rows, lengths, max(most, size))]
    if lengths is not None:
        made = [made[i] for i in permutation(len(made), *where, "batches").tolist()]
    return made


def split(
    rows: Tensor, size: int, lengths: Tensor | None = None, most: int | None = None, *, least: int = 1
) -> Iterator[Tensor]:
    """Rows (n,) in their order, `size` at a time; with `lengths` (N,), so many that all, padded to the longest, are at
    most `most` positions, but not fewer than `least`."""
    while len(rows):
        few = rows[:size]
        if lengths is not None and most is not None:
            padded = lengths[few].cummax(0).values * torch.arange(1, len(few) + 1)
            few = few[: max(least, int((padded <= most).sum()))]
        yield few
        rows = rows[len(few) :]


def _divided(rows: Tensor, lengths: Tensor, most: int) -> list[Tensor]:
    """By positions; a sample that would be alone takes one of those before it along, or joins two."""
    made = list(split(rows, len(rows), lengths, most, least=2))
    if len(made) > 1 and len(made[-1]) == 1:
        last = torch.cat(made[-2:])
        made[-2:] = [last[:-2], last[-2:]] if len(last) > 3 else [last]
    return made
