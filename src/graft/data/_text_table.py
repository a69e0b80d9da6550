"""The rows of a table of texts: a text each, perhaps a pair to it, and any kind of label."""

from __future__ import annotations

from graft.data import _columns, _labels
from graft.data._table import Rows, Table, Wanted
from graft.types import Sample, Text


def read(table: Table, wanted: Wanted) -> Rows:
    """Rows -> samples with keys "row 7". Raises DataError for a missing column, or when no row can be used.

    A blank text is a sample all the same: the audit lists it, and a prediction names it. So is a row without a label.
    """
    roles = _columns.TEXT
    text = _columns.column(table, wanted, "text", roles["text"])
    if text is None:
        raise _columns.missing(table, "text", "text")
    pair = _columns.column(table, wanted, "pair", roles["pair"])
    labels = _labels.of_texts(table, wanted)
    if not labels.columns:
        table.issues += _columns.no_labels(table, _columns.TEXT, "label")
    sides = _columns.sides(table, wanted, roles)
    samples = []
    for number, cells in table.rows:
        one = Text(cells.get(text, ""), cells.get(pair, "") if pair else None)
        label = _labels.read(table, labels, number, cells)
        samples.append(Sample(f"row {number}", one, label, *sides.of(cells)))
    _labels.require_some(table, labels, samples, "text")
    used = (text, *([pair] if pair else []), *labels.columns)
    return Rows("text", labels.kind, used, samples)
