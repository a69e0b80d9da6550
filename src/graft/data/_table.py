"""What tables of samples (csv, jsonl) have in common: the rows, and the list of those that cannot be used.

A row that cannot be used is listed with its number and its reason, and its file is never opened.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from graft.errors import DataError, UsageError
from graft.types import Issue, Sample

Row = tuple[int, Mapping[str, str]]  # the row's number in the file (as editors count), and its cells
Wanted = Mapping[str, str | Sequence[str] | None]  # role -> a column's name; None: the usual ones
_REASONS = {
    "ragged-row": ("rows with too many or too few cells are left out", "give every row the columns of the header"),
    "bad-row": ("rows that cannot be understood are left out", "correct them in the file"),
    "bad-label": ("rows whose label is not of its kind count as unlabelled", "correct them in the file"),
    "no-path": ("rows without a path are left out", "fill in the path"),
    "url": ("web addresses are left out, and never fetched", "download the files, and name them by relative paths"),
    "outside-root": ("paths that lead out of the table's folder are refused, and not read",
                     "copy the files beside the table, and name them by relative paths"),
    "missing-transcript": ("rows without a transcript are samples without a label", "fill in what is said"),
    "segment": ("rows that mean a stretch of a longer sound are left out", "cut the sounds, one file for each row"),
    "padded-label": ("labels are taken without the blanks around them", ""),
    "missing-file": ("files that do not exist are left out", "paths are relative to the folder of the table"),
}  # fmt: skip


@dataclass
class Table:
    """A table as read: its columns, its rows, and the rows that were no rows. `name` is what options are given to.

    `lists`: cells that hold several values (of JSON), by row and column; such a cell is empty in `rows`.
    `floats`: columns where a number with a fraction stands (of JSON).
    """

    path: Path
    name: str
    columns: Sequence[str]
    rows: Sequence[Row]
    issues: list[Issue] = field(default_factory=list)
    bad: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # code -> "row 7: why"
    lists: dict[tuple[int, str], tuple[str, ...]] = field(default_factory=dict)
    floats: set[str] = field(default_factory=set)
    headless: bool = False

    def cells(self, column: str) -> list[str]:
        """A column without the blanks around its cells."""
        return [row.get(column, "").strip() for _, row in self.rows]

    def found(self) -> list[Issue]:
        """All findings, once every row was seen."""
        mild = {"padded-label"}
        listed = [Issue(c, "note" if c in mild else "warning", *_words(c, keys)) for c, keys in self.bad.items()]
        return [*self.issues, *listed]

    def nothing(self, noun: str) -> DataError:
        """Why no row is a sample, which people call `noun`."""
        if not self.bad:
            return DataError(f"{self.path} has a header and no rows", f"add one row per {noun}")
        code, keys = max(self.bad.items(), key=lambda item: len(item[1]))
        what, hint = _REASONS[code]
        return DataError(f"no row of {self.path} can be used: {what} ({keys[0]}, and {len(keys) - 1} more)", hint)


def _words(code: str, keys: list[str]) -> tuple[str, tuple[str, ...], str]:
    what, hint = _REASONS[code]
    return what, tuple(keys), hint


class Rows(NamedTuple):
    """The usable rows of a table. `columns` are those that were read: of the sample, its pair, and the labels."""

    modality: str
    kind: str
    columns: tuple[str, ...]
    samples: list[Sample]


def table_file(path: str) -> Path:
    """Raises DataError when there is no such file."""
    found = Path(path).expanduser()
    if not found.is_file():
        raise DataError(f"there is no file {path}", f"check the path: ls {found.parent}")
    return found


def check_options(wanted: Wanted) -> None:
    """Raises UsageError for values that are no columns, and for options that contradict each other."""
    for name, value in wanted.items():
        several = name == "labels" and isinstance(value, list | tuple)
        parts = value if several and value is not None else (value,)
        if any(part is not None and not isinstance(part, str) for part in parts):
            raise UsageError(f"{name}={value!r} must be the name of a column", f"write {name}='...' in quotes")
    _one_of(wanted, ("label", "labels", "number", "transcript"))
    _one_of(wanted, ("image", "text", "audio"))
    kinds = ("class", "labels", "number", "transcript")
    if wanted.get("kind") not in (None, *kinds):
        raise UsageError(f"kind={wanted['kind']!r} is not a kind of labels", "choose from: " + ", ".join(kinds))


def _one_of(wanted: Wanted, names: Sequence[str]) -> None:
    given = [name for name in names if wanted.get(name)]
    if len(given) > 1:
        what = f"{' and '.join(given)} are given, and mean different things"
        raise UsageError(what, f"keep {given[0]} or {given[1]}")
