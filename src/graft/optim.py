"""Optimisers and schedules by name, `sgd(momentum=0.9)`, `cosine(warmup=0.05)`; clipping and averages of weights.

A schedule is a pure function (step, total, history) -> factor on each group's peak rate, so that a resumed run has
nothing to restore. `history` holds the validation scores so far, higher is better.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import get_ema_multi_avg_fn

from graft import spec
from graft.errors import UsageError, did_you_mean
from graft.types import Group

Schedule = Callable[[int, int, Sequence[float]], float]
FUSED = ("adam", "adamw")  # one kernel for the whole update of a tensor; that of sgd asks for gradients of all
WAYS = ("fused", "foreach", "capturable", "differentiable")  # options that say how an optimiser computes


def check(optimizer_text: str, schedule_text: str) -> None:
    """Raises UsageError for a name or an option that does not exist, before anything is trained."""
    optimizer(optimizer_text, [Group((nn.Parameter(torch.zeros(1)),), 1e-3)], 0.0)
    schedule(schedule_text)


def optimizer(text: str, groups: Sequence[Group], weight_decay: float) -> Optimizer:
    """Weights decay; biases and normalisation (one dimension) do not (Goyal et al. 2017, BiT).

    Fused where torch can: half the time for a head, and equal to the plain update but for rounding.
    """
    known: dict[str, Any] = {
        "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "rmsprop": torch.optim.RMSprop,
    }
    asked = spec.parse(text)
    if asked.name not in known:
        raise UsageError(f"there is no optimiser '{asked.name}'", did_you_mean(asked.name, known))
    _not_its_own(asked)
    if asked.name in FUSED and _can_fuse(groups) and not asked.options.keys() & set(WAYS):
        asked = asked.with_options(fused=True)
    try:
        return asked.bind(known[asked.name], _param_groups(groups, weight_decay))  # type: ignore[no-any-return]
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        raise UsageError(f"--optimizer {text}: {error}", "see torch.optim for its options") from None


def _not_its_own(asked: spec.Spec) -> None:
    """Every group has a rate and a decay already, and torch would ignore these two without a word."""
    places = {"lr": "set it in the strategy, such as full(lr=1e-3)", "weight_decay": "set it with --weight-decay"}
    for key in places.keys() & asked.options.keys():
        raise UsageError(f"--optimizer {asked}: {key} is not set here", places[key])


def _can_fuse(groups: Sequence[Group]) -> bool:
    return all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for params, _ in groups for p in params)


def _param_groups(groups: Sequence[Group], weight_decay: float) -> list[dict[str, Any]]:
    """Two groups, with and without decay, for each one given. Raises UsageError for a rate that cannot be."""
    _not_negative("weight_decay", weight_decay, "--weight-decay 1e-4")
    made = []
    for params, lr in groups:
        _not_negative("lr", lr, "choose a learning rate in the strategy, such as full(lr=1e-3)")
        for decay, wanted in ((weight_decay, True), (0.0, False)):
            chosen = [p for p in params if (p.ndim > 1) is wanted]
            if chosen:
                made.append({"params": chosen, "lr": lr, "peak": lr, "weight_decay": decay})
    return made


def _not_negative(name: str, value: float, hint: str) -> None:
    if not 0 <= value < math.inf:  # also refuses NaN
        raise UsageError(f"{name} is {value}, which is not a number from 0 up", hint)


def schedule(text: str) -> Schedule:
    """Raises UsageError for a name, an option or a value that cannot be, now and not after an epoch."""
    asked = spec.parse(text)
    if asked.name not in SCHEDULES:
        raise UsageError(f"there is no schedule '{asked.name}'", did_you_mean(asked.name, SCHEDULES))
    asked.check(SCHEDULES[asked.name], 0, 1, ())
    made = partial(SCHEDULES[asked.name], **asked.options)
    try:
        factors = [made(step, 100, [0.0] * step) for step in range(100)]
    except ArithmeticError as error:
        raise UsageError(f"the schedule {text} cannot be computed: {error}", f"leave {asked.name} as it is") from None
    if not all(0 <= factor < math.inf for factor in factors):
        raise UsageError(f"the schedule {text} gives rates below zero or without end", f"leave {asked.name} as it is")
    return made


def constant(step: int, total: int, history: Sequence[float]) -> float:
    return 1.0


def steps(step: int, total: int, history: Sequence[float], *, at: tuple[float, ...] = (0.3, 0.6, 0.9),
          factor: float = 0.1) -> float:  # fmt: skip
    """Times `factor` at each share of the way (BiT's hyper-rule: 30, 60 and 90 %)."""
    return factor ** sum(step >= share * total for share in at)


def cosine(step: int, total: int, history: Sequence[float], *, warmup: float = 0.05, floor: float = 0.0) -> float:
    """Linear warm-up over a share of the way, then half a cosine down to `floor` (Loshchilov & Hutter 2017)."""
    start = warmup * total
    if step < start:
        return (step + 1) / (start + 1)
    share = (step - start) / max(1.0, total - start)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share))


