"""`graft explain`: why a run says what it says of a sample; and the short form of it for the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from graft.console import Console
from graft.features import Feed
from graft.types import Json, Model, Task


def explain(folder: Path, file: str, *, method: str, target: str | None, out: str | None, device: str,
            console: Console) -> Json:  # fmt: skip
    """{"run", "file", "label", "probability", "target", "method", "picture": path, "regions" | "words": the strongest,
    "alike": nearest training samples}. Raises UsageError, DataError, MissingExtra."""
    raise NotImplementedError


def brief(
    model: Model, task: Task, feed: Feed, rows: Sequence[int], targets: Sequence[int], seconds: float
) -> list[Json]:
    """For the report, as many as fit into `seconds`: by occlusion, of what speaks for class `targets[i]` in row
    `rows[i]`: report/_shape.py's Why of each."""
    return []
