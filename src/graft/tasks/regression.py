"""One number for each sample: a price, a rating, a degree of likeness."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from graft.errors import DataError, UsageError, did_you_mean
from graft.intervals import Array
from graft.nn import heads
from graft.tasks import _bootstrap, _checks, _metrics
from graft.tasks._regression_head import RegressionHead
from graft.types import Batch, Dataset, Features, Info, Json, Metric, Predictions, Task

LOSSES: dict[str, Callable[..., Tensor]] = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": F.huber_loss}
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def regression(
    classes: tuple[str, ...] = (),
    *,
    head: str = "linear",
    loss: str = "mse",
    scale: tuple[float, float] | None = None,
) -> Task:
    """The task of a number; there are no `classes`.

    head: as in `classification`. loss: "mse", "mae" or "huber", in standard units. scale: mean and deviation of the
    training targets, which are these units; a deviation of 0 counts as 1. Raises UsageError for what cannot work.
    """
    if loss not in LOSSES:
        raise UsageError(f"there is no loss called '{loss}'", did_you_mean(loss, LOSSES))
    with torch.device("meta"):
        heads.build(head, 1, 1)  # a wrong head is refused now, not after the features are computed
    return Regression(head, loss, *_scale(scale), scale is not None)


@final
@dataclass
class Regression:
    """Made by `regression`. Predictions are values (N, 1) in the label's unit; a target of nan is no label."""

    head_spec: str
    loss_name: str
    centre: float
    spread: float
    scaled: bool = False  # whether the two are those of training targets
    classes: tuple[str, ...] = ()
    kind: str = "number"
    metric: str = "r2"
    needs: str = "pooled"
    view: None = None

    def targets(self, dataset: Dataset) -> Tensor:
        """(N,) float32; nan where a sample has no number."""
        return torch.tensor([_number(sample.label) for sample in dataset.samples], dtype=torch.float32)

    def head(self, info: Info) -> nn.Module:
        return RegressionHead(self.head_spec, info.dim, self.centre, self.spread, info.standardize)

    def loss(self, head: nn.Module, features: Features, batch: Batch) -> Tensor:
        """The mean over the labelled samples of a batch, in the head's standard units; 0 if none has a label."""
        assert isinstance(head, RegressionHead)
        labelled = ~batch.targets.isnan()
        truth = (batch.targets.nan_to_num(0.0) - head.centre) / head.spread
        losses = LOSSES[self.loss_name](head(features.pooled), truth, reduction="none")
        mean: Tensor = (losses * labelled).sum() / labelled.sum().clamp(min=1)
        return mean

    def predict(self, head: nn.Module, features: Features) -> Predictions:
        """(B, 1) values in the label's unit, float32."""
        assert isinstance(head, RegressionHead)
        return Predictions((head.centre + head.spread * head(features.pooled)).unsqueeze(1))

    def score(self, predictions: Predictions, targets: Tensor) -> dict[str, float]:
        """Figures without intervals, cheap enough for every epoch; higher `r2` selects.

        Where the targets or the values are all the same, what would divide by zero is 0.
        """
        from scipy import stats  # half a second that predictions do not need

        values, truth, _ = self._labelled(predictions, targets)
        errors = values - truth
        mse, variance = float(np.square(errors).mean()), _variance(truth)
        varied = variance > 0 and np.ptp(values) > 0
        return {
            "r2": 1 - mse / variance if variance > 0 else 0.0,
            "pearson": float(stats.pearsonr(values, truth).statistic) if varied else 0.0,
            "spearman": float(stats.spearmanr(values, truth).statistic) if varied else 0.0,
            "mse": mse,
            "mae": float(np.abs(errors).mean()),
            "loss": mse / self.spread**2,
        }

    def each(self, predictions: Predictions, targets: Tensor) -> Tensor:
        """(N,) what each sample adds to the metric: 1 - (y - f)^2 / v, with v the variance of the training targets.

        Their mean is 1 - MSE / v, R2 against the training variance, which no outlier of a fold can swell. Without a
        `scale`, v is the variance of these targets, and the mean is R2; where they are all the same, everything is 0.
        A sample without a label adds the mean itself.
        """
        values, truth, kept = self._labelled(predictions, targets)
        variance = self.spread**2 if self.scaled else _variance(truth)
        own = 1 - np.square(values - truth) / variance if variance > 0 else np.zeros(len(truth))
        return _metrics.over_all(own, kept)

    def measure(self, predictions: Predictions, targets: Tensor) -> dict[str, Metric]:
        """Figures with 95 % intervals: the bootstrap over samples."""
        values, truth, _ = self._labelled(predictions, targets)
        figures = _figures(values, truth, self.spread)
        return _bootstrap.bootstrap(figures, self.score(predictions, targets), len(truth))

    def report(self, predictions: Predictions, targets: Tensor) -> Json:
        """The figures, and quantiles of the errors (value less truth), of their size and of the targets."""
        values, truth, _ = self._labelled(predictions, targets)
        errors = values - truth
        return {
            "samples": len(truth),
            "figures": self.score(predictions, targets),
            "target": {"mean": float(truth.mean()), "deviation": float(truth.std()), "quantiles": _quantiles(truth)},
            "error": {"mean": float(errors.mean()), "deviation": float(errors.std()), "quantiles": _quantiles(errors)},
            "absolute_error": {"mean": float(np.abs(errors).mean()), "quantiles": _quantiles(np.abs(errors))},
        }

    def rows(self, predictions: Predictions, dataset: Dataset) -> list[Json]:
        """One row for each sample of the data set: its value."""
        return [{"label": value} for (value,) in predictions.values.tolist()]

    def baselines(self, train: Tensor, train_targets: Tensor, features: Tensor) -> dict[str, Predictions]:
        """`mean`: that of the training targets, for each of features (M, D)."""
        known = train_targets[~train_targets.isnan()]
        if not len(known):
            raise DataError("no training sample has a number", "label some of them")
        mean = known.double().mean().float().cpu()
        return {"mean": Predictions(mean.expand(len(features), 1))}

    def _labelled(self, predictions: Predictions, targets: Tensor) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Values and truth (M,) of the samples that have a label, and which of the N these are."""
        fits = tuple(predictions.values.shape) == (len(targets), 1)
        _checks.belong(fits, predictions.values, len(targets), "one number")
        values, truth = _checks.array(predictions.values)[:, 0].astype(np.float64), targets.cpu().double().numpy()
        kept = ~np.isnan(truth)
        _checks.some(kept)
        return values[kept], truth[kept], kept


def _figures(values: Array, truth: Array, spread: float) -> _bootstrap.Figures:
    """Everything that `score` says, of many draws at once: of sums, and of ranks that each draw makes anew."""
    errors = values - truth
    f, y = values - values.mean(), truth - truth.mean()  # or the sums of squares would cancel
    ranked = _ranks(f), _ranks(y)

    def figures(weights: Array) -> dict[str, Array]:
        n = weights.sum(1)
        mse = weights @ np.square(errors) / n
        variance = weights @ np.square(y) / n - np.square(weights @ y / n)
        varies = variance > 1e-12 * max(1e-300, np.square(y).max())
        return {
            "r2": np.where(varies, 1 - _metrics.ratio(mse, variance), 0.0),
            "pearson": _correlation(weights, f, y),
            "spearman": _correlation(weights, *(ranks(weights) for ranks in ranked)),
            "mse": mse,
            "mae": weights @ np.abs(errors) / n,
            "loss": mse / spread**2,
        }

    return figures


def _variance(values: Array) -> float:
    """Exactly 0 where all are the same: the mean of equal numbers may be rounded."""
    return float(values.var()) if np.ptp(values) > 0 else 0.0


def _correlation(weights: Array, x: Array, y: Array) -> Array:
    """Pearson's, weighted (S, N), of x and y, (N,) or (S, N) -> (S,); 0 where one does not vary."""
    n = weights.sum(1, keepdims=True)
    x, y = (v - (weights * v).sum(1, keepdims=True) / n for v in (x, y))
    xx, yy, xy = ((weights * v).sum(1) for v in (x * x, y * y, x * y))
    return np.clip(_metrics.ratio(xy, np.sqrt(xx * yy)), -1, 1)


