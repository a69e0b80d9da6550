"""The rows of a table of images: each names a file inside the folder of the table."""

from __future__ import annotations

from graft.data import _columns, _file_rows, _labels
from graft.data._table import Rows, Table, Wanted


def read(table: Table, wanted: Wanted) -> Rows:
    """Rows -> samples, with or without a label. Raises DataError for a missing column, or when no row can be used."""
    roles = _columns.IMAGE
    image = _columns.column(table, wanted, "image", roles["image"])
    if image is None:
        raise _columns.missing(table, "image", "path")
    labels = _labels.of_images(table, wanted)
    samples = _file_rows.samples(table, image, labels, _columns.sides(table, wanted, roles))
    _labels.require_some(table, labels, samples, "image")
    return Rows("image", labels.kind, (image, *labels.columns), samples)
