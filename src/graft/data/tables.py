"""A folder of tables that are named like parts, such as train.csv, dev.tsv and test.jsonl: one data set of these parts.

A name may say more than its part: reviews_train.csv. Every file is read as csv or jsonl reads it, by the same options
and the same columns. What else lies in the folder does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from graft.data import _csv_table, _jsonl_table, _rows, _table
from graft.data._files import TABLES, is_junk, part_of, readable
from graft.errors import DataError
from graft.types import Dataset, Issue, Sample

_ORDER = ("train", "valid", "test")
_KINDS = {"class": "classes", "labels": "several labels for each row", "number": "numbers",
          "transcript": "transcripts", "none": "no labels"}  # fmt: skip
_ONCE = frozenset(["no-header", "number-label", "no-label-column"])  # true of all files alike: said of the first one


class _Part(NamedTuple):
    table: _table.Table
    rows: _table.Rows


def tables(
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
    """The options are those of csv, and hold for every file. Keys are "train.csv:row 7", classes those of all parts.

    Raises DataError when there is no such folder or table, or when two of them differ in their columns or their kind
    of labels; UsageError for options that contradict each other.
    """
    wanted: _table.Wanted = {
              "image": image, "text": text, "audio": audio, "pair": pair, "label": label, "labels": labels,
              "number": number, "transcript": transcript, "kind": kind, "split": split, "group": group}  # fmt: skip
    _table.check_options(wanted)
    root = Path(path).expanduser()
    files, others = _files(root, path)
    parts = _read(files, wanted, readable(root.resolve().name))
    samples = [sample for part in parts for sample in _samples(part)]
    rows = parts[0].rows._replace(samples=samples)
    return _rows.made(root.resolve().name, rows, [*_issues(parts), *others], root.resolve())


def _files(root: Path, path: str) -> tuple[list[Path], list[Issue]]:
    """Those that are parts, train first, and a note on the others. Links that lead out are not followed."""
    if not root.is_dir():
        raise DataError(f"there is no folder {path}", "check the path: ls " + str(root.parent))
    inside = root.resolve()
    found = [p for p in sorted(root.iterdir()) if p.suffix.lower() in TABLES and not is_junk(p.name) and p.is_file()]
    files = [p for p in found if part_of(p.name) and p.resolve().is_relative_to(inside)]
    if not files:
        raise DataError(f"there are no tables of parts in {path}", "name them train.csv, valid.csv and test.csv")
    stems = [file.stem.lower() for file in files]
    twice = [file.name for file in files if stems.count(file.stem.lower()) > 1]
    if twice:
        raise DataError(f"{twice[0]} and {twice[1]} in {path} would be one part twice", "keep one of them")
    rest = tuple(readable(p.name) for p in found if p not in files)
    note = Issue("ignored-file", "note", "tables that are not named for a part are left out", rest)
    return sorted(files, key=lambda p: _ORDER.index(part_of(p.name) or "")), [note] if rest else []


# ------------------------------------------------------------------------------------------------------------ reading


def _read(files: Sequence[Path], wanted: _table.Wanted, name: str) -> list[_Part]:
    """Every file as the first one was: what it has no header for, or holds numbers in, the others have, too."""
    table, wanted = _open(files[0], wanted, name)
    first = _Part(table, _rows.read(table, wanted))
    if first.rows.kind == "number":
        wanted = {**wanted, "kind": "number"}  # a small part alone may look like classes
    return [first, *(_like(first, *_open(file, wanted, name)) for file in files[1:])]


def _open(file: Path, wanted: _table.Wanted, name: str) -> tuple[_table.Table, _table.Wanted]:
    if TABLES[file.suffix.lower()] == "jsonl":
        return _jsonl_table.read(file, name), wanted
    return _csv_table.read(file, wanted, name)


def _like(first: _Part, table: _table.Table, wanted: _table.Wanted) -> _Part:
    absent = [name for name in first.rows.columns if name not in table.columns]
    if first.table.headless != table.headless or absent:
        raise _other_columns(first, table, absent)
    try:
        rows = _rows.read(table, wanted)
    except DataError as error:
        numbers = first.rows.kind == "number" and "bad-label" in table.bad
        raise _other_kind(first, table, "class") if numbers else error from None
    if rows.columns != first.rows.columns or rows.modality != first.rows.modality:
        raise _other_reading(first, table, rows)
    if rows.kind != first.rows.kind:
        raise _other_kind(first, table, rows.kind)
    return _Part(table, rows)


def _other_columns(first: _Part, table: _table.Table, absent: Sequence[str]) -> DataError:
    one, other = first.table.path.name, table.path.name
    if first.table.headless != table.headless:
        bare, full = (one, other) if first.table.headless else (other, one)
        return DataError(f"{bare} has no header, and {full} has one", "begin both with the same line of column names")
    have = ", ".join(repr(name[:40]) for name in table.columns[:20]) or "none"
    what = f"{other} has no column '{absent[0]}', from which {one} is read; its columns are: {have}"
    return DataError(what, f"give both the same columns, or one table alone: {first.table.path}")


def _other_reading(first: _Part, table: _table.Table, rows: _table.Rows) -> DataError:
    ours, theirs = (", ".join(columns) for columns in (first.rows.columns, rows.columns))
    what = f"{first.table.path.name} is read from its columns {ours}, but {table.path.name} from {theirs}"
    return DataError(what, f"name the columns: {table.name}(text='...', label='...')")


def _other_kind(first: _Part, table: _table.Table, kind: str) -> DataError:
    what = f"{first.table.path.name} has {_KINDS[first.rows.kind]}, but {table.path.name} has {_KINDS[kind]}"
    kinds = first.rows.kind if first.rows.kind != "none" else "class"
    return DataError(what, f"say what the labels are, for all: {table.name}(kind='{kinds}')")


# ------------------------------------------------------------------------------------------------------------ joining


def _samples(part: _Part) -> list[Sample]:
    """A row that says its own split keeps it."""
    name = part.table.path.name
    split = part_of(name)
    return [replace(s, key=f"{readable(name)}:{s.key}", split=s.split or split) for s in part.rows.samples]


def _issues(parts: Sequence[_Part]) -> list[Issue]:
    """Findings of one code are one, with the name of the file before each row."""
    found: dict[tuple[str, str], Issue] = {}
    for part in parts:
        for issue in part.table.found():
            if issue.code in _ONCE and part is not parts[0]:
                continue
            keys = tuple(f"{readable(part.table.path.name)}:{key}" for key in issue.keys)
            before = found.get((issue.code, issue.what))
            found[issue.code, issue.what] = replace(issue, keys=(*(before.keys if before else ()), *keys))
    return list(found.values())
