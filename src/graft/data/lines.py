"""A .txt file with one text in each line and no labels: a corpus to pretrain on, or texts to predict on."""

from __future__ import annotations

from graft.data import _text
from graft.data._files import readable
from graft.data._table import table_file
from graft.errors import DataError
from graft.types import Dataset, Issue, Sample, Text


def lines(path: str) -> Dataset:
    """Keys are "corpus.txt:17". Blank lines are no texts. Raises DataError when there is no file, or no line."""
    file = table_file(path)
    issues: list[Issue] = []
    found = _text.lines(_text.read_text(file, issues))
    if not found:
        raise DataError(f"{path} is empty", "write one text into each line")
    name = readable(file.name)
    samples = (Sample(f"{name}:{number}", Text(line)) for number, line in found)
    return _text.dataset(file.name, samples, issues, file.resolve().parent, "none")
