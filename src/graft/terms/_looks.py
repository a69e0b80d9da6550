"""How a teacher looks at what the student sees: beside it, at the same views, or once before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor
from torch.nn import functional as F

from graft.errors import UsageError
from graft.freeze import boundary_of
from graft.types import Backbone, Inputs, Json, Step

Samples = Callable[[Backbone], Tensor]  # what a trunk makes of the training samples as they are: (N, D)


def check(look: str, mix: str | None, still: bool) -> None:
    """Raises UsageError for a way of looking by which a teacher sees nothing, or something else than the student.

    `mix`: how the run blends samples, None where it does not; `still`: whether first stages of the trunk stand still.
    """
    if look == "once" and mix is not None:
        what = f"look='once' tells what the teacher makes of single samples, and --mix {mix} blends two of them"
        raise UsageError(what, "look='views', or leave --mix out")
    if look == "views" and still:
        raise _unseen()


def _unseen() -> UsageError:
    what = "the first stages of the trunk stand still, and a teacher cannot look at what they make of a sample"
    return UsageError(what, "look='once'; or move all of it: --strategy full")


def looking(look: str, student: Backbone, teacher: Backbone, samples: Samples | None) -> Callable[[Step], Tensor]:
    """The teacher's pooled features for a step; `look` is "views" or "once". Raises UsageError as `eyes` does."""
    return Once(teacher, samples) if look == "once" else Views(teacher, eyes(student, teacher))


@final
class Views:
    """The teacher beside the student, at the same views."""

    def __init__(self, teacher: Backbone, eyes: Callable[[Inputs], Inputs]) -> None:
        self.teacher, self.eyes = teacher, eyes

    def __call__(self, step: Step) -> Tensor:
        """(B, D). Raises UsageError where the loop hands on what a frozen prefix made of the samples."""
        if boundary_of(step.model):
            raise _unseen()
        return self.teacher(self.eyes(step.batch.inputs)).pooled  # type: ignore[no-any-return]


@final
class Once:
    """The teacher before the student: what it makes of each sample is kept."""

    def __init__(self, teacher: Backbone, samples: Samples | None) -> None:
        self.teacher, self.samples, self.told = teacher, samples, torch.empty(0)

    def __call__(self, step: Step) -> Tensor:
        """(B * V, D): the views of a sample are all told the same. Raises UsageError where nobody gave the samples."""
        if self.samples is None:
            what = "look='once' looks at all samples of a run, and this training does not hand them on"
            raise UsageError(what, "look='views'")
        if not len(self.told):
            self.told = self.samples(self.teacher)
        rows, pooled = step.batch.rows, step.features.pooled
        return self.told[rows].to(pooled.device).repeat_interleave(len(pooled) // len(rows), 0)


def eyes(student: Backbone, teacher: Backbone) -> Callable[[Inputs], Inputs]:
    """The student's inputs as the teacher was trained to see them. Raises UsageError for two that read otherwise."""
    mine, theirs = student.preprocess.json(), teacher.preprocess.json()
    if mine == theirs:
        return lambda inputs: inputs
    if not mine.get("kind") == theirs.get("kind") == "images":
        what = f"{teacher.info.source} reads samples otherwise than {student.info.source}"
        raise UsageError(what, "choose a teacher that reads them alike, or look='once'")
    return lambda inputs: Inputs(_seen(inputs.x, mine, theirs))


def _seen(x: Tensor, mine: Json, theirs: Json) -> Tensor:
    """(B, 3, S, S), normalised for one -> normalised for the other, at its size."""
    m1, s1, m2, s2 = (torch.tensor(one[key]).view(3, 1, 1).to(x) for one in (mine, theirs) for key in ("mean", "std"))
    x, side = (x * s1 + m1 - m2) / s2, theirs["size"]
    return x if x.shape[-1] == side else F.interpolate(x, (side, side), mode="bilinear", antialias=x.shape[-1] > side)
