"""Draw texts of one class together before the head is solved (SetFit, Tunstall et al. 2022, arXiv:2209.11055).

For a few samples of many classes. SetFit's idea, a sentence encoder tuned on pairs, with the supervised contrastive
loss (Khosla et al. 2020, arXiv:2004.11362, equation 2): a batch holds each sample beside another one of its class, and
each is to be nearer to those of its class than to all others.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graft import parts
from graft.errors import UsageError
from graft.strategies.solved import solved
from graft.types import Flow, Model, Phase, Step


def contrastive(
    model: Model,
    *,
    epochs: int = 5,
    lr: float | None = None,
    temperature: float = 0.1,
    last: int | None = None,
    probe: str = "logistic",
) -> Flow:
    """For classes only: labels of another kind are a UsageError. The last epoch is kept, as the head comes later.

    `last`: the k stages nearest to the head that move; None: the upper half of them, which costs half as much as all
    and was as good on Banking77 and AG News. `lr`: its own rate, unless told otherwise. `probe`: what the head is
    solved by afterwards.

    Raises UsageError for a head that no probe can solve and for a trunk without weights.
    """
    if not temperature > 0:
        raise UsageError(f"temperature={temperature} divides similarities", "choose a temperature above 0, such as 0.1")
    parts.solver(model, probe)  # what cannot be solved is said before the trunk moves
    trunk = parts.group(_upper(model, last), parts.rate(model, 1.0, lr))
    yield Phase("contrast", (trunk,), epochs, loss=_loss(temperature), pairs=True, select=False)
    yield from solved(model, probe=probe)


def _upper(model: Model, last: int | None) -> list[nn.Module]:
    """What moves: the last k stages, or half of them."""
    found = parts.stages(model, last)
    if not found:
        raise UsageError(f"{model.backbone.info.source} has nothing to move", "choose a probe, such as logistic")
    return found if last is not None else found[-max(1, len(found) // 2) :]


def supervised(features: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Khosla's loss of features (B, D) with targets (B,): the mean over all samples of -log of the softmax of cosine /
    temperature, averaged over the sample's positives. Those without a positive, or without a label (-1), count nothing.
    """
    unit = F.normalize(features.float(), dim=1)
    itself = torch.eye(len(targets), dtype=torch.bool, device=targets.device)
    scores = (unit @ unit.T / temperature).masked_fill(itself, -torch.inf)
    same = (targets[:, None] == targets) & (targets[:, None] >= 0) & ~itself
    shares = scores.log_softmax(1).masked_fill(~same, 0.0).sum(1) / same.sum(1).clamp(min=1)
    return -shares.sum() / same.any(1).sum().clamp(min=1)


def _loss(temperature: float) -> Callable[[Step], Tensor]:
    def loss(step: Step) -> Tensor:
        targets = step.batch.targets
        if not isinstance(targets, Tensor) or targets.ndim != 1 or targets.is_floating_point():
            raise UsageError("contrastive takes one class for each sample, and no mixture",
                             "leave --mix out, or choose another strategy: lp_ft")  # fmt: skip
        return supervised(step.features.pooled, targets, temperature)

    return loss