def one_cycle(step: int, total: int, history: Sequence[float], *, rise: float = 0.3, start: float = 25.0,
              end: float = 1e4) -> float:  # fmt: skip
    """Up from 1/start to 1 and down to 1/(start * end), both by cosine (Smith & Topin 2018). Momentum stays."""
    top = rise * total - 1
    first, last, share = (1 / start, 1.0, step / max(1.0, top))
    if step > top:
        first, last, share = 1.0, 1 / (start * end), (step - top) / max(1.0, total - 1 - top)
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def triangular(step: int, total: int, history: Sequence[float], *, cut: float = 0.1, ratio: float = 32.0) -> float:
    """Slanted triangle of ULMFiT (Howard & Ruder 2018, arXiv:1801.06146, equation 3)."""
    peak = max(1, math.floor(total * cut))
    share = step / peak if step < peak else 1 - (step - peak) / (peak * (1 / cut - 1))
    return (1 + max(0.0, share) * (ratio - 1)) / ratio


def inverse_time(step: int, total: int, history: Sequence[float], *, decay: float = 0.01) -> float:
    """1 / (1 + t * decay), t in steps (Robbins & Monro 1951)."""
    return 1.0 / (1.0 + step * decay)


def plateau(step: int, total: int, history: Sequence[float], *, factor: float = 0.1, patience: int = 3) -> float:
    """Times `factor` whenever `patience` epochs in a row have not beaten the best validation score."""
    best, waited, cuts = -math.inf, 0, 0
    for score in history:
        best, waited = (score, 0) if score > best else (best, waited + 1)
        if waited > patience:
            cuts, waited = cuts + 1, 0
    return float(factor**cuts)


SCHEDULES: dict[str, Callable[..., float]] = {
    "constant": constant,
    "step": steps,
    "cosine": cosine,
    "one_cycle": one_cycle,
    "triangular": triangular,
    "inverse_time": inverse_time,
    "plateau": plateau,
}


def clip(parameters: Sequence[nn.Parameter], norm: float) -> None:
    """Gradients that are longer than `norm` together are made as long as that; 0: no limit. In place.

    As torch's clip_grad_norm_, which multiplies shorter ones by 1: on a processor that is a walk through all of them.
    """
    if not norm:
        return
    total = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if total.device.type != "cpu" or not float(total) + 1e-6 <= norm:  # so is what is not a number, as in torch
        nn.utils.clip_grads_with_norm_(parameters, norm, total)


@final
class Average:
    """The moving average of weights (Polyak & Juditsky 1992), of the floating-point tensors of `live`, in place.

    The decay grows with the steps so that short phases are not held back.
    """

    def __init__(self, decay: float, average: Mapping[str, Tensor], live: Mapping[str, Tensor]) -> None:
        names = [name for name, tensor in average.items() if tensor.is_floating_point()]
        self.decay, self.mine, self.live = decay, [average[n] for n in names], [live[n] for n in names]

    def __call__(self, step: int) -> None:
        """After `step` steps of the phase."""
        decay = min(self.decay, (1 + step) / (10 + step))
        if self.mine and self.mine[0].device.type != "cpu":
            get_ema_multi_avg_fn(decay)(self.mine, self.live, None)  # one kernel: on a processor that only costs more
            return
        for mine, live in zip(self.mine, self.live, strict=True):
            mine.lerp_(live, 1 - decay)
