"""What moves and what stands still. Only the loop calls this; strategies say it by their phases' groups."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from graft.types import Model, Phase

FEW = 1000  # samples below which a moving BatchNorm keeps its pretrained statistics


def freeze(model: Model, phase: Phase) -> None:
    """Exactly the parameters of the phase's groups move."""
    moving = {id(p) for group in phase.groups for p in group.params}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in moving)


def moves(module: nn.Module) -> bool:
    return any(p.requires_grad for p in module.parameters())


def boundary_of(model: Model) -> int:
    """How many stages at the input end stand still: they run once."""
    still = 0
    for stage in model.backbone.stages:
        if moves(stage):
            return still
        still += 1
    return still


def set_modes(model: Model, still_batchnorm: bool) -> None:
    """Stages that move train; all else is in eval mode, or its BatchNorm statistics and dropout would drift."""
    model.eval()
    for part in (*model.backbone.stages, model.head):
        part.train(moves(part))
    trunk = {id(module) for module in model.backbone.modules()}  # heads begin at random, and have no statistics to keep
    for module in model.modules():
        still = still_batchnorm and id(module) in trunk
        if isinstance(module, _BatchNorm) and (still or (_has_own(module) and not moves(module))):
            module.eval()


def _has_own(module: nn.Module) -> bool:
    return any(True for _ in module.parameters(recurse=False))


def moving_state(model: Model) -> dict[str, Tensor]:
    """Every tensor that a phase may change: moving parameters, and the buffers of modules in training mode."""
    state = {name: p.data for name, p in model.named_parameters() if p.requires_grad}
    for prefix, module in model.named_modules():
        if module.training:
            state |= {f"{prefix}.{n}": b for n, b in module.named_buffers(recurse=False)}
    return state


def keep_statistics(model: Model, asked: str, samples: int, batch_size: int) -> bool:
    """Whether moving BatchNorm keeps its statistics. "auto": yes where those of few samples, or of small batches, would
    be worse than the pretrained ones; random weights have none to keep."""
    if asked != "auto":
        return asked == "eval"
    return bool(model.backbone.info.sha256) and (samples < FEW or batch_size < 16)
