"""A table of images, texts or sounds: columns path or text, and label; if you like pair, split and group.

Columns are found under their common names (image, file; sentence, review; class, intent; fold; patient, speaker, ...)
or named: `data.csv(text='body', label='topic')`. `labels='tags'` is a column of several labels (a; b), and
`labels=('toxic', 'rude')` several columns of 0 and 1; `number='score'` is a number to be predicted. Of sounds,
`transcript='sentence'` is what is said; without a column of labels a transcript counts. A table without a header has
the columns '1', '2', ... Delimiters , ; tab and | are recognised; paths are relative to the table. Every
cell is text: a class called "NA" or "01" stays what it is.
"""

from __future__ import annotations

from graft.data import _csv_table, _rows, _table
from graft.types import Dataset


def csv(
    path: str,
    *,
    image: str | None = None,
    text: str | None = None,
    audio: str | None = None,
    pair: str | None = None,
    label: str | None = None,
    labels: str | tuple[str, ...] | None = None,
    number: str | None = None,
    transcript: str | None = None,
    kind: str | None = None,
    split: str | None = None,
    group: str | None = None,
) -> Dataset:
    """`kind` ("class", "labels", "number" or "transcript") says how to read the label column where its cells mislead.

    Raises DataError for a missing file or column, or when no row can be used; UsageError for options that contradict
    each other.
    """
    wanted: _table.Wanted = {
              "image": image, "text": text, "audio": audio, "pair": pair, "label": label, "labels": labels,
              "number": number, "transcript": transcript, "kind": kind, "split": split, "group": group}  # fmt: skip
    _table.check_options(wanted)
    file = _table.table_file(path)
    return _rows.dataset(*_csv_table.read(file, wanted, file.name))
