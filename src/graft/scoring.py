"""Predictions of a model on a data set, and figures with intervals."""

from __future__ import annotations

import torch

from graft.device import autocast
from graft.features import Feed
from graft.types import Metric, Model, Predictions, Task

BATCH = 256


def predict(model: Model, task: Task, feed: Feed, boundary: int = 0, *, opened: bool = False) -> Predictions:
    """Predictions for every row of the feed, in order. The model is left in eval mode.

    `opened` says that the feed is open at this boundary and that nothing before it has moved since.
    """
    model.eval()
    if not opened:
        feed.open(boundary)
    parts = []
    with torch.inference_mode(), autocast(feed.device, feed.dtype):
        for rows in torch.arange(len(feed)).split(BATCH if boundary else 64):
            features = feed.features(feed.batch(rows, boundary), boundary)
            parts.append(task.predict(model.head, features))
    return Predictions(torch.cat([part.values.float().cpu() for part in parts]), parts[0].labels)


def baselines(task: Task, train: Feed, feed: Feed) -> dict[str, dict[str, Metric]]:
    """What needs no training, on the trunk as it came: the share of the largest class, the nearest class mean."""
    made = task.baselines(train.pooled(), train.targets, feed.pooled())
    return {name: task.measure(predictions, feed.targets) for name, predictions in made.items()}
