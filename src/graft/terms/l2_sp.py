"""Stay near the pretrained weights: 0.5 * alpha * |w - w0|^2 (Li et al. 2018, arXiv:1802.01483)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from graft.types import Model, Step


def l2_sp(model: Model, *, alpha: float = 0.01) -> Callable[[Step], Tensor]:
    """`model` is as it came: its weights now are the point to stay near. Only the trunk is held."""
    start = {name: p.detach().clone() for name, p in model.backbone.named_parameters()}

    def term(step: Step) -> Tensor:
        moving = [(p, start[n]) for n, p in step.model.backbone.named_parameters() if p.requires_grad and n in start]
        if not moving:
            return torch.zeros((), device=step.loss.device)
        return 0.5 * alpha * torch.stack([(p - origin).pow(2).sum() for p, origin in moving]).sum()

    return term
