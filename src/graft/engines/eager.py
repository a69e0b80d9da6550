"""PyTorch as it is, on a copy of the prefix with folded BatchNorm, fast linear layers and weights of the precision."""

from __future__ import annotations

import torch
from torch import Tensor

from graft.device import autocast
from graft.engines._prepared import prepared
from graft.prefix import Build, Prefix, Run


def eager() -> Build:
    """What is always there."""
    return _build


def _build(prefix: Prefix, x: Tensor, mask: Tensor | None, dtype: torch.dtype) -> Run:
    module = prepared(prefix, x, mask, dtype)

    def run(x: Tensor, mask: Tensor | None) -> Tensor:
        with autocast(x.device, dtype):
            out: Tensor = module(x, mask)
        return out

    return run
