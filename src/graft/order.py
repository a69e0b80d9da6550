"""Which samples go together: batches of about one length, and pairs of one class."""

from __future__ import annotations

from collections.abc import Sequence
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


def batches(count: int, size: int, lengths: Tensor | None, *where: int | str) -> Sequence[Tensor]:
    """The rows of `count` samples in batches of `size`, shuffled, fixed by `where`.

    Samples of about one length go together, out of every NEAR batches, as each is padded to the longest of its batch.
    A last batch of one sample joins the one before it: BatchNorm cannot take the variance of one value.
    """
    order = permutation(count, *where)
    if lengths is not None:
        order = torch.cat([part[lengths[part].argsort(stable=True)] for part in order.split(NEAR * size)])
    made = list(order.split(size))
    if len(made) > 1 and len(made[-1]) == 1:
        made[-2:] = [torch.cat(made[-2:])]
    if lengths is not None:
        made = [made[i] for i in permutation(len(made), *where, "batches").tolist()]
    return made
