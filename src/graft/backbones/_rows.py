"""Samples of text are rows (id, type, start, end), one for each token; a batch is padded to the longest of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from graft.types import Inputs

PADDING = (-1, 0, -1, -1)  # a row of a sample that is no token


def padded(samples: Sequence[Tensor], width: int, pad: int) -> Inputs:
    """B samples (T_i, 4) -> ids and types (B, width, 2), mask (B, width), places (B, width, 2)."""
    rows = torch.tensor(PADDING, dtype=torch.int32).repeat(len(samples), width, 1)
    for row, one in zip(rows, samples, strict=True):
        row[: len(one)] = one
    real = rows[..., 0] >= 0
    ids = torch.where(real, rows[..., 0], pad)
    return Inputs(torch.stack([ids, rows[..., 1]], -1).long(), real, rows[..., 2:].long())
