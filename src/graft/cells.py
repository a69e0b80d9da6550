"""CSV for spreadsheets: no cell of text is taken for a formula, and numbers stay numbers.

A cell that begins with = + - @, or with one of their full-width forms, is computed by Excel and LibreOffice; with DDE
it starts a program. It gets an apostrophe in front, as OWASP's "CSV Injection" advises, and so does what follows a
line's end or a semicolon within a cell, where a program that divides by other rules would begin another cell.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from graft.store import replacing

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_FORMULA = re.compile(
    r"(^|[\n;])(?=[\s\"'`\u2018-\u201f]*[=+\-@\uff1d\uff0b\uff0d\uff20\u2212\ufe62\ufe63\ufe66\ufe6b])"
)


def safe(value: object) -> str:
    """A value as text that no spreadsheet computes; None is empty. Control and invisible characters are spaces."""
    if value is None:
        return ""
    text = _CONTROL.sub(" ", str(value).replace("\r\n", "\n").replace("\r", "\n"))
    return text if _NUMBER.fullmatch(text) else _FORMULA.sub(r"\1'", text)


def write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table, whole or not at all. UTF-8 with a byte order mark, without which Excel shows no Chinese; a name
    that is not UTF-8 is written with escapes. Raises ResourceError where it cannot be written."""
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8-sig", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow([safe(name) for name in header])
        writer.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: object) -> str | int | float:
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    return safe(value)
