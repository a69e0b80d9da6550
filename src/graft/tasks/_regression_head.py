"""The head of a regression: it works in standard units, so that one learning rate serves cents and millions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graft.nn import heads


class RegressionHead(nn.Module):
    """(B, D) -> (B,) in standard units. `centre` and `spread` are in the label's unit, are not learned, and are saved
    with the weights: a value is centre + spread * output."""

    def __init__(self, spec: str, dim: int, centre: float, spread: float, standardize: bool = True) -> None:
        super().__init__()
        self.inner = heads.build(spec, dim, 1, standardize=standardize)
        self.centre: Tensor
        self.spread: Tensor
        self.register_buffer("centre", torch.tensor(centre, dtype=torch.float32))
        self.register_buffer("spread", torch.tensor(spread, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        return out.float().squeeze(1)
