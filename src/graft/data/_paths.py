"""The paths that rows of a table name: each is judged before anything is opened."""

from __future__ import annotations

import re
from pathlib import Path

from graft.data._table import Table

URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://|data:")
_INNER = ("", "clips/", "audio/", "wavs/", "wav/", "recordings/", "sounds/")  # folders that tables of sounds leave out
_SOME = 20  # rows that show it


def checked(table: Table, number: int, text: str, root: Path) -> Path | None:
    """The file of a row, or None after listing why not."""
    code = "no-path" if not text else "url" if URL.match(text) else "bad-row" if "\0" in text else ""
    found = root
    if not code:
        found, code = _inside(root, text)
    if code:
        shown = text.replace("\0", "\\0")
        table.bad[code].append(f"row {number}: {shown[:200]}")
    return None if code else found


def _inside(root: Path, text: str) -> tuple[Path, str]:
    try:
        found = (root / text).resolve()
        if "\\" in text and not found.exists():  # written on Windows
            found = (root / text.replace("\\", "/")).resolve()
        if not found.is_relative_to(root) or re.match(r"[A-Za-z]:[\\/]", text):
            return found, "outside-root"
        return found, "" if found.is_file() else "missing-file"
    except (OSError, RuntimeError, ValueError):  # a link loop, a name too long
        return root, "missing-file"


def inner(table: Table, column: str) -> str | None:
    """What stands before every path for files to be found, such as "clips/"; None where none of the first ones is
    there."""
    root = table.path.resolve().parent
    some = [cell for cell in table.cells(column) if cell and "\0" not in cell][:_SOME]
    return next((name for name in _INNER if any(_is_file(root / (name + cell)) for cell in some)), None)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long
        return False
