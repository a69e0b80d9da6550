"""The model card of a run: Markdown with the hub's YAML, filled from facts alone."""

from __future__ import annotations

from pathlib import Path


def card(folder: Path, name: str = "") -> str:
    """The card as text."""
    raise NotImplementedError


def write(folder: Path) -> Path:
    """Write README.md into the run folder; returns its path."""
    raise NotImplementedError
