"""Learn from a teacher: its features (FitNets, Romero et al. 2015), or its classes (Hinton et al. 2015).

features    mean |P s - z(t)|^2 over dimensions: s, t are the pooled features of student and teacher, z standardises
            over the batch, and P is a linear map that the term owns (arXiv:1412.6550; of the last layer, as in
            SimKD, Chen et al. 2022, arXiv:2203.14001)
classes     T^2 KL(softmax(teacher / T) | softmax(student / T)), with logits over the same classes (arXiv:1503.02531)

The teacher looks at the views that the student sees, or once at each sample as it is, which costs less and tells less
(relabelling, Yun et al. 2021, arXiv:2101.05022).
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graft import registry
from graft.errors import UsageError
from graft.spec import parse
from graft.types import Backbone, Inputs, Json, Model, Step

Samples = Callable[[Backbone], Tensor]  # what a trunk makes of the training samples as they are: (N, D)


def distill(
    model: Model,
    *,
    teacher: str | None = None,
    of: str = "features",
    look: str = "views",
    alpha: float = 1.0,
    temperature: float = 4.0,
    samples: Samples | None = None,
) -> Distill:
    """`teacher` is any backbone, such as torchvision:resnet50 or trained:runs/wide; None: the trunk as it came, so that
    it does not forget. `look`: "views" or "once". `alpha` is the weight. `samples` is given by who trains.

    Raises UsageError for options that cannot be, and for a teacher without what is to be learned of it.
    """
    if of not in ("features", "classes") or look not in ("views", "once") or not (alpha > 0 and temperature > 0):
        what = f"of={of!r}, look={look!r}, alpha={alpha}, temperature={temperature} is no way to learn from a teacher"
        raise UsageError(what, "of='features' or 'classes', look='views' or 'once', and numbers above 0")
    made = _teacher(model, teacher)
    name = teacher or "the trunk as it came"
    if of == "classes" and "classes" not in made.heads:
        raise UsageError(f"{name} brings no classes to learn from", "of='features' learns from its features")
    sees = _Once(made, samples) if look == "once" else _Views(made, _eyes(model.backbone, made))
    project = nn.Linear(model.backbone.info.dim, made.info.dim) if of == "features" else None
    return Distill(sees, made.heads.get("classes"), project, name, alpha, temperature).to(_device(model))


@final
class Distill(nn.Module):
    """Made by `distill`. The teacher is no part of its state: it stands still, and its source makes it again."""

    def __init__(
        self,
        sees: Callable[[Step], Tensor],
        head: nn.Module | None,
        project: nn.Linear | None,
        name: str,
        alpha: float,
        temperature: float,
    ) -> None:
        super().__init__()
        self._teacher, self.name, self.alpha, self.temperature = (sees, head), name, alpha, temperature
        self.project = project

    def forward(self, step: Step) -> Tensor:
        sees, head = self._teacher
        with torch.no_grad():
            told = sees(step)
        if self.project is not None:
            return self.alpha * hint(self.project(step.features.pooled), told)
        assert head is not None, "a teacher of classes has a head"
        mine, theirs = step.model.head(step.features.pooled), head(told)
        if mine.shape != theirs.shape:
            what = f"{self.name} knows {theirs.shape[-1]} classes, and the data have {mine.shape[-1]}"
            raise UsageError(what, "of='features' learns from its features")
        return self.alpha * soft_targets(mine, theirs, self.temperature)


def hint(guess: Tensor, told: Tensor) -> Tensor:
    """The mean squared error of (B, D) guesses of what was told, standardised over the batch: 1 is no better than its
    mean."""
    told = told.float()
    scaled = (told - told.mean(0)) / (told.var(0, correction=0) + 1e-5).sqrt()
    return (guess.float() - scaled).square().mean()


def soft_targets(mine: Tensor, theirs: Tensor, temperature: float) -> Tensor:
    """Hinton's loss of logits (B, C), the mean over the batch; the square keeps the size of its gradient."""
    log_p, log_q = ((logits.float() / temperature).log_softmax(-1) for logits in (mine, theirs))
    return temperature**2 * F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)


# ------------------------------------------------------------------------------------------------------ how it looks


@final
class _Views:
    """The teacher beside the student, at the same views."""

    def __init__(self, teacher: Backbone, eyes: Callable[[Inputs], Inputs]) -> None:
        self.teacher, self.eyes = teacher, eyes

    def __call__(self, step: Step) -> Tensor:
        return self.teacher(self.eyes(step.batch.inputs)).pooled  # type: ignore[no-any-return]


@final
class _Once:
    """The teacher before the student: what it makes of each sample is kept."""

    def __init__(self, teacher: Backbone, samples: Samples | None) -> None:
        self.teacher, self.samples, self.told = teacher, samples, torch.empty(0)

    def __call__(self, step: Step) -> Tensor:
        if self.samples is None or step.batch.targets.ndim > 1:
            what = "look='once' is for the samples of a run, one by one"
            raise UsageError(what, "look='views', or leave --mix out")
        if not len(self.told):
            self.told = self.samples(self.teacher)
        return self.told[step.batch.rows].to(step.features.pooled.device)


def _eyes(student: Backbone, teacher: Backbone) -> Callable[[Inputs], Inputs]:
    """The student's inputs as the teacher was trained to see them. Raises UsageError for two that take different kinds
    of samples."""
    mine, theirs = student.preprocess.json(), teacher.preprocess.json()
    if mine == theirs:
        return lambda inputs: inputs
    if not mine.get("kind") == theirs.get("kind") == "images":
        what = f"{teacher.info.source} reads samples otherwise than {student.info.source}"
        raise UsageError(what, "choose a teacher that reads them alike, or look='once'")
    return lambda inputs: Inputs(_seen(inputs.x, mine, theirs))


def _seen(x: Tensor, mine: Json, theirs: Json) -> Tensor:
    """(B, 3, S, S), normalised for one -> normalised for the other, at its size."""
    if x.ndim != 4 or x.shape[1] != 3:
        what = "the first stages of the trunk stand still, and a teacher cannot look at what they make of a picture"
        raise UsageError(what, "move all of it: --strategy full; or look='once'")
    m1, s1, m2, s2 = (torch.tensor(one[key]).view(3, 1, 1).to(x) for one in (mine, theirs) for key in ("mean", "std"))
    x, side = (x * s1 + m1 - m2) / s2, theirs["size"]
    return x if x.shape[-1] == side else F.interpolate(x, (side, side), mode="bilinear", antialias=x.shape[-1] > side)


def _teacher(model: Model, name: str | None) -> Backbone:
    """Frozen, in eval mode, on the student's device."""
    if name is None:
        made = deepcopy(model.backbone)
    else:
        asked = parse(name)
        made = asked.bind(registry.find("backbone", asked.name))
    for part in (made, *made.heads.values()):
        part.requires_grad_(False).eval().to(_device(model))
    return made


def _device(model: Model) -> torch.device:
    return next(model.parameters()).device
