"""One JSON object per line, with the keys path and label, and if you like split and group.

The keys are found under the same names as the columns of a csv table, or named: `data.jsonl(label='species')`.
"""

from __future__ import annotations

import json
from pathlib import Path

from graft.data import _table
from graft.types import Dataset, Issue


def jsonl(
    path: str, *, image: str | None = None, label: str | None = None, split: str | None = None, group: str | None = None
) -> Dataset:
    """Raises DataError for a missing file or key, or when no line can be used."""
    wanted = {"image": image, "label": label, "split": split, "group": group}
    for name, value in wanted.items():
        _table.text_option(name, value)
    return _table.build(_read(_table.table_file(path)), wanted)


def _read(path: Path) -> _table.Table:
    issues: list[Issue] = []
    table = _table.Table(path, [], [], issues)
    rows, keys = [], dict[str, None]()
    for number, line in enumerate(_table.read_text(path, issues).split("\n"), 1):
        if not line.strip():
            continue
        cells, why = _cells(line)
        if why:
            table.bad["bad-row"].append(f"row {number}: {why}")
            continue
        keys.update(dict.fromkeys(cells))
        rows.append((number, cells))
    table.rows, table.columns = rows, list(keys)
    return table


def _cells(line: str) -> tuple[dict[str, str], str]:
    """The cells as text, or a reason. null is an empty cell; lists and objects are kept from view, not flattened."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return {}, f"not JSON ({str(error)[:80]})"
    if not isinstance(value, dict):
        return {}, f"not an object but {type(value).__name__}"
    return {str(key): _text(cell) for key, cell in value.items()}, ""


def _text(cell: object) -> str:
    if cell is None or isinstance(cell, (list, dict)):
        return ""
    return json.dumps(cell) if isinstance(cell, (bool, float)) else str(cell)
