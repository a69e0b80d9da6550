"""What strategies are written with: pieces of a model, and groups of them at a learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from graft import registry
from graft.errors import UsageError
from graft.nn import heads
from graft.rows import threads_for
from graft.types import Group, Model, Probe

State = dict[str, Tensor]


def head(model: Model) -> list[nn.Module]:
    return [model.head]


def stages(model: Model, last: int | None = None) -> list[nn.Module]:
    """The backbone's stages that have parameters, input first; `last` keeps the k nearest to the head."""
    moving = [stage for stage in model.backbone.stages if any(True for _ in stage.parameters())]
    if last is None:
        return moving
    if not 0 <= last <= len(moving):
        raise UsageError(f"last={last}, but this backbone has {len(moving)} stages with weights",
                         f"choose last between 0 and {len(moving)}")  # fmt: skip
    return moving[len(moving) - last :]


def group(modules: Iterable[nn.Module], lr: float) -> Group:
    """One group of all parameters in `modules`, each once."""
    params = {id(p): p for module in modules for p in module.parameters()}
    return Group(tuple(params.values()), lr)


def rate(model: Model, times: float = 1.0, asked: float | None = None) -> float:
    """The learning rate `asked` for, else `times` the one at which this trunk is fine-tuned as a whole."""
    return times * model.backbone.info.lr if asked is None else asked


def norms(model: Model) -> list[nn.Module]:
    """The trunk's normalisation layers that have a scale: BatchNorm, LayerNorm, GroupNorm and their like."""
    named = [m for m in model.backbone.modules() if "norm" in type(m).__name__.lower()]
    found = [m for m in named if any(True for _ in m.parameters(recurse=False))]
    if not found:
        what = f"{model.backbone.info.source} has no normalisation layers to move"
        raise UsageError(what, "choose another strategy: lp_ft")
    return found


def biases(model: Model) -> tuple[nn.Parameter, ...]:
    """The trunk's biases: of its linear layers, convolutions and normalisations, each once."""
    named = model.backbone.named_parameters()
    found = tuple(p for name, p in named if p.ndim == 1 and name.rpartition(".")[2].endswith("bias"))
    if not found:
        raise UsageError(f"{model.backbone.info.source} has no biases to move", "choose another strategy: lp_ft")
    return found


def solvable(model: Model) -> bool:
    """Whether a probe can solve the head in one step: a linear one, of classes."""
    return heads.affine(model.head) is not None


def solver(model: Model, probe: str) -> Callable[[Tensor, Tensor], None]:
    """Sets the linear head to what an affine probe (ridge, lda, logistic, svm_linear) comes to, for Phase.solve.

    Raises UsageError, now, for a head that no probe can solve and for a probe that comes to something else.
    """
    classes = heads.last_linear(model.head).out_features
    fitter: Probe = registry.find("probe", probe)()
    _check_affine(fitter, probe)

    def solve(features: Tensor, targets: Tensor) -> None:
        with threads_for(features.numel()):
            arrays = fitter.fit(features, targets, classes)
        heads.set_affine(model.head, arrays["weight"], arrays["bias"])

    return solve


def _check_affine(fitter: Probe, probe: str) -> None:
    """Only a fit shows what a probe comes to: two points, ten times each, cost less than a training for nothing."""
    points = torch.eye(2, dtype=torch.float64).repeat(10, 1) + torch.linspace(0, 0.1, 20).unsqueeze(1)
    arrays = fitter.fit(points, torch.arange(20) % 2, 2)
    if arrays.keys() != {"weight", "bias"}:
        raise UsageError(f"{probe} is no linear head to start from", "choose logistic, ridge, lda or svm_linear")


def snapshot(model: Model) -> State:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def average(states: Sequence[Mapping[str, Tensor]], weights: Sequence[float] | None = None) -> State:
    """The weighted mean of states of one network that began at one point; counters are those of the last."""
    shares = weights or [1 / len(states)] * len(states)
    last = states[-1]
    return {
        name: torch.stack([state[name] * share for state, share in zip(states, shares, strict=True)]).sum(0)
        if value.is_floating_point()
        else value
        for name, value in last.items()
    }
