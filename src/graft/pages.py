"""What a finished run leaves to be read: shown.json, report.html and the model card. None of it can lose the run."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path

from graft.console import Console
from graft.errors import GraftError, Interrupted, UsageError

LANGUAGES = {"en": "English", "zh": "中文"}
SHOWN, REPORT, CARD = "shown.json", "report.html", "README.md"  # the last two are made of the folder alone


def check_language(language: str) -> None:
    """Raises UsageError for one in which there is no report."""
    if language not in LANGUAGES:
        raise UsageError(f"there is no report in '{language}'", f"choose from: {', '.join(LANGUAGES)}")


def missing(folder: Path) -> list[str]:
    """Those that a finished run lacks, and that can be made without its data."""
    return [name for name in (REPORT, CARD) if not (folder / name).exists()]


def make(folder: Path, show: Callable[[], None] | None, language: str, console: Console) -> list[str]:
    """The files that were made. `show` writes shown.json, of the data and the model that a run at work has; None: only
    what is missing is made, of the folder alone. What fails is said; the run is finished anyway."""
    steps = {REPORT: lambda: _report(folder, language), CARD: lambda: _card(folder)}
    wanted = missing(folder) if show is None else [REPORT, CARD]
    made = [SHOWN] if show is not None and _tried(folder, SHOWN, show, console) else []
    made += [name for name in wanted if _tried(folder, name, steps[name], console)]
    if REPORT in made:
        console.say(f"report        {folder / REPORT}")
    if REPORT in made and not (folder / SHOWN).exists():
        console.say(f"              without samples, map and learning curve: only a run at work can write {SHOWN}")
    if CARD in made and show is None:
        console.say(f"model card    {folder / CARD}")
    return made


def _report(folder: Path, language: str) -> None:
    from graft.reporting import page  # with matplotlib: a second that only this step takes, and may fail by itself

    page.write(folder, language=language)


def _card(folder: Path) -> None:
    from graft.reporting import card

    card.write(folder)


def _tried(folder: Path, name: str, step: Callable[[], None], console: Console) -> bool:
    """Whether it was made."""
    try:
        step()
    except Interrupted:
        raise
    except Exception as error:
        said = error.what if isinstance(error, GraftError) else f"{type(error).__name__}: {error}"
        console.row("warning", f"{name} could not be made ({said}); the run is complete without it", "yellow")
        lost = "it cannot be made later, and the report shows no samples"
        console.say(f"              {lost if name == SHOWN else f'to try again: graft report {folder}'}")
        if os.environ.get("GRAFT_DEBUG"):
            traceback.print_exception(error)
        return False
    return True
