"""Runs on the Hugging Face Hub: data only, and whole or not at all."""

from __future__ import annotations

from pathlib import Path

from graft.types import Json

PREFIX = "hub:"


def push(folder: Path, name: str, *, dry_run: bool = False, private: bool = False) -> Json:
    """{"repository", "files": [{"name", "bytes", "sha256"}], "pushed": bool, "url": str | None}."""
    raise NotImplementedError


def folder_of(run: str | Path) -> Path:
    """The run folder that a verb was given: a path, or "hub:user/name(@revision)", which is downloaded once."""
    return Path(run)


def told(result: Json) -> list[str]:
    """Lines for the console: the files, and where they went."""
    return []
