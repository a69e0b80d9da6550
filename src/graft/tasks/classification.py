"""One label of several for each sample: images, texts or sounds alike, as the head sees only pooled features."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graft import intervals
from graft.errors import DataError, ResourceError, UsageError, did_you_mean
from graft.nn import heads
from graft.tasks import _metrics
from graft.types import Batch, Dataset, Features, Info, Json, Metric, Predictions, Task

LOSSES = ("cross_entropy", "binary", "mse")


def classification(
    classes: tuple[str, ...],
    *,
    head: str = "linear",
    loss: str = "cross_entropy",
    label_smoothing: float = 0.0,
    class_weights: str | tuple[float, ...] | None = None,
    counts: tuple[int, ...] | None = None,
) -> Task:
    """The task over `classes`, in the order of the label indices.

    head: "linear" or "mlp(hidden=(256,), dropout=0.2)". loss: "cross_entropy"; "binary", one-vs-all binary
    cross-entropy; "mse", squared error of the probabilities. class_weights: "balanced", which is n / (C n_c) from the
    training `counts`, or one weight for each class. Raises UsageError or DataError for what cannot work.
    """
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise DataError(f"{len(classes)} classes, {len(set(classes))} of them different: nothing to tell apart",
                        "give samples of at least two different classes")  # fmt: skip
    if loss not in LOSSES:
        raise UsageError(f"there is no loss called '{loss}'", did_you_mean(loss, LOSSES))
    if not 0 <= label_smoothing < 1:
        raise UsageError(f"label_smoothing={label_smoothing} is not a share", "choose 0 <= label_smoothing < 1")
    with torch.device("meta"):
        heads.build(head, 1, len(classes))  # a wrong head is refused now, not after the features are computed
    weights = _weights(class_weights, counts, len(classes))
    return Classification(tuple(classes), head, loss, float(label_smoothing), weights)


@final
@dataclass
class Classification:
    """Made by `classification`. Predictions are probabilities (N, C); a target of -1 is a sample without a label."""

    classes: tuple[str, ...]
    head_spec: str
    loss_name: str
    label_smoothing: float
    weights: tuple[float, ...] | None
    kind: str = "class"
    metric: str = "accuracy"
    needs: str = "pooled"
    view: None = None

    def targets(self, dataset: Dataset) -> Tensor:
        """(N,) class indices; -1 where a sample has no label."""
        return dataset.targets()

    def head(self, info: Info) -> nn.Module:
        return heads.build(self.head_spec, info.dim, len(self.classes), standardize=info.standardize)

    def loss(self, head: nn.Module, features: Features, batch: Batch) -> Tensor:
        """The mean over the labelled samples of a batch, each as heavy as its class; 0 if none has a label.

        Targets (B,) are indices, (B, C) probabilities. One definition serves both, so that MixUp with a share of 1
        is the plain loss, and it equals PyTorch's for indices, weights and smoothing included. Where no class weighs
        more PyTorch's own is taken: it costs half as much, which a small head feels.
        """
        logits: Tensor = head(features.pooled).float()
        if self.weights is None and self._plain(batch.targets):
            return F.cross_entropy(logits, batch.targets, ignore_index=-1, label_smoothing=self.label_smoothing)
        soft = self._one_hot(batch.targets)
        labelled = (soft.sum(1) > 0).to(soft.dtype)
        weights = logits.new_tensor(self.weights) if self.weights else logits.new_ones(len(self.classes))
        eps = self.label_smoothing
        losses = self._losses(logits, soft * (1 - eps) + eps / len(self.classes), weights)
        return (losses * labelled).sum() / (soft * weights).sum().clamp(min=torch.finfo(torch.float32).tiny)

    def predict(self, head: nn.Module, features: Features) -> Predictions:
        """(B, C) probabilities, float32, rows sum to 1."""
        logits: Tensor = head(features.pooled).float()
        if self.loss_name == "binary":
            logits = F.logsigmoid(logits)  # its softmax is sigmoid / sum of sigmoids, without their underflow
        return Predictions(logits.softmax(1), self.classes)

    def score(self, predictions: Predictions, targets: Tensor) -> dict[str, float]:
        """Figures without intervals, cheap enough for every epoch; higher `accuracy` selects."""
        values, truth = self._labelled(predictions, targets)
        seen = intervals.counts(self._confusion(values, truth))
        figures = {
            "accuracy": float(seen.hits.sum() / len(truth)),
            "loss": float(_metrics.log_losses(values, truth).mean()),
            "f1_macro": float(_metrics.MACRO["f1_macro"](seen)),
        }
        if len(self.classes) > 5:
            figures["top5"] = _metrics.top(values, truth, 5) / len(truth)
        return figures

    def each(self, predictions: Predictions, targets: Tensor) -> Tensor:
        """(N,) what each sample adds to the metric: 1 where its label is right. Their mean is the accuracy."""
        return (predictions.values.argmax(1).cpu() == targets.cpu()).double()

    def measure(self, predictions: Predictions, targets: Tensor) -> dict[str, Metric]:
        """Figures with 95 % intervals: Wilson's for rates of samples, the bootstrap for the others."""
        values, truth = self._labelled(predictions, targets)
        matrix = self._confusion(values, truth)
        figures = {"accuracy": intervals.wilson(int(matrix.trace()), len(truth))}
        if len(self.classes) > 5:
            figures["top5"] = intervals.wilson(_metrics.top(values, truth, 5), len(truth))
        figures |= intervals.bootstrap_confusion(matrix, _metrics.MACRO)
        return figures | {"loss": intervals.bootstrap_mean(_metrics.log_losses(values, truth))}

    def report(self, predictions: Predictions, targets: Tensor) -> Json:
        """Per class, averages, confusion matrix, and the pairs confused most."""
        return _metrics.table(self._confusion(*self._labelled(predictions, targets)), self.classes)

    def rows(self, predictions: Predictions, dataset: Dataset) -> list[Json]:
        """One row for each sample of the data set: the most probable class and its probability."""
        top = predictions.values.max(1)
        pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
        return [{"label": self.classes[index], "probability": value} for index, value in pairs]

    def baselines(self, train: Tensor, train_targets: Tensor, features: Tensor) -> dict[str, Predictions]:
        """What needs no training, from features (N, D) with targets (N,), for features (M, D)."""
        kept = train_targets >= 0
        if not kept.any():
            raise DataError("no training sample has a label", "label samples of at least two classes")
        train, train_targets = train[kept], train_targets[kept]
        return {
            "majority": majority(train_targets, len(features), self.classes),
            "centroid": centroid(train, train_targets, features, self.classes),
        }

    def _plain(self, targets: Tensor) -> bool:
        """Whether these are indices, one of them known, for the cross-entropy."""
        return self.loss_name == "cross_entropy" and targets.ndim == 1 and int(targets.max()) >= 0

    def _one_hot(self, targets: Tensor) -> Tensor:
        """(B,) or (B, C) -> (B, C); a row of zeros where there is no label."""
        if targets.ndim == 2:
            return targets.float()
        return (targets.unsqueeze(1) == torch.arange(len(self.classes), device=targets.device)).float()

    def _losses(self, logits: Tensor, soft: Tensor, weights: Tensor) -> Tensor:
        """Logits and target probabilities (B, C) -> weighted losses (B,); binary and mse are means over classes."""
        if self.loss_name == "cross_entropy":
            return -(soft * weights * logits.log_softmax(1)).sum(1)
        if self.loss_name == "binary":
            losses = F.binary_cross_entropy_with_logits(logits, soft, reduction="none")
        else:
            losses = (logits.softmax(1) - soft) ** 2
        return losses.mean(1) * (soft * weights).sum(1)  # not `@`: autocast would round it

    def _labelled(self, predictions: Predictions, targets: Tensor) -> tuple[intervals.Array, _metrics.Labels]:
        """Probabilities (M, C) and indices (M,) of the samples that have a label."""
        values, truth = predictions.values.detach().float().cpu().numpy(), targets.cpu().numpy().astype(np.int64)
        if values.shape != (len(truth), len(self.classes)) or (len(truth) and truth.max() >= len(self.classes)):
            raise DataError(f"predictions {values.shape} do not belong to {len(truth)} targets of "
                            f"{len(self.classes)} classes", "predict and score the same data set")  # fmt: skip
        if not np.isfinite(values).all():
            raise ResourceError("the model's probabilities are not numbers: training diverged",
                                "train again with a lower lr")  # fmt: skip
        kept = truth >= 0
        if not kept.any():
            raise DataError(f"none of {len(truth)} samples has a label to score against", "label some of them")
        return values[kept], truth[kept]

    def _confusion(self, values: intervals.Array, truth: _metrics.Labels) -> _metrics.Labels:
        return _metrics.confusion(truth, values.argmax(1), len(self.classes))


