"""A copy of a frozen prefix that computes the same faster: what its engine may do only because nothing moves in it."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from graft.prefix import Prefix
from graft.rows import onednn


def prepared(prefix: Prefix, x: Tensor, mask: Tensor | None, dtype: torch.dtype, *, linear: bool = True) -> Prefix:
    """On some inputs, which may be few, it is found out which BatchNorm follows which convolution.

    `linear`: with PyTorch's private way to a faster product, which a compiler need not be shown.
    """
    made = copy.deepcopy(prefix).requires_grad_(False)
    fold(made, x, mask)
    if linear and x.device.type == "cpu":
        _fast_linear(made, dtype)
    if dtype is not torch.float32:
        lower(made, dtype)
    return made.to(memory_format=torch.channels_last) if x.ndim == 4 else made


# ------------------------------------------------------------------------------------------------- folded BatchNorm


class _Call(NamedTuple):
    """Inputs and output are held, or another tensor could be taken for them."""

    module: nn.Module
    took: Tensor
    gave: Tensor
    versions: tuple[int, int]  # of the two then: what changes a tensor in place leaves it the same object


def fold(prefix: Prefix, x: Tensor, mask: Tensor | None) -> None:
    """A BatchNorm that is given the very output of a convolution becomes part of its weights (Jacob et al. 2018,
    arXiv:1712.05877, 3.2). What follows from the run alone is checked by the engine's comparison."""
    calls = _calls(prefix, x, mask)
    made_by = {(id(call.gave), call.versions[1]): call.module for call in calls if isinstance(call.module, nn.Conv2d)}
    once = [m for m in {call.module for call in calls} if sum(c.module is m for c in calls) == 1]
    for call in calls:
        conv = made_by.get((id(call.took), call.versions[0]))
        if type(call.module) is nn.BatchNorm2d and conv in once and call.module in once:
            _replace(prefix, conv, fuse_conv_bn_eval(conv, call.module))
            _replace(prefix, call.module, nn.Identity())


def _calls(prefix: Prefix, x: Tensor, mask: Tensor | None) -> list[_Call]:
    calls: list[_Call] = []

    def note(module: nn.Module, took: Any, gave: Any) -> None:
        calls.append(_Call(module, took[0], gave, (took[0]._version, gave._version)))

    watched = [m for m in prefix.modules() if isinstance(m, (nn.Conv2d, nn.BatchNorm2d))]
    hooks = [module.register_forward_hook(note) for module in watched]
    with torch.no_grad():
        prefix(x[:1], None if mask is None else mask[:1])
    for hook in hooks:
        hook.remove()
    return calls


def _replace(root: nn.Module, old: nn.Module | None, new: nn.Module) -> None:
    for module in root.modules():
        for name, child in module.named_children():
            if child is old:
                setattr(module, name, new)


# ----------------------------------------------------------------------------------------------------- linear layers


@final
class FastLinear(nn.Linear):
    """The same product by oneDNN, which is twice as fast as PyTorch's own in float32 on processors of AMD.

    PyTorch has no public way to it, so the private one is used where `rows.onednn` has found it.
    """

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu") or x.dtype is not torch.float32 or self.weight.dtype is not torch.float32:
            return F.linear(x, self.weight, self.bias)
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")  # type: ignore[no-any-return]


def _fast_linear(prefix: Prefix, dtype: torch.dtype) -> None:
    """Only layers of that very type: what others do in their own forward stays."""
    if dtype is not torch.float32 or onednn() is None:
        return
    for module in prefix.modules():
        if type(module) is nn.Linear:
            module.__class__ = FastLinear


def lower(prefix: Prefix, dtype: torch.dtype) -> None:
    """Weights that autocast would cast for each batch are cast once; all else stays float32."""
    for module in prefix.modules():
        if type(module) in (nn.Conv1d, nn.Conv2d, nn.Linear):
            module.to(dtype)
