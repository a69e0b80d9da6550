"""Predictions of a model on a data set."""

from __future__ import annotations

import torch

from graft.device import autocast
from graft.features import Feed
from graft.types import Features, Model, Predictions, Task

BATCH = 256


def predict(model: Model, task: Task, feed: Feed, boundary: int = 0, *, opened: bool = False) -> Predictions:
    """Predictions for every row of the feed, in order. The model is left in eval mode.

    `opened` says that the feed is open at this boundary and that nothing before it has moved since.
    """
    model.eval()
    if not opened:
        feed.open(boundary)
    order, parts = feed.shortest_first(torch.arange(len(feed))), []
    with torch.inference_mode():
        for rows in order.split(BATCH if boundary else 64):
            inputs = feed.batch(rows, boundary)
            with autocast(feed.device, feed.dtype):
                features = feed.features(inputs, boundary)
            parts.append(task.predict(model.head, _full(features)))
    values = _joined([part.values.float().cpu() for part in parts])
    return Predictions(values[order.argsort()], parts[0].labels)


def _full(features: Features) -> Features:
    """As float32: a head says what it was fitted to say, and probabilities are not rounded to three digits."""
    tokens = None if features.tokens is None else features.tokens.float()
    return features._replace(
        pooled=features.pooled.float(), tokens=tokens, maps=tuple(one.float() for one in features.maps)
    )


def _joined(parts: list[torch.Tensor]) -> torch.Tensor:
    """What was said of words, (B, W, C), is as wide as its longest text: the others end in rows of zeros."""
    if parts[0].ndim < 3:
        return torch.cat(parts)
    widest = max(part.shape[1] for part in parts)
    return torch.cat([torch.nn.functional.pad(part, (0, 0, 0, widest - part.shape[1])) for part in parts])
