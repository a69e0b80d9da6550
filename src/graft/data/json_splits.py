"""A JSON object of parts, each a list of pairs of text and label: {"train": [["hi", "greeting"], ...], "test": ...}.

So CLINC150 comes (Larson et al. 2019). A part is known by its last word: oos_train is trained on, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from graft.data import _text
from graft.data._files import SPLITS
from graft.data._table import table_file
from graft.errors import DataError
from graft.types import Dataset, Issue, Json, Sample, Text


def json_splits(path: str) -> Dataset:
    """Keys are "train/17", counted from 1. Raises DataError for a file of another form."""
    file = table_file(path)
    issues: list[Issue] = []
    parts = _parts(path, _text.read_text(file, issues))
    bad: list[str] = []
    samples = [sample for part, rows in parts.items() for sample in _samples(part, rows, bad)]
    if bad:
        what = "rows that are not a text and a label are left out"
        issues.append(Issue("bad-row", "warning", what, tuple(bad), "correct them in the file"))
    if not samples:
        raise DataError(f"{path} holds no pairs of text and label", 'write {"train": [["a text", "a label"], ...]}')
    return _text.dataset(file.name, samples, issues, file.resolve().parent, "class")


def _parts(path: str, text: str) -> Json:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({str(error)[:80]})", "check the file") from None
    if not isinstance(found, dict) or not found or any(_split(str(name)) is None for name in found):
        raise DataError(f"{path} holds neither questions as SQuAD does, nor the parts train, val and test",
                        'write {"train": [["a text", "a label"], ...]}, or one object per line in a .jsonl'
                        )  # fmt: skip
    return found


def _split(part: str) -> str | None:
    return SPLITS.get(part.lower().rpartition("_")[2])


def _samples(part: str, rows: object, bad: list[str]) -> Iterator[Sample]:
    for number, row in enumerate(rows if isinstance(rows, list) else [], 1):
        if isinstance(row, list) and len(row) == 2 and all(isinstance(cell, str) for cell in row) and row[1].strip():
            yield Sample(f"{part}/{number}", Text(row[0]), row[1].strip(), _split(part))
        else:
            bad.append(f"{part}/{number}: {json.dumps(row)[:100]}")