def majority(targets_train: Tensor, n: int, classes: tuple[str, ...]) -> Predictions:
    """The training frequencies (C,) for each of n samples: what a model must beat to have learned anything."""
    frequencies = torch.bincount(targets_train, minlength=len(classes)).float()
    return Predictions((frequencies / frequencies.sum()).expand(n, -1), classes)


def centroid(train: Tensor, train_targets: Tensor, features: Tensor, classes: tuple[str, ...]) -> Predictions:
    """The nearest class mean, softmax of minus the squared distance; a class without training samples gets 0.

    SimpleShot's CL2N (Wang et al. 2019, arXiv:1911.04623): features less the training mean, scaled to length 1.
    """
    mean = train.float().mean(0)
    known, asked = (F.normalize(x.float() - mean, dim=1) for x in (train, features))
    one_hot = F.one_hot(train_targets, len(classes)).to(known)
    sizes = one_hot.sum(0)
    means = one_hot.T @ known / sizes.clamp(min=1).unsqueeze(1)
    distances = torch.cdist(asked, means).square().masked_fill(sizes == 0, math.inf)
    return Predictions((-distances).softmax(1), classes)


def _weights(
    asked: str | tuple[float, ...] | None, counts: tuple[int, ...] | None, classes: int
) -> tuple[float, ...] | None:
    """One weight for each class, or None for equal ones; a class without samples weighs 0."""
    if asked is None:
        return None
    if isinstance(asked, str):
        return _balanced(asked, counts, classes)
    if len(asked) != classes or not all(math.isfinite(w) and w >= 0 for w in asked) or not any(asked):
        raise UsageError(f"class_weights={asked!r} are not {classes} weights >= 0",
                         "give one weight for each class, or 'balanced'")  # fmt: skip
    return tuple(float(weight) for weight in asked)


def _balanced(asked: str, counts: tuple[int, ...] | None, classes: int) -> tuple[float, ...]:
    if asked != "balanced":
        raise UsageError(f"there are no class weights called '{asked}'", did_you_mean(asked, ["balanced"]))
    if counts is None or len(counts) != classes or sum(counts) <= 0:
        raise UsageError(f"class_weights='balanced' needs the training counts of {classes} classes",
                         "give counts=(...), one number for each class")  # fmt: skip
    return tuple(sum(counts) / (classes * n) if n else 0.0 for n in counts)
