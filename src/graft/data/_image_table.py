"""The rows of a table of images: each names a file inside the folder of the table."""

from __future__ import annotations

import re
from pathlib import Path

from graft.data import _columns, _labels
from graft.data._table import Rows, Table, Wanted
from graft.types import Sample


def read(table: Table, wanted: Wanted) -> Rows:
    """Rows -> samples, with or without a label. Raises DataError for a missing column, or when no row can be used."""
    roles = _columns.IMAGE
    image = _columns.column(table, wanted, "image", roles["image"])
    if image is None:
        raise _columns.missing(table, "image", "path")
    labels = _labels.of_images(table, wanted)
    sides = _columns.sides(table, wanted, roles)
    root = table.path.resolve().parent
    samples, keys = [], set[str]()
    for number, cells in table.rows:
        text = cells.get(image, "").strip()
        source = _checked(table, number, text, root)
        if source is not None:
            label = _labels.read(table, labels, number, cells)
            key = text if text not in keys else f"{text} (row {number})"
            keys.add(key)
            samples.append(Sample(key, source, label, *sides.of(cells)))
    _labels.require_some(table, labels, samples, "image")
    return Rows("image", labels.kind, (image, *labels.columns), samples)


def _checked(table: Table, number: int, text: str, root: Path) -> Path | None:
    """The file of a row, or None after listing why not. A path is judged before anything is opened."""
    code = "no-path" if not text else "url" if _columns.URL.match(text) else "bad-row" if "\0" in text else ""
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
