"""A file of delimited rows as a table: its delimiter, its header or none, and quotes that are quotes or are not."""

from __future__ import annotations

import csv as reader  # the standard library's
import io
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from graft.data import _columns, _table, _text
from graft.errors import DataError
from graft.types import Issue

_END = "\0end of the table"
_HUGE = 131_072  # characters; a cell that is longer and never closed is a forgotten quote
_LIMIT = 2**31 - 1


def read(path: Path, wanted: _table.Wanted, name: str) -> tuple[_table.Table, _table.Wanted]:
    """The table, and what is wanted of it: without a header this is filled in by content.

    Raises DataError for a file that cannot be opened, is empty, or whose quotes or columns make no sense.
    """
    issues: list[Issue] = []
    records = _records(path, _text.read_text(path, issues), issues)
    number, header = next(((n, row) for n, row in enumerate(records, 1) if row), (0, []))
    header = [cell.strip() for cell in header]
    guess = _columns.headless(records[number - 1 :], wanted) if header else None
    if guess is not None:
        header, number = [str(place) for place in range(1, len(header) + 1)], number - 1
        wanted = _guessed(path, name, guess, wanted, issues)
    twice = sorted({cell for cell in header if header.count(cell) > 1})
    if not header or twice:
        why = f"has two columns called '{twice[0]}'" if twice else "is empty"
        raise DataError(f"{path} {why}", "begin the file with one line of column names: text,label (or path,label)")
    table = _table.Table(path, name, header, [], issues, headless=guess is not None)
    table.rows = _rows(table, records[number:], number)
    return table, wanted


def _guessed(path: Path, name: str, guess: _columns.Guess, wanted: _table.Wanted, issues: list[Issue]) -> _table.Wanted:
    text = wanted["text"] or guess.text or None
    asked = wanted["label"] or wanted["labels"] or wanted["number"]
    label = wanted["label"] if asked else guess.label or None
    what = f"{path.name} has no header: column {text} is read as the text, {label or asked or 'none'} as the label"
    hint = f"if they are others, name them: {name}(text='1', label='2')"
    issues.append(Issue("no-header", "note", what, (), hint))
    return {**wanted, "text": text, "label": label}


def _rows(table: _table.Table, records: list[list[str]], header_at: int) -> list[_table.Row]:
    rows: list[_table.Row] = []
    for number, cells in enumerate(records, header_at + 1):
        if len(cells) == len(table.columns):
            rows.append((number, dict(zip(table.columns, cells, strict=True))))
        elif any(cell.strip() for cell in cells):  # blank lines are no rows
            found = f"{len(cells)} cells for {len(table.columns)} columns"
            table.bad["ragged-row"].append(f"row {number}: {found} ({cells[0][:100]})")
    return rows


# ------------------------------------------------------------------------------------------------------------ parsing


class _Parsed(NamedTuple):
    records: list[list[str]]
    open_at: int = 0  # the record where a quote is never closed


def _records(path: Path, text: str, issues: list[Issue]) -> list[list[str]]:
    delimiter = _delimiter(path, text)
    found = _parse(text, delimiter)
    plain = _unquoted(text, found.records) if delimiter == "\t" and '"' in text else []
    if plain:
        return plain
    if found.open_at:
        where = f"{path}, row {found.open_at}"
        if len(found.records[-1][-1]) > _HUGE:
            raise DataError(f"{where}: a quote is never closed", "look for a stray quote near this row")
        issues.append(Issue("open-quote", "warning", "a quote is never closed: all that follows is one cell",
                            (f"row {found.open_at}",), "close it, or double it"))  # fmt: skip
    return found.records


def _parse(text: str, delimiter: str) -> _Parsed:
    """The limit of the library is lifted, for a cell that is too long is one bad sample and not the end."""
    before = reader.field_size_limit(_LIMIT)
    try:
        records = list(reader.reader(_lines(text), delimiter=delimiter))
    finally:
        reader.field_size_limit(before)
    if records[-1] == [_END]:
        return _Parsed(records[:-1])
    records[-1][-1] = records[-1][-1].removesuffix(_END)
    return _Parsed(records, len(records))


def _unquoted(text: str, quoted: list[list[str]]) -> list[list[str]]:
    """The records of a table with tabs where quotes are ordinary characters: then every line has the same number of
    cells, and reading the quotes breaks rules or joins lines. Else []."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    plain = [line.split("\t") if line else [] for line in lines]
    even = len({len(cells) for cells in plain if cells}) == 1
    return plain if even and (not _strict(text) or sum(map(bool, quoted)) < sum(map(bool, plain))) else []


def _strict(text: str) -> bool:
    """Whether every quote of a table with tabs stands where the rules of csv allow one."""
    before = reader.field_size_limit(_LIMIT)
    try:
        return sum(1 for _ in reader.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True)) > 0
    except reader.Error:
        return False
    finally:
        reader.field_size_limit(before)


def _lines(text: str) -> Iterable[str]:
    """The last line can only be a record of its own if every quote before it is closed."""
    return chain(io.StringIO(text, newline=""), [_END])


def _delimiter(path: Path, text: str) -> str:
    """The candidate that cuts the header most often, outside quotes; the one that the file is named for comes first."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    if path.suffix.lower() == ".tsv" and "\t" in first:
        return "\t"
    unquoted = "".join(first.split('"')[::2])
    return max(",;\t|", key=unquoted.count)
