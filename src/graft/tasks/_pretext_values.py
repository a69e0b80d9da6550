"""The figures of tasks in which hidden values are to be guessed, and share of their variance says how well.

Predictions (N, 3) are of each sample: the sum of squared errors, the sum of squares of what was hidden (the errors of
who knows nothing and says 0), hidden values.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from graft.errors import DataError
from graft.intervals import Array
from graft.tasks import _bootstrap, _checks, _metrics, _pretext
from graft.types import Dataset, Json, Metric, Predictions


class Values(_pretext.Unlabelled):
    """The figures of such a task, from predictions (N, 3) and targets (N,) of which only the number counts."""

    nothing: ClassVar[tuple[str, str]] = (
        "nothing is hidden of any of {} samples",
        "look for samples that can be read",
    )

    def score(self, predictions: Predictions, targets: Tensor) -> dict[str, float]:
        """The share of the hidden values' squares that was guessed (1: all, 0: no more than by saying 0, or less than
        0), and the mean squared error; a higher share selects."""
        columns = self._columns(predictions, targets)
        return _bootstrap.plain(_figures(columns), len(columns))

    def each(self, predictions: Predictions, targets: Tensor) -> Tensor:
        """(N,) what each sample adds to the share, the linearisation of a ratio of sums: their mean is the share.

        The standard error of their mean is the delta method's.
        """
        errors, squares, _ = self._columns(predictions, targets).T
        return torch.from_numpy(_metrics.linear_f1((squares - errors) / 2, squares))  # 2 hits / total

    def measure(self, predictions: Predictions, targets: Tensor) -> dict[str, Metric]:
        """Figures with 95 % intervals: the bootstrap over samples, as the values of one are not independent."""
        columns = self._columns(predictions, targets)
        return _bootstrap.bootstrap(_figures(columns), self.score(predictions, targets), len(columns))

    def report(self, predictions: Predictions, targets: Tensor) -> Json:
        """The figures, and how many values were hidden."""
        columns = self._columns(predictions, targets)
        hidden, scores = int(columns[:, 2].sum()), self.score(predictions, targets)
        return {"samples": len(columns), "hidden": hidden, "figures": scores}

    def rows(self, predictions: Predictions, dataset: Dataset) -> list[Json]:
        """One row for each sample of the data set: the share of what was hidden that was guessed (0 where there was
        nothing), hidden values and their mean squared error."""
        made = []
        for errors, squares, count in predictions.values.double().tolist():
            label, loss = (float(_metrics.ratio(*pair)) for pair in ((squares - errors, squares), (errors, count)))
            made.append({"label": label, "hidden": int(count), "loss": loss})
        return made

    def _columns(self, predictions: Predictions, targets: Tensor) -> Array:
        """(N, 3) of predictions that belong to their targets and hold something to count."""
        values = predictions.values
        _checks.belong(values.shape == (len(targets), 3), values, len(targets), "three sums")
        columns = _checks.array(values).astype(np.float64)
        if not columns[:, 2].any():
            what, hint = self.nothing
            raise DataError(what.format(len(columns)), hint)
        return columns


def loss(said: Tensor, truth: Tensor) -> Tensor:
    """The mean squared error of the values that are hidden, where `truth` is not nan; 0 if there are none."""
    errors = (said.float() - truth)[~truth.isnan()]
    return errors.square().sum() / max(1, len(errors))


def predictions(said: Tensor, truth: Tensor) -> Predictions:
    """(N, ...) twice -> (N, 3) float32."""
    known, truth = (~truth.isnan()).flatten(1), truth.nan_to_num(0.0).flatten(1)
    errors = (said.float().flatten(1) - truth).where(known, 0.0)
    return Predictions(torch.stack([errors.square().sum(1), truth.square().sum(1), known.float().sum(1)], 1))


def _figures(columns: Array) -> _bootstrap.Figures:
    def figures(weights: Array) -> dict[str, Array]:
        errors, squares, count = (weights @ columns).T
        return {"explained": _metrics.ratio(squares - errors, squares), "loss": _metrics.ratio(errors, count)}

    return figures
