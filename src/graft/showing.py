"""What the report shows that only a run at work can know, written to shown.json: errors, pictures, a map, what to do."""

from __future__ import annotations

from pathlib import Path

from graft.console import Console
from graft.features import Feed
from graft.types import Json, Model, Predictions, Task


def show(folder: Path, model: Model, task: Task, train: Feed, scored: Feed, predictions: Predictions, result: Json,
         console: Console) -> None:  # fmt: skip
    """Write shown.json (report/_shape.py's Shown). `scored` is the test part, or else the validation part, with its
    calibrated predictions; `result` is what result.json holds."""
