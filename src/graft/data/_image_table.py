"""The rows of a table of images: each names a file inside the folder of the table."""

from __future__ import annotations

from graft.data import _columns, _labels, _paths
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
        source = _paths.checked(table, number, text, root)
        if source is not None:
            label = _labels.read(table, labels, number, cells)
            key = text if text not in keys else f"{text} (row {number})"
            keys.add(key)
            samples.append(Sample(key, source, label, *sides.of(cells)))
    _labels.require_some(table, labels, samples, "image")
    return Rows("image", labels.kind, (image, *labels.columns), samples)
