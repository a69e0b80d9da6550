"""A table of images: columns path and label, and if you like split and group; paths are relative to the table.

Columns are found under their common names (image, file, filename; class, target; fold; patient, speaker, ...) or
named: `data.csv(image='photo', label='species')`. Delimiters , ; tab and | are recognised. Every cell is text: a class
called "NA" or "01" stays what it is.
"""

from __future__ import annotations

import csv as reader  # the standard library's
import io
from pathlib import Path

from graft.data import _table
from graft.errors import DataError
from graft.types import Dataset, Issue


def csv(
    path: str, *, image: str | None = None, label: str | None = None, split: str | None = None, group: str | None = None
) -> Dataset:
    """Raises DataError for a missing file or column, or when no row can be used."""
    wanted = {"image": image, "label": label, "split": split, "group": group}
    for name, value in wanted.items():
        _table.text_option(name, value)
    return _table.build(_read(_table.table_file(path)), wanted)


def _read(path: Path) -> _table.Table:
    issues: list[Issue] = []
    text = _table.read_text(path, issues)
    records = _records(path, text)
    number, header = next(((n, row) for n, row in enumerate(records, 1) if row), (0, []))
    header = [name.strip() for name in header]
    twice = sorted({name for name in header if header.count(name) > 1})
    if not header or twice:
        why = f"has two columns called '{twice[0]}'" if twice else "is empty"
        raise DataError(f"{path} {why}", "begin the file with one line of column names: path,label")
    table = _table.Table(path, header, [], issues)
    table.rows = _rows(table, records[number:], number)
    return table


def _rows(table: _table.Table, records: list[list[str]], header_at: int) -> list[_table.Row]:
    rows: list[_table.Row] = []
    for number, cells in enumerate(records, header_at + 1):
        if len(cells) == len(table.columns):
            rows.append((number, dict(zip(table.columns, cells, strict=True))))
        elif any(cell.strip() for cell in cells):  # blank lines are no rows
            found = f"{len(cells)} cells for {len(table.columns)} columns"
            table.bad["ragged-row"].append(f"row {number}: {found} ({cells[0][:100]})")
    return rows


def _records(path: Path, text: str) -> list[list[str]]:
    lines = reader.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    try:
        return list(lines)
    except reader.Error as error:
        raise DataError(f"{path}, row {lines.line_num}: {error}",
                        "look for a quote that is never closed near this row") from None  # fmt: skip


def _delimiter(text: str) -> str:
    """The candidate that cuts the header most often, outside quotes."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    unquoted = "".join(first.split('"')[::2])
    return max(",;\t|", key=unquoted.count)
