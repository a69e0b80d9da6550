"""A data set written again without some of its samples, in the form in which it was found, so that its reader reads it.

Files are copied under their names; tables keep their columns and cells. Nothing is written where the data lie.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from graft.data import _csv_table, _jsonl_table, _rows, _table, _text_copies
from graft.data._files import TABLES
from graft.data._sound_scan import scan
from graft.errors import DataError
from graft.types import Dataset, Json, Sample, Text, UnreadableSample

FILES = ("folder", "audio", "texts")
ONE_TABLE = ("csv", "jsonl")
AS_JSONL = ("json_splits", "lines")  # texts that lie in a form of their own
ROLES = ("image", "text", "audio", "pair", "label", "labels", "number", "transcript", "kind", "split", "group")


def possible(reader: str) -> bool:
    return reader in (*FILES, *ONE_TABLE, *AS_JSONL, "tables")


def content(dataset: Dataset, sample: Sample) -> bytes:
    """Equal for exact copies, as the audit calls them. Raises DataError for a file that changed since."""
    try:
        raw = dataset.load(sample)
        if dataset.modality == "text":
            return _text_copies.digest(raw)
        if dataset.modality == "audio":
            return scan(sample.source if isinstance(sample.source, Path) else raw).content
        return hashlib.sha256(f"{raw.size}".encode() + raw.tobytes()).digest()
    except UnreadableSample as error:
        raise _changed(sample.key, str(error)) from None


def copy(reader: str, path: str, options: Mapping[str, Any], kept: Dataset, to: Path) -> tuple[str, Json]:
    """Write `kept` below `to`, which is empty: what to give to `graft fit` in that folder ("": itself), and options.

    Raises DataError where a file is gone, OSError where there is no room.
    """
    root = Path(path).expanduser()
    if reader in AS_JSONL:
        return _as_jsonl(kept, to / "data.jsonl"), {}
    if reader == "tables":
        for name in sorted({sample.key.partition(":")[0] for sample in kept.samples}):
            known = {sample.key.partition(":")[2]: sample for sample in kept.samples
                     if sample.key.partition(":")[0] == name}  # fmt: skip
            _table_again(root / name, options, known, to)
        return "", dict(options)
    if reader in ONE_TABLE:
        _table_again(root, options, {sample.key: sample for sample in kept.samples}, to)
        return root.name, dict(options)
    return "", {**options, **_files(kept, to)}


# ------------------------------------------------------------------------------------------------------------- folders


def _files(kept: Dataset, to: Path) -> Json:
    """Files under their own names; of texts that were lines, the lines of each file."""
    lines: dict[str, list[str]] = defaultdict(list)
    for sample in kept.samples:
        if isinstance(sample.source, Text):
            lines[sample.key.rpartition(":")[0]].append(sample.source.text)
        else:
            _one(Path(sample.source), to / Path(sample.source).relative_to(kept.root), sample.key)
    for name, texts in lines.items():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).write_text("\n".join(texts) + "\n", encoding="utf-8")
    return {"lines": True} if lines else {}


def _one(source: Path, target: Path, key: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError as error:
        raise _changed(key, str(error.strerror)) from None


def _changed(key: str, why: str) -> DataError:
    return DataError(f"{key} changed while it was read: {why}", "run the command again")


# -------------------------------------------------------------------------------------------------------------- tables


def _table_again(file: Path, options: Mapping[str, Any], known: Mapping[str, Sample], to: Path) -> None:
    """The rows of known samples, cell by cell as they are; files that they name are copied, too."""
    wanted: _table.Wanted = {role: options.get(role) for role in ROLES}
    jsonl = TABLES[file.suffix.lower()] == "jsonl"
    if jsonl:
        table = _jsonl_table.read(file, file.name)
    else:
        table, wanted = _csv_table.read(file, wanted, file.name)
    column = _rows.read(table, wanted).columns[0]
    rows, before = dict[int, Mapping[str, str]](), set[str]()
    for number, cells in table.rows:
        text = cells.get(column, "").strip()
        key = _key(number, text, known, text in before)
        if key:
            rows[number] = _with_file(known[key], cells, column, file, to)
        before.add(text)
    if jsonl:
        _write_jsonl(file, rows, column, to / file.name)
    else:
        _write_csv(table, rows.values(), to / file.name)


def _key(number: int, text: str, known: Collection[str], again: bool) -> str:
    """Of a row, as the readers name samples: a text's row, or a path, with the row where it stood before."""
    names = (f"row {number}", f"{text} (row {number})", *([] if again else [text]))
    return next((key for key in names if key in known), "")


def _with_file(sample: Sample, cells: Mapping[str, str], column: str, file: Path, to: Path) -> Mapping[str, str]:
    """Of a text the row as it is; else with the path that the copied file has."""
    if isinstance(sample.source, Text):
        return cells
    name = Path(sample.source).relative_to(file.resolve().parent)
    _one(Path(sample.source), to / name, sample.key)
    return {**cells, column: name.as_posix()}


def _write_csv(table: _table.Table, rows: Iterable[Mapping[str, str]], to: Path) -> None:
    with to.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, delimiter="\t" if to.suffix.lower() == ".tsv" else ",")
        if not table.headless:
            writer.writerow(table.columns)
        writer.writerows([row[name] for name in table.columns] for row in rows)


def _write_jsonl(file: Path, rows: Mapping[int, Mapping[str, str]], column: str, to: Path) -> None:
    """The lines as they are, but for the paths of files."""
    with to.open("w", encoding="utf-8") as out:
        for number, line in enumerate(file.read_text(encoding="utf-8-sig").split("\n"), 1):
            if number in rows:
                record = json.loads(line)
                changed = str(record.get(column, "")).strip() != rows[number].get(column, "").strip()
                out.write((json.dumps({**record, column: rows[number][column]}, ensure_ascii=False) if changed else
                           line.rstrip("\r")) + "\n")  # fmt: skip


def _as_jsonl(kept: Dataset, to: Path) -> str:
    with to.open("w", encoding="utf-8") as out:
        for sample in kept.samples:
            text: Text = kept.load(sample)
            record = {"text": text.text, "pair": text.pair, "label": sample.label, "split": sample.split}
            out.write(json.dumps({k: v for k, v in record.items() if v is not None}, ensure_ascii=False) + "\n")
    return to.name
