"""Predictions of a model on a data set."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from graft.device import autocast
from graft.errors import ResourceError
from graft.features import Feed
from graft.order import split
from graft.shelf import GIGA, memory_budget
from graft.types import Features, Model, Predictions, Task

BATCH, ROWS = 256, 64  # samples at a time: of features that are kept, and of those that still have to be made
Seen = Callable[[Tensor, Features], None]


def predict(model: Model, task: Task, feed: Feed, boundary: int = 0, *, opened: bool = False,
            seen: Seen | None = None) -> Predictions:  # fmt: skip
    """Predictions for every row of the feed, in order. The model is left in eval mode.

    `opened` says that the feed is open at this boundary and that nothing before it has moved since. `seen` is shown the
    rows (B,) of every batch with what the head sees of them. Raises ResourceError where what is said of every moment of
    all samples would not fit into memory.
    """
    model.eval()
    if not opened:
        feed.open(boundary)
    order = feed.shortest_first(torch.arange(len(feed)))
    said: list[Predictions] = []
    with torch.inference_mode():
        for rows in split(order, BATCH if boundary else ROWS, feed.sizes(), feed.most) if len(order) else (order,):
            inputs = feed.batch(rows, boundary)
            with autocast(feed.device, feed.dtype):
                features = feed.features(inputs, boundary)
            made = task.predict(model.head, _full(features))
            if seen and len(rows):
                seen(rows, features)
            said.append(Predictions(made.values.float().cpu(), made.labels))
            _check(said[-1].values, feed, int(rows[-1]))
    return Predictions(_joined([one.values for one in said], order), said[0].labels)


def _full(features: Features) -> Features:
    """As float32: a head says what it was fitted to say, and probabilities are not rounded to three digits."""
    tokens = None if features.tokens is None else features.tokens.float()
    return features._replace(
        pooled=features.pooled.float(), tokens=tokens, maps=tuple(one.float() for one in features.maps)
    )


def _check(few: Tensor, feed: Feed, longest: int) -> None:
    """What is said of moments or words, (B, T, C), will be as wide as the longest sample for all of them."""
    size = len(feed) * few[0].nbytes
    if few.ndim < 3 or size <= GIGA or size <= (budget := memory_budget()):
        return
    key = feed.dataset.samples[longest].key
    what = (f"predictions of {len(feed):,} samples, each as long as {key}, take {size / GIGA:.1f} GB of memory, of "
            f"which {budget / GIGA:.1f} GB can be had")  # fmt: skip
    raise ResourceError(what, "divide the longest samples")


def _joined(parts: list[Tensor], order: Tensor) -> Tensor:
    """(N, ...) in the order of the samples. What was said of words, (B, W, C), is as wide as the longest text: the
    others end in rows of zeros."""
    shape = parts[0].shape[1:] if parts[0].ndim < 3 else (max(part.shape[1] for part in parts), *parts[0].shape[2:])
    whole, start = parts[0].new_zeros(len(order), *shape), 0
    for part in parts:
        rows = order[start : start + len(part)]
        if part.ndim < 3:
            whole[rows] = part
        else:
            whole[rows, : part.shape[1]] = part
        start += len(part)
    return whole
