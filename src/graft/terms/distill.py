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
from graft.terms import _classes, _looks
from graft.types import Backbone, Model, Step


def distill(
    model: Model,
    *,
    teacher: str | None = None,
    of: str = "features",
    look: str = "views",
    alpha: float = 1.0,
    temperature: float = 4.0,
    by: str = "name",
    samples: _looks.Samples | None = None,
    classes: tuple[str, ...] | None = None,
    mix: str | None = None,
    still: bool = False,
) -> Distill:
    """`teacher` is any backbone, such as torchvision:resnet50 or trained:runs/wide; None: the trunk as it came, so that
    it does not forget. `look`: "views" or "once". `alpha` is the weight. `by`: its classes are found by their names;
    "place" takes the k-th of the teacher for the k-th of the data, where it names none. The others are given by who
    trains: the `samples` and `classes` of the data, how samples are blended, and whether first stages `still` stand.

    Raises UsageError for options that cannot be, and for a teacher without what is to be learned of it.
    """
    _check(of, look, by, alpha, temperature)
    _looks.check(look, mix, still)
    made, name = _teacher(model, teacher), teacher or "the trunk as it came"
    if made.info.modality != model.backbone.info.modality:
        what = f"{name} is for {made.info.modality} samples, and {model.backbone.info.source} is not"
        raise UsageError(what, f"choose a teacher for {model.backbone.info.modality}: graft list backbone")
    sees = _looks.looking(look, model.backbone, made, samples)
    told = _classes.told(made, name, model.head, classes, by) if of == "classes" else None
    project = None if told else nn.Linear(model.backbone.info.dim, made.info.dim)
    return Distill(sees, told, project, alpha, temperature).to(_device(model))


def _check(of: str, look: str, by: str, alpha: float, temperature: float) -> None:
    known = of in ("features", "classes") and look in ("views", "once") and by in ("name", "place")
    if not known or not (0 < alpha < float("inf") and 0 < temperature < float("inf")):
        what = f"of={of!r}, look={look!r}, by={by!r}, alpha={alpha}, temperature={temperature} is no way to learn from "
        hint = "of='features' or 'classes', look='views' or 'once', by='name' or 'place', and numbers above 0"
        raise UsageError(f"{what}a teacher", hint)


@final
class Distill(nn.Module):
    """Made by `distill`. The teacher is no part of its state: it stands still, and its source makes it again."""

    def __init__(
        self,
        sees: Callable[[Step], Tensor],
        classes: Callable[[Tensor], Tensor] | None,
        project: nn.Linear | None,
        alpha: float,
        temperature: float,
    ) -> None:
        super().__init__()
        self._teacher, self.alpha, self.temperature = (sees, classes), alpha, temperature  # a tuple: none of our parts
        self.project = project

    def forward(self, step: Step) -> Tensor:
        sees, classes = self._teacher
        with torch.no_grad():
            told = sees(step)
            logits = classes(told) if classes else told
        if self.project is not None:
            return self.alpha * hint(self.project(step.features.pooled), told)
        return self.alpha * soft_targets(step.model.head(step.features.pooled), logits, self.temperature)


def hint(guess: Tensor, told: Tensor) -> Tensor:
    """The mean squared error of (B, D) guesses of what was told, standardised over the batch: 1 is no better than its
    mean. A feature that does not vary says nothing, and counts as 0."""
    far = told.float() - told.float().mean(0)
    variance = far.square().mean(0)
    noise = 1e-5 * variance.mean() + 1e-10 * told.float().square().mean() + torch.finfo(torch.float32).tiny
    scaled = far / (variance + noise).sqrt()
    return (guess.float() - scaled).square().mean()


def soft_targets(mine: Tensor, theirs: Tensor, temperature: float) -> Tensor:
    """Hinton's loss of logits (B, C), the mean over the batch; the square keeps the size of its gradient."""
    log_p, log_q = ((logits.float() / temperature).log_softmax(-1) for logits in (mine, theirs))
    return temperature**2 * F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)


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
