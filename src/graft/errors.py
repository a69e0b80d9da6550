"""What can go wrong, as one small tree; each error knows its exit code and one command that fixes it.

GraftError            1  our own fault
├── UsageError        2  a name, a flag or an argument is wrong
├── DataError         3  the data or the recipe is refused
├── MissingExtra      4  an optional library is not installed
├── ResourceError     5  disk, memory, network, or training diverged
├── IntegrityError    6  a file is not what its hash says, or is unsafe to read
├── QualityError      7  a quality gate was not met
└── Interrupted     130  Ctrl-C (143: SIGTERM), ; a checkpoint was saved if training had begun
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GraftError(Exception):
    """An error that is shown to the user as `what`, and `hint`: the one thing to do about it."""

    exit_code = 1

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what, self.hint = what, hint


class UsageError(GraftError):
    exit_code = 2


class DataError(GraftError):
    exit_code = 3


class MissingExtra(GraftError):
    exit_code = 4

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"the library '{library}' is not installed", f'pip install "graft-ml[{extra}]"')


class ResourceError(GraftError):
    exit_code = 5


class IntegrityError(GraftError):
    exit_code = 6


class QualityError(GraftError):
    exit_code = 7


class Interrupted(GraftError):
    def __init__(self, signal_number: int, what: str, hint: str) -> None:
        super().__init__(what, hint)
        self.exit_code = 128 + signal_number


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """A hint that names the nearest choice, or all of them when none is near."""
    known = sorted(choices)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{near[0]}'?"
    return "choose from: " + ", ".join(known)