def _ranks(x: Array) -> Any:
    """Weights (S, N) -> the mean ranks (S, N) that x (N,) has in each draw, without sorting again."""
    _, group, sizes = np.unique(x, return_inverse=True, return_counts=True)
    order, starts = np.argsort(group, kind="stable"), np.cumsum(sizes) - sizes

    def ranks(weights: Array) -> Array:
        drawn = np.add.reduceat(weights[:, order], starts, axis=1)  # how often each value is there
        made: Array = (np.cumsum(drawn, axis=1) - (drawn - 1) / 2)[:, group]
        return made

    return ranks


def _quantiles(values: Array) -> dict[str, float]:
    return {str(q): float(value) for q, value in zip(QUANTILES, np.quantile(values, QUANTILES), strict=True)}


def _number(label: object) -> float:
    return float(label) if isinstance(label, int | float) and math.isfinite(label) else math.nan


def _scale(asked: tuple[float, float] | None) -> tuple[float, float]:
    if asked is None:
        return 0.0, 1.0
    good = isinstance(asked, tuple | list) and len(asked) == 2 and all(not math.isnan(_number(v)) for v in asked)
    if not good or asked[1] < 0:
        raise UsageError(f"scale={asked!r} is not a mean and a deviation", "scale=(mean, deviation), deviation >= 0")
    return float(asked[0]), float(asked[1]) or 1.0
