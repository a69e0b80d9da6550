"""The head on tokens: `linear`, or `linear(dropout=0.3)`.

The scale of tokens differs from trunk to trunk, as that of pooled features does. LayerNorm without parameters (Ba et
al. 2016, arXiv:1607.06450) takes it out token by token, so there is nothing to fit before training.
"""

from __future__ import annotations

from torch import nn

from graft.errors import UsageError, did_you_mean
from graft.spec import parse


def linear(dim: int, out: int, *, dropout: float = 0.1) -> nn.Module:
    """(..., D) -> (..., out)"""
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise UsageError(f"dropout={dropout!r} is not a share of units", "choose 0 <= dropout < 1")
    return nn.Sequential(nn.LayerNorm(dim, elementwise_affine=False), nn.Dropout(dropout), nn.Linear(dim, out))


def build(spec_text: str, dim: int, out: int) -> nn.Module:
    """The head that a spec asks for; an unknown name or option is a UsageError that says what was probably meant."""
    spec = parse(spec_text)
    if spec.name != "linear":
        raise UsageError(f"tokens have no head called '{spec.name}'", did_you_mean(spec.name, ["linear"]))
    head: nn.Module = spec.bind(linear, dim, out)
    return head
