"""PyTorch's compiler, with the weights as constants: the fastest in PyTorch, after some seconds to build.

Pays for large sets or slow trunks only. Needs a C++ compiler on processors.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graft.device import autocast
from graft.engines._prepared import prepared
from graft.prefix import Build, Prefix, Run

SIZE, GPU_SIZE = 8, 64


def compiled() -> Build:
    """torch.compile by its inductor, with freezing (Ansel et al. 2024, doi:10.1145/3620665.3640366)."""
    return _build


def _build(prefix: Prefix, x: Tensor, mask: Tensor | None, dtype: torch.dtype) -> Run:
    """Raises what the compiler raises; where sizes differ from batch to batch they stay open."""
    fast: Any = torch.compile(prepared(prefix, x, mask, dtype, linear=False), dynamic=mask is not None)

    def run(x: Tensor, mask: Tensor | None) -> Tensor:
        with torch._inductor.config.patch(freezing=True), autocast(x.device, dtype):
            if mask is not None:
                return fast(x, mask)  # type: ignore[no-any-return]
            size = GPU_SIZE if x.is_cuda else SIZE
            return torch.cat([fast(_filled(few, size), None)[: len(few)] for few in x.split(size)])

    with torch.inference_mode():
        run(x.clone(), None if mask is None else mask.clone())  # a compiler that is not there is said now
    return run


def _filled(x: Tensor, size: int) -> Tensor:
    """A batch of always the same size, or each new one would be compiled."""
    return torch.cat([x, x[:1].expand(size - len(x), *x.shape[1:])]) if len(x) < size else x
