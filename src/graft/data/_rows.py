"""From the rows of one table, or of several, to a data set of images or texts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from graft.data import _columns, _files, _image_table, _text, _text_table
from graft.data._table import Rows, Table, Wanted
from graft.types import Dataset, Issue


def read(table: Table, wanted: Wanted) -> Rows:
    """Raises DataError for a missing column, or when no row can be used."""
    reader = _text_table.read if _columns.is_text(table, wanted) else _image_table.read
    return reader(table, wanted)


def dataset(table: Table, wanted: Wanted) -> Dataset:
    """That of one table. Raises what `read` raises."""
    rows = read(table, wanted)
    return made(table.path.name, rows, table.found(), table.path.resolve().parent)


def made(name: str, rows: Rows, issues: Iterable[Issue], root: Path) -> Dataset:
    build = _text.dataset if rows.modality == "text" else _files.image_files
    return build(name, rows.samples, issues, root, rows.kind)
