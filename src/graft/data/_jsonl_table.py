"""A file of one JSON object per line as a table: keys are columns, and values are cells."""

from __future__ import annotations

import json
from pathlib import Path

from graft.data import _table, _text
from graft.types import Issue


def read(path: Path, name: str) -> _table.Table:
    """The table; its columns are the keys of all lines. Raises DataError for a file that cannot be opened."""
    issues: list[Issue] = []
    table = _table.Table(path, name, [], [], issues)
    rows, keys = [], dict[str, None]()
    for number, line in enumerate(_text.read_text(path, issues).split("\n"), 1):
        if not line.strip():
            continue
        values, why = _values(line)
        if why:
            table.bad["bad-row"].append(f"row {number}: {why}")
            continue
        _note_kinds(table, number, values)
        keys.update(dict.fromkeys(values))
        rows.append((number, {key: _cell(value) for key, value in values.items()}))
    table.rows, table.columns = rows, list(keys)
    return table


def _values(line: str) -> tuple[dict[str, object], str]:
    """The object of a line, or a reason."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return {}, f"not JSON ({str(error)[:80]})"
    if not isinstance(value, dict):
        return {}, f"not an object but {type(value).__name__}"
    return {str(key): cell for key, cell in value.items()}, ""


def _note_kinds(table: _table.Table, number: int, values: dict[str, object]) -> None:
    """What a cell as text cannot show: that it was a list of words, or a number with a fraction."""
    for key, value in values.items():
        if isinstance(value, list) and all(isinstance(part, str | int | float) for part in value):
            table.lists[number, key] = tuple(_cell(part) for part in value)
        elif isinstance(value, float) and not value.is_integer():
            table.floats.add(key)


def _cell(value: object) -> str:
    """A value as text. null is an empty cell; lists and objects are kept from view, not flattened."""
    if value is None or isinstance(value, (list, dict)):
        return ""
    return json.dumps(value) if isinstance(value, (bool, float)) else str(value)
