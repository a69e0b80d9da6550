"""What the tasks of two views share: both are brought together again, and a sample is to be found by its other view."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graft import intervals
from graft.device import autocast
from graft.errors import DataError, UsageError
from graft.intervals import Array
from graft.tasks import _bootstrap, _checks, _pretext
from graft.types import Batch, Dataset, Features, Info, Inputs, Json, Metric, Predictions
from graft.views.pair import VIEWS, Pair

AT_ONCE = 256  # samples that are compared with all others at a time
SHARP = 0.1  # temperature of the cosines in `loss`, the same for all tasks, so that they can be compared
Outputs = Callable[[nn.Module, Tensor, Inputs], tuple[Tensor, ...]]  # head, (2 B, D), inputs -> (2 B, E) each
Objective = Callable[..., Tensor]  # the first (B, E) and second (B, E) of each output -> the loss


def projected(head: nn.Module, pooled: Tensor, inputs: Inputs) -> tuple[Tensor, ...]:
    """The embeddings alone."""
    return (head(pooled),)


@final
@dataclass
class TwoViews(_pretext.Unlabelled):
    """A task of two views. Its head makes embeddings (2 B, E) of features (2 B, D), views of a sample together.

    Predictions (N, 2 E) are both embeddings of each sample. The metric, `retrieval`, is the share of samples whose
    first view has its own second view as the nearest of all second views, by the cosine; the views are always the same
    ones. `objective` gets float32 whatever the precision of the trunk.
    """

    classes: tuple[str, ...]
    view: Pair
    make: Callable[[Info], nn.Module]
    objective: Objective
    outputs: Outputs = projected
    kind: str = "none"
    metric: str = "retrieval"
    needs: str = "views"

    def head(self, info: Info) -> nn.Module:
        return self.make(info)

    def loss(self, head: nn.Module, features: Features, batch: Batch) -> Tensor:
        """The objective of a batch. Raises UsageError for one of a single sample, and where there are no two views of
        each, as from a frozen prefix, which sees pictures as they are."""
        _pretext.truth_of(features, VIEWS, len(batch.rows))
        if len(batch.rows) < 2:
            what = "a batch holds a single picture, and there is nothing to tell it apart from"
            raise UsageError(what, "take more: --batch-size 64, or more pictures")
        found = self.outputs(head, features.pooled, batch.inputs)
        with autocast(features.pooled.device, torch.float32):
            return self.objective(*(view for one in found for view in _two(one.float())))

    def predict(self, head: nn.Module, features: Features) -> Predictions:
        """(B, 2 E) embeddings, float32. Raises UsageError where there are no two views of each, as `loss` does."""
        _pretext.truth_of(features, VIEWS)
        return Predictions(torch.cat(_two(head(features.pooled).float()), 1))

    def score(self, predictions: Predictions, targets: Tensor) -> dict[str, float]:
        """`retrieval`, which selects; `spread`, 1 for embeddings spread evenly over the sphere and 0 for those that
        are all alike, std sqrt(E) (Chen & He 2021, arXiv:2011.10566); `loss`, the cross-entropy of finding the own
        view among all others, by which epochs of equal retrieval are told apart."""
        found = _found(predictions, targets)
        return {"retrieval": float(found.right.mean()), "loss": float(found.losses.mean()),
                **_bootstrap.plain(_spread(predictions), len(targets))}  # fmt: skip

    def each(self, predictions: Predictions, targets: Tensor) -> Tensor:
        """(N,) 1 where the own second view is the nearest. Their mean is the retrieval."""
        return _found(predictions, targets).right

    def measure(self, predictions: Predictions, targets: Tensor) -> dict[str, Metric]:
        """Figures with 95 % intervals: Wilson's for the retrieval, the bootstrap for the others. All are among these
        samples: among more of them the own view is harder to find."""
        found, spread = _found(predictions, targets), _spread(predictions)
        return {
            "retrieval": intervals.wilson(float(found.right.sum()), len(targets)),
            **_bootstrap.bootstrap(spread, _bootstrap.plain(spread, len(targets)), len(targets)),
            "loss": intervals.bootstrap_mean(found.losses.numpy()),
        }

    def report(self, predictions: Predictions, targets: Tensor) -> Json:
        """The figures, how many samples were found, and what guessing would find."""
        found = _found(predictions, targets)
        return {"samples": len(targets), "right": int(found.right.sum()), "chance": 1 / max(1, len(targets)),
                "figures": self.score(predictions, targets)}  # fmt: skip

    def rows(self, predictions: Predictions, dataset: Dataset) -> list[Json]:
        """One row for each sample of the data set: whose second view is nearest to its first one, how probable that
        is by the cosines, and the cosine of its own two views."""
        found = _found(predictions, torch.zeros(len(dataset)))
        columns = zip(*(column.tolist() for column in (found.nearest, found.sure, found.own)), strict=True)
        return [{"label": dataset.samples[nearest].key, "probability": sure, "own": own}
                for nearest, sure, own in columns]  # fmt: skip


class Found(NamedTuple):
    """Of each of N samples, all (N,): the cosine of its own views, the sample whose second view is nearest to its
    first one and its probability, whether that is its own, and -log of its own probability."""

    own: Tensor
    nearest: Tensor
    sure: Tensor
    right: Tensor
    losses: Tensor


def _two(rows: Tensor) -> tuple[Tensor, ...]:
    """(2 B, E), views of a sample together -> all first and all second views, (B, E) each."""
    made: tuple[Tensor, ...] = rows.unflatten(0, (-1, VIEWS)).unbind(1)
    return made


def _unit(predictions: Predictions) -> Tensor:
    """(N, 2, E) embeddings of length 1."""
    return F.normalize(predictions.values.detach().unflatten(1, (VIEWS, -1)), dim=2)


def _found(predictions: Predictions, targets: Tensor) -> Found:
    """Of equally near ones the first counts as the nearest: embeddings that are all alike find one sample of N."""
    values = predictions.values
    _checks.belong(values.ndim == 2 and len(values) == len(targets), values, len(targets), "two embeddings")
    _checks.array(values)
    if not len(values):
        raise DataError("there are no samples to be found", "give some pictures")
    first, second = _unit(predictions).unbind(1)
    blocks = torch.arange(len(values)).split(AT_ONCE)
    parts = [_block(first[rows] @ second.T, rows) for rows in blocks]
    return Found(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _block(cosines: Tensor, rows: Tensor) -> Found:
    """(B, N) cosines of the first views of these rows (B,) with all second views."""
    logs = (cosines / SHARP).log_softmax(1)
    own, nearest = rows[:, None], cosines.argmax(1)
    sure = logs.gather(1, nearest[:, None])[:, 0].exp()
    return Found(cosines.gather(1, own)[:, 0], nearest, sure, (nearest == rows).double(), -logs.gather(1, own)[:, 0])


def _spread(predictions: Predictions) -> _bootstrap.Figures:
    """The deviation of each dimension over all views, their mean, times the root of their number."""
    unit = _unit(predictions).double()
    means, squares = unit.mean(1).numpy(), unit.square().mean(1).numpy()

    def figures(weights: Array) -> dict[str, Array]:
        total = weights.sum(1, keepdims=True)
        mean = weights @ means / total
        variance = (weights @ squares / total - mean**2).clip(0)
        return {"spread": np.sqrt(variance).mean(1) * np.sqrt(means.shape[1])}

    return figures
