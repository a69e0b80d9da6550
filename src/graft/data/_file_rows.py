"""The rows of a table that name files, images or sounds, as samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from graft.data import _columns, _labels, _paths
from graft.data._table import Table
from graft.types import Sample

Skip = Callable[[int, str, Mapping[str, str]], bool]  # number, path, cells -> whether a row is left out, and listed


def samples(
    table: Table, column: str, labels: _labels.Labels, sides: _columns.Sides, inner: str = "", skip: Skip | None = None
) -> list[Sample]:
    """A sample for each row whose file is there; `inner` stands before every path. A path that is named again gets its
    row into its key."""
    root = table.path.resolve().parent
    found, keys = [], set[str]()
    for number, cells in table.rows:
        text = cells.get(column, "").strip()
        if skip and skip(number, text, cells):
            continue
        source = _paths.checked(table, number, text if not text or _paths.URL.match(text) else inner + text, root)
        if source is not None:
            key = text if text not in keys else f"{text} (row {number})"
            keys.add(key)
            found.append(Sample(key, source, _labels.read(table, labels, number, cells), *sides.of(cells)))
    return found
