"""What tables of samples (csv, jsonl) have in common: finding the columns, checking the rows, keeping inside the root.

A row that cannot be used is listed with its number and its reason, and its file is never opened.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from graft.data._files import SPLITS, image_files
from graft.errors import DataError, UsageError, did_you_mean
from graft.types import Dataset, Issue, Sample

Row = tuple[int, Mapping[str, str]]  # the row's number in the file (as editors count), and its cells
SYNONYMS = {
        "image": ["path", "image", "file", "filename", "filepath", "file_name", "file_path", "image_path",
        "image_file", "img", "img_path"],
    "label": ["label", "labels", "class", "class_name", "classname", "target", "category", "y"],
    "split": ["split", "subset", "fold", "set", "partition"],
        "group": ["group", "group_id", "patient", "patient_id", "subject", "subject_id", "speaker", "speaker_id",
        "user", "user_id"],
}  # fmt: skip
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://|data:")
_REASONS = {
    "ragged-row": ("rows with too many or too few cells are left out", "give every row the columns of the header"),
    "bad-row": ("rows that cannot be understood are left out", "correct them in the file"),
    "no-path": ("rows without a path are left out", "fill in the path"),
    "unlabelled": ("rows without a label are left out", "fill in the label"),
    "url": ("web addresses are left out, and never fetched", "download the files, and name them by relative paths"),
    "outside-root": ("paths that lead out of the table's folder are refused, and not read",
                     "copy the files beside the table, and name them by relative paths"),
    "padded-label": ("labels are taken without the blanks around them", ""),
    "missing-file": ("files that do not exist are left out", "paths are relative to the folder of the table"),
}  # fmt: skip


@dataclass
class Table:
    """A table as read: its columns, its rows, and the rows that were no rows."""

    path: Path
    columns: Sequence[str]
    rows: Sequence[Row]
    issues: list[Issue] = field(default_factory=list)
    bad: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # code -> "row 7: why"


def table_file(path: str) -> Path:
    """Raises DataError when there is no such file."""
    found = Path(path).expanduser()
    if not found.is_file():
        raise DataError(f"there is no file {path}", f"check the path: ls {found.parent}")
    return found


def read_text(path: Path, issues: list[Issue]) -> str:
    """UTF-8 (with or without BOM) or UTF-16, else Latin-1, which never fails and is therefore said."""
    data = path.read_bytes()
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return _decoded(data, "utf-16", path)
    if data[1:40:2].count(0) > 10 and len(data) >= 40:
        return _decoded(data, "utf-16-le", path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        issues.append(Issue("encoding", "note", f"{path.name} is not UTF-8 (row {line}): read as Latin-1", (),
                            "save it as UTF-8 if names look wrong"))  # fmt: skip
        return data.decode("latin-1")


def _decoded(data: bytes, encoding: str, path: Path) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not {encoding}: {error.reason} at byte {error.start}", "save it as UTF-8") from None


def build(table: Table, wanted: Mapping[str, str | None]) -> Dataset:
    """Rows -> samples. `wanted` maps image, label, split and group to a column's name, or None for the usual ones."""
    columns = {role: _column(table, role, name) for role, name in wanted.items()}
    split_column = _usable_splits(table, columns["split"], bool(wanted["split"]))
    root = table.path.resolve().parent
    samples, keys = [], set[str]()
    for number, cells in table.rows:
        value = {role: cells.get(name, "").strip() if name else "" for role, name in columns.items()}
        source = _checked(table, number, value["image"], root)
        if source is None:
            continue
        if columns["label"] and not value["label"]:
            table.bad["unlabelled"].append(f"row {number}: {value['image']}")
            continue
        if columns["label"] and cells[columns["label"]] != value["label"]:
            table.bad["padded-label"].append(f"row {number}: {cells[columns['label']]!r}")
        split = SPLITS.get(value["split"].lower()) if split_column else None
        key = value["image"] if value["image"] not in keys else f"{value['image']} (row {number})"
        keys.add(key)
        samples.append(Sample(key, source, value["label"] or None, split, value["group"] or None))
    if not samples:
        raise _nothing(table)
    return image_files(table.path.name, samples, [*table.issues, *_listed(table)], root)


