"""How probes choose a strength: held-out log-loss over a few folds that depend on the samples, not on their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from graft.probes._data import Array, Labels, by_content

FOLDS, ENOUGH = 5, 10_000


def folds(y: Labels) -> Labels:
    """(N,) fold of each sample; -1, never held out, for the only sample of its class: all classes are always trained.

    Fold 0 takes of every class: were one class alone to lose its sample, it would seem rarer and farther than it is.
    """
    counts = np.bincount(y)
    order, rank = np.argsort(y, kind="stable"), np.empty_like(y)
    rank[order] = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.where(counts[y] > 1, rank % FOLDS, -1)


def drawn(features: Tensor, y: Labels, most: int) -> Labels:
    """Positions of at most `most` of many rows (N, D), class by class, drawn evenly.

    Within a class they come in the order of their content, so neither they nor their folds depend on how they came.
    """
    order = by_content(features)
    order = order[np.argsort(y[order], kind="stable")]
    return order[np.unique(np.linspace(0, len(y) - 1, min(most, len(y))).round().astype(np.int64))]


def parts(n: int) -> int:
    """How many folds are tried: of many samples one, as the error of a mean over thousands is small enough."""
    return FOLDS if n <= ENOUGH else 1


def choose(
    y: Labels, grid: Sequence[float], default: float, score: Callable[[float, int, Labels], Array], calibrate: bool
) -> tuple[float, float]:
    """The value of an ascending grid with the least held-out log-loss, and its temperature (1 unless `calibrate`).

    score(value, number, fold) fits without the samples of fold `number` and gives (M, K) scores of those. The loss has
    one minimum along the grid, so the search ends where it rises. `default` where every class has one sample.
    """
    fold = folds(y)
    rows = [np.flatnonzero(fold == number) for number in range(parts(len(y)))]
    held, best = np.concatenate(rows), (np.inf, default, 1.0)
    few = slice(None, None, max(1, min(len(held) // 1_000, len(held) * int(y.max() + 1) // 200_000)))  # a temperature
    for value in grid if len(held) else ():
        scores = np.concatenate([score(value, n, fold) for n, found in enumerate(rows) if len(found)])
        warmth = temperature(scores[few], y[held][few]) if calibrate else 1.0
        loss = log_loss(scores * warmth, y[held])
        if loss > best[0]:
            break
        best = (loss, value, warmth)
    return best[1], best[2]


def temperature(scores: Array, y: Labels) -> float:
    """The factor on scores (N, K) that makes their softmax fit y best; the loss is convex in it."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(lambda log: log_loss(scores * np.exp(log), y), bounds=(-7.0, 9.0), method="bounded")
    return float(np.exp(found.x))


def log_loss(logits: Array, y: Labels) -> float:
    """Mean log-loss (N, K) against y, smoothed by one sample in N + 2.

    Platt's correction (1999): or logits that make no mistake would best be infinitely large.
    """
    share = 1 / (len(y) + 2)
    top = logits.max(1, keepdims=True)
    losses = top + np.log(np.exp(logits - top).sum(1, keepdims=True)) - logits  # (N, K): -log softmax
    own = losses[np.arange(len(y)), y]
    return float(((1 - share) * own + share * losses.mean(1)).mean())


def both(rows: Array) -> Array:
    """Rows (1, ...) of the second class of two, as scikit-learn gives them -> (2, ...); rows (K, ...) as they are."""
    return np.concatenate([-rows / 2, rows / 2]) if len(rows) == 1 else rows


def columns(decision: Array) -> Array:
    """scikit-learn's decision values (N, K), or (N,) of two classes -> (N, K)."""
    return both(np.atleast_2d(decision.T)).T
