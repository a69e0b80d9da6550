"""What a finished run leaves to be read: shown.json, report.html and the model card. None of it can lose the run."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path

from graft.console import Console
from graft.errors import GraftError, Interrupted, UsageError

LANGUAGES = {"en": "English", "zh": "中文"}


def check_language(language: str) -> None:
    """Raises UsageError for one in which there is no report."""
    if language not in LANGUAGES:
        raise UsageError(f"there is no report in '{language}'", f"choose from: {', '.join(LANGUAGES)}")


def make(folder: Path, show: Callable[[], None], language: str, console: Console) -> None:
    """`show` writes shown.json. What fails is said, and `graft report` tries again; the run is finished anyway."""
    from graft.reporting import card, page  # with matplotlib: a second that only this step takes

    steps = ((show, "shown.json"), (lambda: page.write(folder, language=language), "report.html"),
             (lambda: card.write(folder), "README.md"))  # fmt: skip
    for step, name in steps:
        try:
            step()
        except Interrupted:
            raise
        except Exception as error:
            _failed(name, error, console)
    if (folder / "report.html").exists():
        console.say(f"report        {folder / 'report.html'}")


def _failed(name: str, error: Exception, console: Console) -> None:
    said = error.what if isinstance(error, GraftError) else f"{type(error).__name__}: {error}"
    console.row("warning", f"{name} could not be made ({said}); the run is complete without it", "yellow")
    if os.environ.get("GRAFT_DEBUG"):
        traceback.print_exception(error)
