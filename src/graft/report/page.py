"""report.html: one self-contained page of a run folder; no script, nothing requested, every value escaped."""

from __future__ import annotations

from pathlib import Path


def page(folder: Path, *, language: str = "en", price: float | None = None, watts: float | None = None) -> str:
    """The page as text. `price` of an hour of this machine, `watts` that it draws (estimated if None). Raises
    UsageError for another language than en and zh, DataError for a folder that holds no finished run."""
    raise NotImplementedError


def write(folder: Path, *, language: str = "en", price: float | None = None, watts: float | None = None,
          out: Path | None = None) -> Path:  # fmt: skip
    """Write report.html (or `out`); returns its path."""
    raise NotImplementedError
