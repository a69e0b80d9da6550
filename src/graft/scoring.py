"""Predictions of a model on a data set."""

from __future__ import annotations

import torch

from graft.device import autocast
from graft.features import Feed
from graft.types import Model, Predictions, Task

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
