"""Where a phase stands, as numbers and as named tensors: what a checkpoint inside a phase holds, and goes on from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from graft.types import Json


@dataclass
class Progress:
    """Where a phase stands. All of it is in the checkpoint; what is not here is not used."""

    phase: int
    epoch: int = 0
    step: int = 0  # optimiser steps done in the phase
    batch: int = 0  # batches done in the epoch
    loss: float = 0.0  # sum over the epoch's samples
    seen: int = 0
    history: list[float] = field(default_factory=list)
    best_epoch: int = -1
    best: dict[str, float] = field(default_factory=dict)
    train_loss: float = 0.0
    seconds: float = 0.0


@dataclass
class State:
    """The tensors of a phase. `average` and `kept`, the best so far, are copies of what moves; each is changed in
    place, so that others may hold on to it."""

    model: nn.Module
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    average: dict[str, Tensor]
    kept: dict[str, Tensor]
    terms: Sequence[object] = ()  # those that are modules have tensors of their own

    def tensors(self) -> dict[str, Tensor]:
        parts = {"model": self.model.state_dict(), "average": self.average, "kept": self.kept,
                 "terms": own_state(self.terms)}  # fmt: skip
        made = {f"{part}/{name}": t for part, tensors in parts.items() for name, t in tensors.items()}
        moments = self.optimizer.state_dict()["state"]
        return made | {
            f"optimizer/{i}/{n}": torch.as_tensor(v) for i, values in moments.items() for n, v in values.items()
        }

    def facts(self, at: Progress, seconds: float) -> Json:
        return asdict(at) | {"seconds": seconds, "scaler": self.scaler.state_dict()}

    def load(self, tensors: Mapping[str, Tensor], facts: Json) -> Progress:
        """Go on from what `tensors` and `facts` gave."""
        self.model.load_state_dict(_under("model/", tensors))
        fill(self.average, _under("average/", tensors))
        fill(self.kept, _under("kept/", tensors))
        fill(own_state(self.terms), _under("terms/", tensors))
        moments: dict[int, dict[str, Any]] = {}
        for name, value in _under("optimizer/", tensors).items():
            index, _, key = name.partition("/")
            moments.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        self.scaler.load_state_dict(facts["scaler"])
        return Progress(**{key: value for key, value in facts.items() if key != "scaler"})


def own_state(terms: Sequence[object]) -> dict[str, Tensor]:
    """The tensors of the terms that own some, as they are."""
    modules = [(i, term) for i, term in enumerate(terms) if isinstance(term, nn.Module)]
    return {f"terms.{i}.{name}": tensor for i, term in modules for name, tensor in term.state_dict().items()}


def own_parameters(terms: Sequence[object]) -> tuple[nn.Parameter, ...]:
    modules = [term for term in terms if isinstance(term, nn.Module)]
    return tuple(p for term in modules for p in term.parameters() if p.requires_grad)


def fill(mine: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Copy values into the tensors of the same names, on whatever device these are."""
    for name, value in values.items():
        mine[name].copy_(value)


def copies(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in state.items()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
