"""Find the stages of a model whose code is not ours, and prove them by running it.

A guess is made from the names of its parts: what comes before the repeated blocks, the blocks, what comes after. Run in
order on random input, with random weights, it must give what the model itself gives. If no guess does, the whole trunk
is one stage, and a note says so. The guess depends on the architecture alone, never on the weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from graft.backbones import _readout
from graft.backbones._cut import Cut, Readout
from graft.device import seeded
from graft.types import Features, Inputs

NOTE = "its stages are not known, so the whole trunk moves as one, or not at all"


class Call(nn.Module):
    """A module, called in a way of its own. Only the module's parameters are parameters here."""

    def __init__(self, module: nn.Module, how: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.module, self.how = module, how

    def forward(self, x: Tensor) -> Tensor:
        out = self.how(self.module, x)
        return torch.as_tensor(out[0] if isinstance(out, tuple) else out)


def channels_last_maps(inputs: Inputs) -> Features:
    """(B, H, W, C) -> the mean over H x W."""
    return _readout.maps(Inputs(inputs.x.permute(0, 3, 1, 2)))


class PatchMean:
    """(B, prefix + T, D) -> the mean over the tokens after the prefix (class token, registers)."""

    def __init__(self, prefix: int) -> None:
        self.prefix = prefix

    def __call__(self, inputs: Inputs) -> Features:
        return Features(inputs.x[:, self.prefix :].mean(1), inputs.x)


def readouts(prefix: int) -> tuple[Readout, ...]:
    """The ways without parameters to pool a last output; the first that agrees with the model is taken."""
    return (_readout.vector, _readout.maps, channels_last_maps, _readout.first_token, _readout.mean_token,
            PatchMean(prefix))  # fmt: skip


def pooled_by(readout: Readout, x: Tensor) -> Tensor | None:
    """What a readout makes of an output; None where the shapes do not allow it."""
    try:
        pooled = readout(Inputs(x)).pooled
    except (IndexError, RuntimeError):
        return None
    return pooled if pooled.ndim == 2 else None


def same(a: Any, b: Any) -> bool:
    """Equal up to rounding, and not by being constant or not a number."""
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)) or a.shape != b.shape or not bool(b.isfinite().all()):
        return False
    scale = float(b.abs().max())
    return scale > 0 and bool(torch.allclose(a, b, rtol=1e-4, atol=1e-5 * scale))


@contextmanager
def probing(model: nn.Module) -> Iterator[None]:
    """Eval mode, no gradients, and weights of a fixed seed in which nothing is zero; undone afterwards."""
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    training = model.training
    try:
        with torch.no_grad(), seeded("split"):
            model.eval()
            for p in model.parameters():
                noise = torch.randn_like(p)
                p.copy_(noise * p[0].numel() ** -0.5 if p.ndim in (2, 4) else p + 0.05 * noise)
            yield
    finally:
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(before[name])
        model.train(training)


def run(stages: Sequence[nn.Module], x: Tensor) -> Any:
    """The stages in order; None where they do not even run."""
    try:
        for stage in stages:
            x = stage(x)
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, AssertionError):
        return None
    return x


def without(module: nn.Module, gone: dict[int, nn.Module | None], parameters: bool = True) -> Any:
    """A copy that shares all parameters, but holds others in place of the modules whose id is in `gone`.

    The module itself is untouched. `parameters=False` leaves out those that belong to no submodule (a class token).
    """
    twin = copy.copy(module)
    twin.__dict__["_parameters"] = dict(module._parameters) if parameters else dict.fromkeys(module._parameters)
    twin.__dict__["_modules"] = {
        name: None if child is None else gone[id(child)] if id(child) in gone else _child_without(child, gone)
        for name, child in module._modules.items()
    }
    return twin


def _child_without(child: nn.Module, gone: dict[int, nn.Module | None]) -> nn.Module:
    holds = any(id(part) in gone for part in child.modules())
    twin: nn.Module = without(child, gone) if holds else child
    return twin


def whole(trunk: nn.Module, dim: int, head: nn.Module | None) -> Cut:
    """The fallback: one stage, which pools by itself."""
    return Cut([trunk], _readout.vector, dim, head, (NOTE,))
