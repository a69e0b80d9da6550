"""From the rows of one table, or of several, to a data set of images, texts or sounds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from graft.data import _columns, _files, _image_table, _sound_files, _sound_table, _text, _text_table
from graft.data._table import Rows, Table, Wanted
from graft.types import Dataset, Issue

_READERS = {"image": _image_table.read, "text": _text_table.read, "audio": _sound_table.read}
_MAKERS = {"image": _files.image_files, "text": _text.dataset, "audio": _sound_files.sound_files}


def read(table: Table, wanted: Wanted) -> Rows:
    """Raises DataError for a missing column, or when no row can be used."""
    return _READERS[_columns.modality(table, wanted)](table, wanted)


def dataset(table: Table, wanted: Wanted) -> Dataset:
    """That of one table. Raises what `read` raises."""
    rows = read(table, wanted)
    return made(table.path.name, rows, table.found(), table.path.resolve().parent)


def made(name: str, rows: Rows, issues: Iterable[Issue], root: Path) -> Dataset:
    return _MAKERS[rows.modality](name, rows.samples, issues, root, rows.kind)
