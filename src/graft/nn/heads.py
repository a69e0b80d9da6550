"""Heads on pooled features: `linear`, or `mlp(hidden=(1024, 512), dropout=0.5)` as transfer tutorials build it.

Features of one trunk are a hundred times as large as those of another. A head first standardises them by the mean and
deviation of the training set, fixed before training, so that one learning rate serves all trunks.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from graft.errors import UsageError, did_you_mean
from graft.rows import moments
from graft.spec import parse


class Standardize(nn.Module):
    """(B, D) -> (B, D): (x - mean) / deviation. Not learned: `fit` sets both once; until then it changes nothing."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("deviation", torch.ones(dim))

    def fit(self, features: Tensor) -> None:
        """(N, D) features of the training set. A feature that never varies is only centred."""
        mean, deviation = (torch.from_numpy(found) for found in moments(features.detach().cpu()))
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation > 1e-6 * deviation.max(), deviation, torch.ones_like(deviation)))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.deviation


def linear(dim: int, out: int, *, standardize: bool = True) -> nn.Module:
    """(B, D) -> (B, out): one linear layer, PyTorch's initialisation."""
    return nn.Sequential(Standardize(dim), nn.Linear(dim, out)) if standardize else nn.Linear(dim, out)


def mlp(
    dim: int,
    out: int,
    *,
    hidden: tuple[int, ...] | int = (1024, 512),
    dropout: float = 0.5,
    standardize: bool = True,
) -> nn.Module:
    """(B, D) -> (B, out): Linear, ReLU, Dropout for each hidden width, then a linear layer."""
    widths = _widths(hidden)
    layers: list[nn.Module] = [Standardize(dim)] if standardize else []
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise UsageError(f"dropout={dropout!r} is not a share of units", "choose 0 <= dropout < 1")
    for before, after in zip((dim, *widths), widths, strict=False):
        layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], out))


def affine(head: nn.Module) -> nn.Linear | None:
    """The linear layer of a `linear` head of classes; None for any other head: tasks of other labels wrap theirs."""
    layer = head[-1] if isinstance(head, nn.Sequential) and len(head) <= 2 else head
    return layer if isinstance(layer, nn.Linear) else None


def last_linear(head: nn.Module) -> nn.Linear:
    """As `affine`. Raises UsageError for a head that has no such layer."""
    layer = affine(head)
    if layer is None:
        raise UsageError("no probe can solve this head: only a linear one, of classes, has a closed form",
                         "leave --head out, say start='auto', or choose another strategy: lp_ft")  # fmt: skip
    return layer


@torch.no_grad()
def set_affine(head: nn.Module, weight: Tensor, bias: Tensor) -> None:
    """Make a `linear` head compute weight (C, D) @ x + bias (C,) of the features as they come."""
    layer = last_linear(head)
    weight, bias = weight.to(layer.weight.device), bias.to(layer.weight.device)
    scale = head[0] if isinstance(head, nn.Sequential) and isinstance(head[0], Standardize) else None
    if scale is not None:
        weight, bias = weight * scale.deviation, bias + weight @ scale.mean.to(weight.dtype)
    layer.weight.copy_(weight)  # closed forms are float64
    layer.bias.copy_(bias)


HEADS: dict[str, Callable[..., nn.Module]] = {"linear": linear, "mlp": mlp}


class Labels(nn.Module):
    """A head (B, D) -> (B, C) whose columns are questions of their own, and no classes: no probe solves it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        return out


def build(spec_text: str, dim: int, out: int, *, standardize: bool = True) -> nn.Module:
    """The head that a spec asks for; an unknown name or option is a UsageError that says what was probably meant.

    `standardize`: whether it does so where the spec does not say (`Info.standardize`).
    """
    spec = parse(spec_text)
    if not standardize and "standardize" not in spec.options:
        spec = spec.with_options(standardize=False)
    if spec.name not in HEADS:
        raise UsageError(f"there is no head called '{spec.name}'", did_you_mean(spec.name, HEADS))
    head: nn.Module = spec.bind(HEADS[spec.name], dim, out)
    return head


def _widths(hidden: object) -> tuple[int, ...]:
    """(256,) and 256 mean the same: a one-element tuple without its comma is a number."""
    widths = hidden if isinstance(hidden, tuple | list) else (hidden,)
    if not widths or not all(type(width) is int and width > 0 for width in widths):
        raise UsageError(f"hidden={hidden!r} are not layer widths", "write hidden=(256,) or hidden=(1024, 512)")
    return tuple(widths)
