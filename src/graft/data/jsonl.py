"""One JSON object per line, with the keys path or text, and label; if you like pair, split and group.

The keys are found under the same names as the columns of a csv table, or named: `data.jsonl(label='species')`. A list
of labels means several, a fraction means a number to be predicted.
"""

from __future__ import annotations

import json
from pathlib import Path

from graft.data import _columns, _image_table, _table, _text, _text_table
from graft.types import Dataset, Issue


def jsonl(
    path: str,
    *,
    image: str | None = None,
    text: str | None = None,
    pair: str | None = None,
    label: str | None = None,
    labels: str | tuple[str, ...] | None = None,
    number: str | None = None,
    kind: str | None = None,
    split: str | None = None,
    group: str | None = None,
) -> Dataset:
    """The options are those of csv. Raises DataError for a missing file or key, or when no line can be used;
    UsageError for options that contradict each other."""
    wanted: _table.Wanted = {
              "image": image, "text": text, "pair": pair, "label": label, "labels": labels, "number": number,
              "kind": kind, "split": split, "group": group}  # fmt: skip
    _table.check_options(wanted)
    table = _read(_table.table_file(path))
    build = _text_table.build if _columns.is_text(table, wanted) else _image_table.build
    return build(table, wanted)


def _read(path: Path) -> _table.Table:
    issues: list[Issue] = []
    table = _table.Table(path, [], [], issues)
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
