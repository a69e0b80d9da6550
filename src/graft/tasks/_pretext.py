"""What tasks share that take their labels from views of a picture: no targets, the truth of a view, what a trunk shows;
and, of those that ask a question with a few answers, the loss and the figures.

For these a sample has one guess or more: one for each quarter turn, one for its nine tiles. Predictions (N, 3) are of
each sample: the sum of its losses, right guesses, guesses.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from graft import intervals
from graft.errors import UsageError
from graft.intervals import Array
from graft.tasks import _checks
from graft.types import Augment, Backbone, Dataset, Features, Inputs, Json, Metric, Predictions

HINT = "move all of it: --strategy full, or --strategy 'discriminative(head_epochs=0)'"


class Unlabelled:
    """What the data set and its plain pictures say to such a task: nothing."""

    def targets(self, dataset: Dataset) -> Tensor:
        """(N,) zeros: what is to be guessed comes with the view."""
        return torch.zeros(len(dataset), dtype=torch.long)

    def baselines(self, train: Tensor, train_targets: Tensor, features: Tensor) -> dict[str, Predictions]:
        """None: features of plain pictures know nothing of a view, and what a guess in the dark comes to is known."""
        return {}


class Guesses(Unlabelled):
    """The figures of such a task, from predictions (N, 3) and targets (N,) of which only the number counts."""

    def answers(self) -> int:
        """How many answers a question has: a guess in the dark is right in one of so many."""
        raise NotImplementedError

    def score(self, predictions: Predictions, targets: Tensor) -> dict[str, float]:
        """The share of right guesses and their mean loss; a higher share selects."""
        losses, right, count = _columns(predictions, targets).T
        return {"accuracy": float(right.sum() / count.sum()), "loss": float(losses.sum() / count.sum())}

    def each(self, predictions: Predictions, targets: Tensor) -> Tensor:
        """(N,) the share of right guesses of each sample: their mean is the accuracy."""
        _, right, count = _columns(predictions, targets).T
        return torch.from_numpy(right / count)

    def measure(self, predictions: Predictions, targets: Tensor) -> dict[str, Metric]:
        """Figures with 95 % intervals over samples, as the guesses of one are not independent.

        That of the accuracy is Wilson's for as many yes or no as there are samples: a share of right guesses varies no
        more than a yes or no of the same mean, so it is never too narrow, and of single guesses it is exact.
        """
        losses, right, count = _columns(predictions, targets).T
        accuracy = intervals.wilson(min(float((right / count).sum()), len(count)), len(count))
        return {"accuracy": accuracy, "loss": intervals.bootstrap_mean(losses / count)}

    def report(self, predictions: Predictions, targets: Tensor) -> Json:
        """The figures, how many guesses there were and were right, and the share that guessing would have."""
        columns = _columns(predictions, targets)
        right, guesses = (int(total) for total in columns[:, 1:].sum(0))
        scores = self.score(predictions, targets)
        chance = 1 / self.answers()
        return {"samples": len(columns), "guesses": guesses, "right": right, "chance": chance, "figures": scores}

    def rows(self, predictions: Predictions, dataset: Dataset) -> list[Json]:
        """One row for each sample of the data set: right guesses, and the geometric mean of the truth's probability."""
        made = []
        for loss, right, count in predictions.values.double().tolist():
            mean, label = float(np.exp(-loss / max(1.0, count))), f"{right:.0f} of {count:.0f}"
            made.append({"label": label, "probability": mean, "right": int(right), "guesses": int(count), "loss": loss})
        return made


def loss(logits: Tensor, truth: Tensor) -> Tensor:
    """The mean cross-entropy of M guesses: logits (M, C), truth (M,)."""
    return F.cross_entropy(logits.float(), truth)


def predictions(logits: Tensor, truth: Tensor, guesses: int) -> Predictions:
    """(N * guesses, C) and (N * guesses,), those of a sample together -> (N, 3) float32."""
    losses = F.cross_entropy(logits.float(), truth, reduction="none")
    right = (logits.argmax(1) == truth).float()
    sums = torch.stack([losses, right, torch.ones_like(losses)], 1)
    return Predictions(sums.view(-1, guesses, 3).sum(1))


def truth_of(features: Features, views: int, rows: int | None = None) -> Tensor:
    """What the view says that there is to be guessed, (B * views, ...) of a batch of B samples; `rows` is B where it is
    known.

    Raises UsageError for features of pictures as they are, which a frozen prefix hands on.
    """
    found, truth = len(features.pooled), features.truth
    if truth is None or len(truth) != found or found % views or (rows is not None and found != views * rows):
        raise UsageError("the first stages of the trunk stand still, and so see pictures as they are", HINT)
    return truth


def shown(backbone: Backbone, view: Augment) -> tuple[Inputs, Features]:
    """What a trunk makes of one grey picture, seen in this view, and what it was shown. Raises what the trunk does."""
    preprocess = backbone.preprocess
    canvas = preprocess.sample(Image.new("RGB", (64, 64), (128, 128, 128)))
    inputs = preprocess.batch(canvas[None], view, [0])
    with torch.inference_mode():
        return inputs, backbone.eval()(inputs)


def refusal(error: Exception) -> str:
    """What a trunk says of pictures that it cannot take, on one line."""
    said: Any = str(error).strip().splitlines()
    return said[0] if said else type(error).__name__


def _columns(predictions: Predictions, targets: Tensor) -> Array:
    """(N, 3) of predictions that belong to their targets."""
    values = predictions.values
    _checks.belong(values.shape == (len(targets), 3) and len(targets) > 0, values, len(targets), "three sums")
    return _checks.array(values).astype(np.float64)
