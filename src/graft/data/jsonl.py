"""One JSON object per line, with the keys path or text, and label; if you like pair, split and group.

The keys are found under the same names as the columns of a csv table, or named: `data.jsonl(label='species')`. A list
of labels means several, a fraction means a number to be predicted.
"""

from __future__ import annotations

from graft.data import _jsonl_table, _rows, _table
from graft.types import Dataset


def jsonl(
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
    """The options are those of csv. Raises DataError for a missing file or key, or when no line can be used;
    UsageError for options that contradict each other."""
    wanted: _table.Wanted = {
              "image": image, "text": text, "audio": audio, "pair": pair, "label": label, "labels": labels,
              "number": number, "transcript": transcript, "kind": kind, "split": split, "group": group}  # fmt: skip
    _table.check_options(wanted)
    file = _table.table_file(path)
    return _rows.dataset(_jsonl_table.read(file, file.name), wanted)
