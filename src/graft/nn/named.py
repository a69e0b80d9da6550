"""A head of classes that says which they are, so that two heads can be compared whatever the order of their columns."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn


@final
class Named(nn.Module):
    """(B, D) -> logits (B, C): the k-th column is that of `classes[k]`."""

    def __init__(self, inner: nn.Module, classes: tuple[str, ...]) -> None:
        super().__init__()
        self.inner, self.classes = inner, classes

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        return out
