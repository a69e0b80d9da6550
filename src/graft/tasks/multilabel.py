"""Any number of labels for each sample, none included: each label is a question of its own (binary relevance)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from graft.errors import DataError, UsageError, did_you_mean
from graft.intervals import Array, Counts, wilson
from graft.nn import heads
from graft.tasks import _bootstrap, _checks, _metrics
from graft.types import Batch, Dataset, Features, Info, Json, Metric, Predictions, Sample, Task


def multilabel(
    classes: tuple[str, ...],
    *,
    head: str = "linear",
    threshold: float = 0.5,
    class_weights: str | None = None,
    counts: tuple[int, ...] | None = None,
) -> Task:
    """The task over `classes`, in the order of the columns; one class is enough.

    head: as in `classification`. A label is said where its probability is above `threshold`. class_weights:
    "balanced", where a label that is there weighs sum(n) / (C n_c), from the training `counts` (C,): rare labels
    count more. Raises UsageError or DataError for what cannot work.
    """
    if not classes or len(set(classes)) < len(classes):
        raise DataError(f"{len(classes)} labels, {len(set(classes))} of them different: nothing to tell",
                        "give samples with at least one label")  # fmt: skip
    with torch.device("meta"):
        heads.build(head, 1, len(classes))  # a wrong head is refused now, not after the features are computed
    weights = _balanced(class_weights, counts, len(classes)) if class_weights is not None else None
    return Multilabel(tuple(classes), head, _checks.share("threshold", threshold), weights)


@final
@dataclass
class Multilabel:
    """Made by `multilabel`. Predictions are probabilities (N, C); a target row of -1 is a sample without a label."""

    classes: tuple[str, ...]
    head_spec: str
    threshold: float
    weights: tuple[float, ...] | None
    kind: str = "labels"
    metric: str = "f1_micro"
    needs: str = "pooled"
    view: None = None

    def targets(self, dataset: Dataset) -> Tensor:
        """(N, C) of 0 and 1; rows of -1 where the labels are not known, or one of them is none of ours."""
        index = {label: i for i, label in enumerate(self.classes)}
        made = torch.zeros(len(dataset), len(self.classes))
        for row, sample in zip(made, dataset.samples, strict=True):
            labels = _labels(sample)
            if labels is None or not set(labels) <= index.keys():
                row.fill_(-1)
            else:
                row[[index[label] for label in labels]] = 1
        return made

    def head(self, info: Info) -> nn.Module:
        return heads.Labels(heads.build(self.head_spec, info.dim, len(self.classes), standardize=info.standardize))

    def loss(self, head: nn.Module, features: Features, batch: Batch) -> Tensor:
        """Binary cross-entropy, the mean over labelled samples and classes; 0 if no sample of the batch has labels.

        Targets (B, C) may lie between 0 and 1.
        """
        logits: Tensor = head(features.pooled).float()
        truth = batch.targets.to(logits.dtype)
        labelled = (truth >= 0).all(1)
        weights = logits.new_tensor(self.weights) if self.weights else None
        losses = F.binary_cross_entropy_with_logits(
            logits, truth.clamp(min=0), reduction="none", pos_weight=weights)  # fmt: skip
        mean: Tensor = (losses.mean(1) * labelled).sum() / labelled.sum().clamp(min=1)
        return mean

    def predict(self, head: nn.Module, features: Features) -> Predictions:
        """(B, C) probabilities, float32; each column for itself."""
        logits: Tensor = head(features.pooled).float()
        return Predictions(logits.sigmoid(), self.classes)

    def score(self, predictions: Predictions, targets: Tensor) -> dict[str, float]:
        """Figures without intervals, cheap enough for every epoch; higher `f1_micro` selects.

        `f1_samples` is the mean of each sample's F1, 1 where it has no labels and none was said; `subset_accuracy`
        counts the samples that are right in every label; `loss` is the binary cross-entropy without weights.
        """
        values, truth, _ = self._labelled(predictions, targets)
        return _bootstrap.plain(self._figures(values, truth), len(truth))

    def each(self, predictions: Predictions, targets: Tensor) -> Tensor:
        """(N,) what each sample adds to the metric. Their mean is micro F1, whose linearisation they are.

        The standard error of their mean is the delta method's. A sample without labels adds the mean itself.
        """
        values, truth, kept = self._labelled(predictions, targets)
        hits, _, total = self._sums(values, truth)
        return _metrics.over_all(_metrics.linear_f1(hits, total), kept)

    def measure(self, predictions: Predictions, targets: Tensor) -> dict[str, Metric]:
        """Figures with 95 % intervals: the bootstrap over samples, and Wilson's for the subset accuracy."""
        values, truth, _ = self._labelled(predictions, targets)
        figures, n = self._figures(values, truth), len(truth)
        plain = _bootstrap.plain(figures, n)
        exact = wilson(round(plain["subset_accuracy"] * n), n)
        return _bootstrap.bootstrap(figures, plain, n) | {"subset_accuracy": exact}

    def report(self, predictions: Predictions, targets: Tensor) -> Json:
        """Per class and averages, as of a classifier; `support` counts the samples that have the label."""
        values, truth, _ = self._labelled(predictions, targets)
        counts = self._counts(values, truth, np.ones((1, len(truth))))
        counts = Counts(*(column[0] for column in counts))
        return {"samples": len(truth), "classes": list(self.classes),
                "per_class": _metrics.rows(self.classes, counts), **_metrics.averages(counts)}  # fmt: skip

    def rows(self, predictions: Predictions, dataset: Dataset) -> list[Json]:
        """One row for each sample of the data set: the labels above the threshold, and the probability of each."""
        said = [{name: p for name, p in zip(self.classes, row, strict=True) if p > self.threshold}
                for row in predictions.values.tolist()]  # fmt: skip
        return [{"label": list(row), "probability": row} for row in said]

    def baselines(self, train: Tensor, train_targets: Tensor, features: Tensor) -> dict[str, Predictions]:
        """`majority`: each label as probable as it is frequent in training, for each of features (M, D)."""
        labelled = (train_targets >= 0).all(1)
        if not labelled.any():
            raise DataError("no training sample has labels", "label some of them")
        frequencies = train_targets[labelled].float().mean(0).cpu()
        return {"majority": Predictions(frequencies.expand(len(features), -1), self.classes)}

    def _labelled(self, predictions: Predictions, targets: Tensor) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Probabilities and truth (M, C) of the samples that have labels, and which of the N these are."""
        shape = (len(targets), len(self.classes))
        fits = tuple(predictions.values.shape) == shape == tuple(targets.shape)
        _checks.belong(fits, predictions.values, shape[0], f"{shape[1]} labels")
        values, truth = _checks.array(predictions.values), targets.cpu().double().numpy()
        kept = np.asarray((truth >= 0).all(1))
        _checks.some(kept)
        return values[kept], truth[kept], kept

    def _sums(self, values: Array, truth: Array) -> tuple[Array, Array, Array]:
        """Of each sample: labels that were found, labels that are wrong, labels there plus labels said; (M,) each."""
        said = values > self.threshold
        hits = (truth * said).sum(1)
        return hits, (truth != said).sum(1), truth.sum(1) + said.sum(1)

    def _counts(self, values: Array, truth: Array, weights: Array) -> Counts:
        """Counts (S, C) for weights (S, M)."""
        said = (values > self.threshold).astype(np.float64)
        return Counts(weights @ (truth * said), weights @ truth, weights @ said)

    def _figures(self, values: Array, truth: Array) -> _bootstrap.Figures:
        hits, wrong, total = self._sums(values, truth)
        own = np.where(total > 0, _metrics.ratio(2 * hits, total), 1.0)
        losses = _log_losses(values, truth)

        def figures(weights: Array) -> dict[str, Array]:
            n = weights.sum(1)
            return {
                "f1_micro": _metrics.ratio(2 * (weights @ hits), weights @ total),
                "f1_macro": _metrics.MACRO["f1_macro"](self._counts(values, truth, weights)),
                "f1_samples": weights @ own / n,
                "subset_accuracy": weights @ (wrong == 0) / n,
                "loss": weights @ losses / n,
            }

        return figures


def _labels(sample: Sample) -> tuple[str, ...] | None:
    return sample.label if isinstance(sample.label, tuple) else None


def _log_losses(values: Array, truth: Array) -> Array:
    """Binary cross-entropy of probabilities (M, C), the mean over classes -> (M,)."""
    sure = np.clip(values.astype(np.float64), _metrics.TINY, 1 - _metrics.TINY)
    losses: Array = -(truth * np.log(sure) + (1 - truth) * np.log1p(-sure)).mean(1)
    return losses


def _balanced(asked: str, counts: tuple[int, ...] | None, classes: int) -> tuple[float, ...]:
    """What a label that is there weighs; one without samples weighs 1, as nothing is known of it."""
    if asked != "balanced":
        raise UsageError(f"there are no class weights called '{asked}'", did_you_mean(str(asked), ["balanced"]))
    if counts is None or len(counts) != classes or sum(counts) <= 0:
        raise UsageError(f"class_weights='balanced' needs the training counts of {classes} labels",
                         "give counts=(...), one number for each label")  # fmt: skip
    return tuple(sum(counts) / (classes * n) if n else 1.0 for n in counts)
