"""Figures of a classifier, from counts and from probabilities; each equals scikit-learn's of the same name.

A class nobody has and nobody guessed is left out of macro averages, as scikit-learn does; a figure that would divide
by zero is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graft.intervals import Array, Counts, counts, wilson
from graft.types import Json

Labels = NDArray[np.int64]
TINY = float(np.finfo(np.float32).eps)  # the least probability that counts, or one sure mistake is an infinite loss


def confusion(truth: Labels, guess: Labels, classes: int) -> NDArray[np.int64]:
    """(N,) true and guessed indices -> (C, C) counts, rows are truth."""
    return np.bincount(truth * classes + guess, minlength=classes * classes).reshape(classes, classes)


def precision(c: Counts) -> Array:
    return ratio(c.hits, c.predicted)


def recall(c: Counts) -> Array:
    return ratio(c.hits, c.actual)


def f1(c: Counts) -> Array:
    return ratio(2 * c.hits, c.actual + c.predicted)


def macro(figure: Callable[[Counts], Array]) -> Callable[[Counts], Array]:
    """The plain mean over the classes that occur, in the truth or in the guesses."""

    def mean(c: Counts) -> Array:
        occurs = (c.actual + c.predicted) > 0
        return ratio((figure(c) * occurs).sum(-1), occurs.sum(-1))

    return mean


def weighted(figure: Callable[[Counts], Array]) -> Callable[[Counts], Array]:
    """The mean over classes, each as heavy as its samples."""

    def mean(c: Counts) -> Array:
        return ratio((figure(c) * c.actual).sum(-1), c.actual.sum(-1))

    return mean


def linear_f1(hits: Array, total: Array) -> Array:
    """What each sample adds to micro F1, from its hits (M,) and its labels there plus labels said (M,) -> (M,).

    F + M (2 hits_i - F total_i) / sum(total): F1 is a ratio of sums, and this is its linearisation (its influence
    function, Hampel 1974). The mean is F1 itself, and the standard error of the mean is the delta method's.
    """
    score = float(ratio(2 * hits.sum(), total.sum()))
    return score + ratio(len(hits) * (2 * hits - score * total), np.full(len(hits), total.sum()))


def over_all(values: Array, kept: NDArray[np.bool_]) -> Tensor:
    """Values of the M samples that have a label -> (N,): the others get the mean, which so stays what it is."""
    every = np.full(len(kept), values.mean())
    every[kept] = values
    return torch.from_numpy(every)


MACRO: dict[str, Callable[[Counts], Array]] = {
    "precision_macro": macro(precision),
    "recall_macro": macro(recall),  # balanced accuracy
    "f1_macro": macro(f1),
    "f1_weighted": weighted(f1),
}


def log_losses(values: Array, truth: Labels) -> Array:
    """-log of the probability (N, C) that each sample's own class got -> (N,)."""
    chosen = values[np.arange(len(truth)), truth].astype(np.float64)
    return -np.log(np.clip(chosen, TINY, 1 - TINY))


def top(values: Array, truth: Labels, k: int) -> int:
    """How many of N samples have their class among the k most probable ones; of equals, the first class is ahead."""
    chosen = values[np.arange(len(truth)), truth][:, None]
    ahead = (values > chosen) | ((values == chosen) & (np.arange(values.shape[1]) < truth[:, None]))
    return int((ahead.sum(1) < k).sum())


FIGURES: dict[str, Callable[[Counts], Array]] = {"precision": precision, "recall": recall, "f1": f1}


def table(matrix: NDArray[np.int64], classes: tuple[str, ...]) -> Json:
    """The classification report: per class, averages, and the confusion matrix as lists."""
    c = counts(matrix)
    return {
        "samples": int(matrix.sum()),
        "classes": list(classes),
        "per_class": rows(classes, c),
        **averages(c),
        "confusion": matrix.tolist(),
        "most_confused": _confused(matrix, classes),
    }


def rows(labels: Sequence[str], c: Counts) -> list[Json]:
    """One row for each label, from counts (C,)."""
    return [_row(label, Counts(*(column[i] for column in c))) for i, label in enumerate(labels)]


def averages(c: Counts) -> Json:
    return {kind: {name: float(mean(f)(c)) for name, f in FIGURES.items()}
            for kind, mean in (("macro", macro), ("weighted", weighted))}  # fmt: skip


def _row(label: str, c: Counts) -> Json:
    """One class. Given the samples that are or were taken for it, its hits are binomial with rate J, and F1 is
    2J / (1 + J): so Wilson's interval of J, mapped, is F1's, and keeps its width where the bootstrap has none."""
    hits, actual, predicted = (int(count) for count in c)
    values = {name: float(f(c)) for name, f in FIGURES.items()}
    jaccard, found = wilson(hits, actual + predicted - hits), wilson(hits, actual)
    f1_interval = [2 * bound / (1 + bound) for bound in (jaccard.low, jaccard.high)]
    return {"label": label, **values, "support": actual, "recall_interval": [found.low, found.high],
            "f1_interval": f1_interval}  # fmt: skip


def _confused(matrix: NDArray[np.int64], classes: tuple[str, ...], most: int = 10) -> list[Json]:
    """The pairs that are taken for one another most often."""
    errors = matrix - np.diag(matrix.diagonal())
    largest = np.argsort(-errors, axis=None, kind="stable")[:most]
    pairs = [divmod(int(cell), len(classes)) for cell in largest if errors.flat[cell]]
    return [{"actual": classes[a], "predicted": classes[p], "count": int(errors[a, p])} for a, p in pairs]


def ratio(part: Any, whole: Any) -> Array:
    """part / whole, 0 where whole is 0."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    share: Array = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return share
