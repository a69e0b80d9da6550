"""The labels of a table's rows: a class, several labels, a number, or what is said; which, and from which columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from graft.data import _columns, _text
from graft.data._table import Table, Wanted
from graft.errors import UsageError
from graft.types import Issue, Label, Sample, Text, UnreadableSample

_YES = {"1": True, "1.0": True, "true": True, "yes": True, "0": False, "0.0": False, "false": False, "no": False,
        "": False}  # fmt: skip
_SEPARATORS = ";|,"
_LARGEST = 1e30  # squares of what is larger are no float32
_MANY = 20  # distinct numbers with a fraction among them: no one's classes


class Labels(NamedTuple):
    """`columns`: none where there are no labels. Without a separator each column is one of the labels, 0 or 1."""

    kind: str
    columns: tuple[str, ...] = ()
    separator: str = ""


def of_images(table: Table, wanted: Wanted) -> Labels:
    """Classes unless asked otherwise. Raises DataError when labels could stand under a name that is not usual."""
    roles = _columns.IMAGE
    asked = _asked(table, wanted)
    if asked is not None:
        return asked
    found = _columns.column(table, wanted, "label", roles["label"])
    if found is None and _columns.unexplained(table, roles):
        raise _columns.missing(table, "label", "label")
    return _of_kind(table, found, wanted.get("kind") or "class") if found else Labels("class")


def of_texts(table: Table, wanted: Wanted) -> Labels:
    """What is asked for, else what the cells look like."""
    asked = _asked(table, wanted)
    if asked is not None:
        return asked
    found = _columns.column(table, wanted, "label", _columns.TEXT["label"])
    if found is None:
        return Labels("none")
    return _of_kind(table, found, wanted.get("kind") or _kind(table, found))


def of_sounds(table: Table, wanted: Wanted) -> Labels:
    """What is asked for, else classes, else what is said: in a table that has both columns the label counts."""
    roles, said = _columns.AUDIO, wanted.get("kind") == "transcript"
    asked = None if said else _asked(table, wanted)
    if asked is not None:
        return asked
    found = (
        None if wanted.get("transcript") else _columns.column(table, wanted, "label", [] if said else roles["label"])
    )
    if found and not said:
        return _of_kind(table, found, wanted.get("kind") or "class")
    found = found or _columns.column(table, wanted, "transcript", roles["transcript"])
    return Labels("transcript", (found,)) if found else Labels("none")


def _asked(table: Table, wanted: Wanted) -> Labels | None:
    """The options `labels` and `number`."""
    if wanted.get("kind") == "transcript":
        raise UsageError(f"kind='transcript', but {table.name} is no table of sounds", "leave it out")
    labels, number = wanted.get("labels"), wanted.get("number")
    if isinstance(number, str):
        return Labels("number", (_columns.named(table, "number", number),))
    if isinstance(labels, str):
        return _of_kind(table, _columns.named(table, "labels", labels), "labels")
    if labels:
        return Labels("labels", tuple(_columns.named(table, "labels", name) for name in labels))
    return None


def _of_kind(table: Table, column: str, kind: object) -> Labels:
    if kind != "labels":
        return Labels(str(kind), (column,))
    cells = table.cells(column)
    separator = next((sign for sign in _SEPARATORS if any(sign in cell for cell in cells)), _SEPARATORS[0])
    return Labels("labels", (column,), separator)


def _kind(table: Table, column: str) -> str:
    """Lists are several labels, fractions are numbers; a column of numbers is said, for it may be meant as classes."""
    if any(name == column for _, name in table.lists):
        return "labels"
    cells = [cell for cell in table.cells(column) if cell]
    if not cells or not all(map(_numeric, cells)):
        return "class"
    if column not in table.floats and (len(set(cells)) <= _MANY or not any("." in cell for cell in cells)):
        return "class"
    what = f"column '{column}' holds numbers, and is read as a number to be predicted"
    hint = f"if they are classes: {table.name}(label={column!r}, kind='class')"
    table.issues.append(Issue("number-label", "note", what, (), hint))
    return "number"


# --------------------------------------------------------------------------------------------------------------- rows


def read(table: Table, labels: Labels, number: int, cells: Mapping[str, str]) -> Label | None:
    """The label of a row; None when it has none, or after listing why it is none: the split leaves it out, and a
    prediction does not."""
    if not labels.columns:
        return None
    column = labels.columns[0]
    if labels.kind == "labels":
        if not labels.separator:
            return _flags(table, labels.columns, number, cells)
        found = table.lists.get((number, column)) or cells.get(column, "").split(labels.separator)
        return tuple(sorted({name.strip() for name in found} - {""}))
    cell = cells.get(column, "")
    if labels.kind == "transcript":
        return _transcript(table, number, cell.strip())
    if not cell.strip():
        return None
    return _class(table, number, cell) if labels.kind == "class" else _finite(table, number, cell)


def require_some(table: Table, labels: Labels, samples: Sequence[Sample], noun: str) -> None:
    """Raises DataError when no row is a sample, or every label is wrong. A column without any label is said."""
    wrong = "bad-label" in table.bad and all(sample.label is None for sample in samples)
    if not samples or wrong:
        raise table.nothing(noun)
    if labels.columns and all(sample.label is None for sample in samples):
        what = f"rows without a label: column '{labels.columns[0]}' of {table.path.name} is empty"
        table.issues.append(Issue("no-labels", "warning", what, (), "fill in the label"))


def _transcript(table: Table, number: int, cell: str) -> str | None:
    """As it is written; what no text may be, such as one with a NUL, is none."""
    try:
        _text.checked(Text(cell or "-"))
    except UnreadableSample as error:
        table.bad["bad-label"].append(f"row {number}: {error}")
        return None
    if not cell:
        table.bad["missing-transcript"].append(f"row {number}")
    return cell or None


def _class(table: Table, number: int, cell: str) -> str:
    if cell != cell.strip():
        table.bad["padded-label"].append(f"row {number}: {cell!r}")
    return cell.strip()


def _finite(table: Table, number: int, cell: str) -> float | None:
    value = float(cell) if _numeric(cell) else math.nan
    if abs(value) <= _LARGEST:
        return value
    why = f"is larger than {_LARGEST:g}" if math.isfinite(value) else "is not a finite number"
    table.bad["bad-label"].append(f"row {number}: '{cell.strip()[:100]}' {why}")
    return None


def _flags(table: Table, columns: Sequence[str], number: int, cells: Mapping[str, str]) -> tuple[str, ...] | None:
    """Several columns of 0 and 1: the names of those that hold a 1."""
    values = {column: _YES.get(cells.get(column, "").strip().lower()) for column in columns}
    wrong = next((column for column, value in values.items() if value is None), None)
    if wrong is not None:
        table.bad["bad-label"].append(f"row {number}: '{cells[wrong].strip()[:100]}' in column '{wrong}' is not 0 or 1")
        return None
    return tuple(sorted(column for column, value in values.items() if value))


def _numeric(cell: str) -> bool:
    """Underscores are Python's, and no number in a table."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell
