"""What an explainer is asked, and what it answers: an explainer is a function (Question, *, options) -> Answer.

What is explained is the log-odds of the class: of softmax heads the logit less the logarithm of the sum of the others'
exponentials, log p / (1 - p), which unlike p does not saturate; of labels that are questions of their own the logit.
Heads that vote (k-NN, a forest) give shares, whose logarithm jumps at 0, so there it is the share itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from graft.errors import UsageError
from graft.types import Inputs, Model, Raw, Task

KINDS = ("class", "labels")  # of labels that there is an explanation of
SHARES = 1e-6  # logits whose exponentials add up to 1 within this are logarithms of shares
Score = Callable[[Tensor, Tensor | None], Tensor]  # x (B, ...), mask (B, T) or None -> (B,)


@final
@dataclass(frozen=True)
class Question:
    """Why does `model`, in eval mode, say class `target` of one sample?

    `needs`: "pooled", or "stages" where the head takes the means of every stage. `known` (N, D): features of training
    samples, for `neighbours` alone.
    """

    model: Model
    task: Task
    raw: Raw
    target: int
    needs: str = "pooled"
    known: Tensor | None = None

    @property
    def modality(self) -> str:
        return self.model.backbone.info.modality

    def inputs(self, raws: Sequence[Raw]) -> Inputs:
        """What the network is given of samples (B, ...), where its weights are."""
        return self.on_device(self.model.backbone.prepare(raws))

    def on_device(self, inputs: Inputs) -> Inputs:
        where = next((one.device for one in (*self.model.parameters(), *self.model.buffers())), torch.device("cpu"))
        return Inputs(*(None if part is None else part.to(where) for part in inputs))  # type: ignore[arg-type]

    def features(self, inputs: Inputs) -> Tensor:
        """(B, D) that the head takes."""
        backbone = self.model.backbone
        found: Tensor = backbone.every_stage(inputs) if self.needs == "stages" else backbone(inputs).pooled
        return found.float()

    def score(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B,) what is explained."""
        logits: Tensor = self.model.head(self.features(Inputs(x, mask)))
        return log_odds(logits, self.target, self.task.kind == "labels")

    def unit(self) -> str:
        """Of the score: how what an explanation adds up is measured."""
        with torch.no_grad():
            logits = self.model.head(self.features(self.inputs([self.raw])))
        return "share of the votes" if self.task.kind == "class" and voting(logits) else "log-odds"

    def refused(self, method: str, why: str, other: str = "occlusion") -> UsageError:
        """What to raise where a method has no answer; `other` is a method that has one."""
        return UsageError(f"{method} cannot explain {self.model.backbone.info.source}: {why}", f"--method {other}")


class Word(NamedTuple):
    """Characters [start, end) of a text (`half` 0) or of its pair (1); what speaks against the class is negative."""

    half: int
    start: int
    end: int
    weight: float


@final
@dataclass(frozen=True)
class Answer:
    """`map` (H, W), positive where something speaks for the class: of an image the square that the network sees; of a
    sound pitch, the lowest first, by time, all of what is heard. `pitches`: the H + 1 edges of its rows in Hz; none
    where the map is over time alone (H = 1). `near`: positions in `known` and cosines, the nearest first."""

    map: Tensor | None = None
    pitches: tuple[float, ...] = ()
    words: tuple[Word, ...] = ()
    near: tuple[tuple[int, float], ...] = ()
    measured: bool = True  # whether its numbers are differences of the score


def log_odds(logits: Tensor, target: int, several: bool) -> Tensor:
    """(B, C) -> (B,); `several`: each class is a question of its own."""
    if several or logits.shape[1] < 2:
        return logits[:, target]
    if voting(logits):
        return logits[:, target].exp()
    others = torch.cat([logits[:, :target], logits[:, target + 1 :]], 1)
    return logits[:, target] - others.logsumexp(1)


def voting(logits: Tensor) -> bool:
    """Whether logits (B, C) are logarithms of shares."""
    return bool((logits.detach().logsumexp(1).abs() < SHARES).all())
