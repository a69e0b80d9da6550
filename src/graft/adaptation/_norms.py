"""The moments of what a BatchNorm layer is given: over all samples and positions, whatever the batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@final
@dataclass
class Moments:
    """Mean and variance of each channel, (C,) float64, merged batch by batch (Chan et al. 1979)."""

    count: int = 0
    mean: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    squares: Tensor = field(
        default_factory=lambda: torch.zeros((), dtype=torch.float64)
    )  # the sum of squared distances from the mean
    samples: int = 0  # of which `count` positions come

    @property
    def variance(self) -> Tensor:
        """With the divisor n, as in normalisation itself."""
        return self.squares / self.count

    def add(self, x: Tensor) -> None:
        """(B, C, ...): every position of every sample counts alike."""
        size = x.numel() // x.shape[1]
        variance, mean = torch.var_mean(x.float(), [i for i in range(x.ndim) if i != 1], correction=0)
        variance, mean = variance.double(), mean.double()
        total, gap = self.count + size, mean - self.mean
        self.squares = self.squares + variance * size + gap.square() * (self.count * size / total)
        self.mean = self.mean + gap * (size / total)
        self.count = total


def layers(module: nn.Module) -> list[_BatchNorm]:
    """BatchNorm with statistics of its own."""
    return [one for one in module.modules() if isinstance(one, _BatchNorm) and one.running_mean is not None]


@contextmanager
def watched(found: list[_BatchNorm], tell: Callable[[_BatchNorm, Tensor], None]) -> Iterator[None]:
    """While the block runs, `tell` gets what each of these layers is given."""

    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, _BatchNorm)
        tell(module, inputs[0])

    hooks = [layer.register_forward_pre_hook(look) for layer in found]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
