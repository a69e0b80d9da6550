"""`graft check`: everything that can be said of data before a model is made of them; and the part of it that is so cheap
that `fit` says it, too."""

from __future__ import annotations

from graft.console import Console
from graft.types import Dataset, Issue, Json


def quick(dataset: Dataset) -> list[Issue]:
    """Findings of the checks that need no features, of an audited and split data set: the first step of `fit`."""
    return []


def check(data: str, *, backbone: str, seed: int, test: float, valid: float, sealed: str | None, fix: str | None,
          console: Console) -> Json:  # fmt: skip
    """{"data", "samples", "classes", "splits", "issues": [Issue.json()], "scores": with and without leaks or None,
    "fixed": what cleaning.py wrote or None}. Raises DataError, UsageError."""
    raise NotImplementedError


def table(result: Json) -> list[str]:
    """Lines for standard output: one finding each (severity, code, count), what it is, what to do."""
    return []
