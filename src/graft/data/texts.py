"""Texts in folders: .txt files, one folder per class, or one file per class with a text in each line.

    reviews/pos/1.txt, reviews/train/pos/1.txt   one text in each file; the folder is the class, as for images
    reviews/pos.txt, reviews/train/pos.txt       one text in each line; the file is the class
    corpus/train.txt, corpus/valid.txt           one text in each line, without labels
    letters/1.txt                                else one text in each file, without labels

Nothing outside the folder is ever read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from graft.data import _text, _walk
from graft.data._files import SPLITS, readable
from graft.errors import DataError
from graft.types import Dataset, Issue, Sample, Text

_SUFFIXES = frozenset([".txt"])
_FILES = 200  # more than this are not one per class


def texts(path: str, *, lines: bool | None = None) -> Dataset:
    """A folder or one file. `lines` says whether each line is a text, where there are no class folders; by itself it
    is so when the files are named train and so on, or when two files or more all have several lines.

    Raises DataError when it does not exist or holds no text.
    """
    root = Path(path).expanduser()
    if root.is_file():
        return _text.dataset(root.name, [Sample(readable(root.name), root)], [], root.resolve().parent, "none")
    if not root.is_dir():
        raise DataError(f"there is no folder {path}", "check the path: ls " + str(root.parent))
    scan = _walk.walk(root.resolve(), "texts", _SUFFIXES)
    if not scan.files:
        raise _walk.nothing(path, scan, "put .txt files into one folder per class")
    base = _walk.base_of(scan)
    samples, loose = _walk.label(scan, base)
    issues = [*scan.issues(), *_walk.notes(scan, base, loose)]
    if not any(sample.label for sample in samples):
        samples = _flat(samples, lines, issues)
    kind = "class" if any(sample.label for sample in samples) else "none"
    return _text.dataset(root.resolve().name, samples, issues, scan.root, kind)


def _flat(files: list[Sample], lines: bool | None, issues: list[Issue]) -> list[Sample]:
    """Files without class folders: each is a part, a class or a text."""
    stems = {file.source.stem for file in files}
    if lines is False or (lines is None and len(stems) > _FILES):
        return files
    parts = {stem.lower() for stem in stems} <= SPLITS.keys()
    if not parts and len(stems) < 2:
        return _of_lines(files, False, issues) if lines else files
    found = _of_lines(files, not parts, issues)
    if lines or parts:
        return found
    sizes = Counter(sample.key.rpartition(":")[0] for sample in found)
    if any(sizes[file.key] < 2 for file in files):
        return files
    hint = "if each file is one text, say texts:FOLDER(lines=False)"
    issues.append(Issue("class-files", "note", "each file is taken for a class, and each line for a text", (), hint))
    return found


def _of_lines(files: list[Sample], labelled: bool, issues: list[Issue]) -> list[Sample]:
    return [sample for file in files for sample in _lines_of(file, labelled, issues)]


def _lines_of(file: Sample, labelled: bool, issues: list[Issue]) -> Iterator[Sample]:
    label = readable(file.source.stem) if labelled else None
    split = file.split or (None if labelled else SPLITS.get(file.source.stem.lower()))
    for number, line in _text.lines(_text.read_text(file.source, issues)):
        yield Sample(f"{file.key}:{number}", Text(line), label, split)