# ------------------------------------------------------------------------------------------------------------ columns


def _column(table: Table, role: str, name: str | None) -> str | None:
    if name is not None:
        if name in table.columns:
            return name
        hint = did_you_mean(name, table.columns)
        raise DataError(f"{table.path} has no column '{name}' ({role}={name!r})", hint)
    lowered = {column.strip().lower().replace(" ", "_"): column for column in reversed(table.columns)}
    found = next((lowered[word] for word in SYNONYMS[role] if word in lowered), None)
    if found is None and (role == "image" or (role == "label" and _unexplained(table))):
        raise _no_column(table, role)
    return found


def _unexplained(table: Table) -> bool:
    """Whether a column could be the labels under another name; a bare list of paths is unlabelled, and fine."""
    known = {word for words in SYNONYMS.values() for word in words}
    return any(column.strip().lower().replace(" ", "_") not in known for column in table.columns)


def _no_column(table: Table, role: str) -> DataError:
    have = ", ".join(repr(column[:40]) for column in table.columns[:20]) or "none"
    what = "path" if role == "image" else role
    example = next((c for c in table.columns if _URL.match(c) is None), "name")[:40]
    return DataError(
        f"{table.path} has no column '{what}'; its columns are: {have}",
        f"name it: {table.path.name}({role}={example!r}), or begin the file with the line path,label",
    )


def _usable_splits(table: Table, column: str | None, asked: bool) -> bool:
    """A column of unknown words is an error when it was asked for, or when some of its words *are* splits."""
    if column is None:
        return False
    cells = [(number, row.get(column, "").strip()) for number, row in table.rows]
    wrong = [(number, cell) for number, cell in cells if cell and cell.lower() not in SPLITS]
    if not wrong:
        return True
    number, cell = wrong[0]
    if asked or len(wrong) < sum(1 for _, cell in cells if cell):
        raise DataError(f"{table.path}, row {number}: '{cell}' in column '{column}' is not a split",
                        "use train, valid and test, or leave the cell empty")  # fmt: skip
    table.issues.append(Issue("split-ignored", "warning", f"column '{column}' (such as '{cell}') does not say train, "
                              "valid or test: Graft makes its own split"))  # fmt: skip
    return False


# --------------------------------------------------------------------------------------------------------------- rows


def _checked(table: Table, number: int, text: str, root: Path) -> Path | None:
    """The file of a row, or None after listing why not. A path is judged before anything is opened."""
    code = "no-path" if not text else "url" if _URL.match(text) else "bad-row" if "\0" in text else ""
    found = root
    if not code:
        found, code = _inside(root, text)
    if code:
        shown = text.replace("\0", "\\0")
        table.bad[code].append(f"row {number}: {shown[:200]}")
    return None if code else found


def _inside(root: Path, text: str) -> tuple[Path, str]:
    try:
        found = (root / text).resolve()
        if "\\" in text and not found.exists():  # written on Windows
            found = (root / text.replace("\\", "/")).resolve()
        if not found.is_relative_to(root) or re.match(r"[A-Za-z]:[\\/]", text):
            return found, "outside-root"
        return found, "" if found.is_file() else "missing-file"
    except (OSError, RuntimeError, ValueError):  # a link loop, a name too long
        return root, "missing-file"


def _listed(table: Table) -> list[Issue]:
    mild = {"padded-label"}
    return [Issue(c, "note" if c in mild else "warning", *_words(c, keys)) for c, keys in table.bad.items()]


def _words(code: str, keys: list[str]) -> tuple[str, tuple[str, ...], str]:
    what, hint = _REASONS[code]
    return what, tuple(keys), hint


def _nothing(table: Table) -> DataError:
    if not table.bad:
        return DataError(f"{table.path} has a header and no rows", "add one row per image")
    code, keys = max(table.bad.items(), key=lambda item: len(item[1]))
    what, hint = _REASONS[code]
    return DataError(f"no row of {table.path} can be used: {what} ({keys[0]}, and {len(keys) - 1} more)", hint)


def text_option(name: str, value: object) -> None:
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{name}={value!r} must be the name of a column", f"write {name}='...' in quotes")
