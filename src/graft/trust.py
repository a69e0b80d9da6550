"""How far a run's predictions can be trusted: learned from samples that its weights have not seen, kept beside them.

trust.json         the temperature, on what it was made, the threshold of "unlike the training data"
trust.safetensors  the held-out probabilities and targets, and a bank of training features
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, final

from torch import Tensor

from graft import run
from graft.features import Feed
from graft.types import Json, Model, Predictions, Task

if TYPE_CHECKING:  # it takes a second to load, and `graft predict` needs none of it
    from graft.trials import Trials, Way

FILES = run.TRUSTED  # signed like the model, where they are there


class Sets(NamedTuple):
    """How sure a user wants to be: `coverage` is the share of sets that hold the truth."""

    coverage: float = 0.9
    method: str = "lac"  # lac, aps; or "class": lac with a threshold for each class
    abstain_below: float | None = None


@final
@dataclass(frozen=True)
class Trust:
    """What was learned; made by `learn`, read by `read`."""

    temperature: float
    made_on: str  # "validation part", "out of fold"
    held: Tensor  # (n, C) probabilities of held-out samples, not yet scaled
    targets: Tensor  # (n,) their classes

    def calibrated(self, predictions: Predictions) -> Predictions:
        """Probabilities (N, C) after temperature scaling; the labels stay what they are."""
        raise NotImplementedError

    def rows(
        self, predictions: Predictions, features: Tensor | None, digests: Sequence[str], asked: Sets
    ) -> list[Json]:
        """Of each of N raw predictions {"probability", "set": [class, ...], "unlike": bool, "unlikeness": 0..1}."""
        raise NotImplementedError


def keep_out_of_fold(folder: Path, trials: Trials, way: Way) -> None:
    """Write what the chosen way says of samples that it was not fitted to, for `learn`: out_of_fold.safetensors.
    Nothing is written where the labels are no classes, or too few samples were scored."""


def learn(
    folder: Path, model: Model, task: Task, train: Feed, valid: Feed, validated: Predictions | None
) -> Trust | None:
    """From the validation part (`validated` are its predictions), else from what `keep_out_of_fold` kept; writes FILES.
    None where the task has no classes, its head takes no pooled features, or nothing was held out."""
    return None


def read(folder: Path) -> Trust | None:
    """What `learn` wrote into a run folder; None for a run without it."""
    return None


def of_feed(trust: Trust, model: Model, feed: Feed) -> tuple[Tensor | None, list[str]]:
    """(N, D) pooled features of a feed as the final trunk sees it, and the digests of its samples: what `measured` and
    `Trust.rows` take. None where `trust` has no bank."""
    return None, [sample.digest for sample in feed.dataset.samples]


def measured(trust: Trust, raw: Predictions, targets: Tensor, features: Tensor | None, digests: Sequence[str]) -> Json:
    """On labelled samples that neither weights nor trust have seen: {"temperature", "made_on", "samples",
    "ece": {"before": Metric, "after": Metric}, "brier": {...}, "reliability": [{"low", "high", "count", "confidence",
    "accuracy", "accuracy_low", "accuracy_high", "before": {...}}], "sets": {"lac"|"aps"|"class": {"stated", "coverage":
    Metric, "size": mean size, "singletons": share}}, "unlike": {"threshold", "stated": 0.05, "flagged": Metric}}."""
    raise NotImplementedError


# ---------------------------------------------------------------------------------------- what predict and evaluate ask


def asked(loaded: run.Loaded, coverage: float, sets: str, abstain_below: float | None) -> Sets:
    """What a user asks of `graft predict`. Raises UsageError for what is no coverage, method or probability, and where
    the run has no trust.json to answer with."""
    return Sets(coverage, sets, abstain_below)


def said(loaded: run.Loaded, predictions: Predictions, feed: Feed, asked: Sets) -> list[Json]:
    """The rows of `graft predict`: those of the task, and, where the run has trust.json, with calibrated probability,
    set, unlike, abstained."""
    return loaded.task.rows(predictions, feed.dataset)


def required(loaded: run.Loaded, flag: str) -> Trust:
    """Raises UsageError for a run without trust.json."""
    raise NotImplementedError


def evaluated(trust: Trust, raw: Predictions, feed: Feed, targets: Tensor) -> Json:
    """`measured`, of a feed."""
    return {}


def told_apart(trust: Trust, raw: Predictions, feed: Feed, other: Predictions, other_feed: Feed) -> Json:
    """{"unlike_other": {"samples", "auroc": Metric, "flagged": Metric}} of data that hold none of the classes."""
    return {}
