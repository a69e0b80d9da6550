"""`graft check --fix`: a cleaned copy in a new folder, or a list of what to change. The user's files are only read.

A copy is without unreadable files, leaks, exact copies and labels that contradict each other; what may be wrong stays,
and is listed. It lies as the data do, so that `graft fit` reads it in the same way.
"""

from __future__ import annotations

import re
import shlex
import shutil
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from graft import cells
from graft.data import _recopy
from graft.data._findings import LEFT_OUT
from graft.data._sniff import options_of, reader_of, with_columns, without_options
from graft.errors import UsageError
from graft.store import disk_errors
from graft.types import Dataset, Issue, Json, Sample

REMOVE, LOOK = "remove", "look at"
WHY = {"leak": "a copy of it stands in the test or validation part",
       "conflicting-labels": "its copies have another label: keep one, with the right label"}  # fmt: skip
NOT_OF_SAMPLES = ("near-copies", "cut-texts", "partly-heard", "names-straddle", "group-straddles", "unlabelled")
RANK = {"test": 1, "valid": 2}  # the copy that is kept: that of the sealed part, or else of these


class Place(NamedTuple):
    """Where to write: a folder for the copy, or None for a list alone."""

    folder: Path | None
    list: Path


class Change(NamedTuple):
    """One line of the list."""

    file: str
    action: str
    why: str
    suggested: str = ""


def place(data: str, to: str) -> Place:
    """Raises UsageError for what exists, or lies within the data, before anything is read."""
    target, root = Path(to).expanduser(), Path(without_options(data)).expanduser()
    if root.is_dir() and target.resolve().is_relative_to(root.resolve()):
        raise UsageError(f"--fix {to} lies within the data, which are never written", "choose a folder outside of them")
    listed = target.suffix.lower() == ".csv"
    if target.suffix.lower() in (".json", ".jsonl", ".tsv", ".txt", ".xlsx", ".zip"):
        what = f"--fix {to} is neither a new folder nor a .csv"
        raise UsageError(what, f"--fix {target.with_suffix('')}, or --fix {target.with_suffix('.csv')}")
    found = Place(None, target) if listed else Place(target, target.with_name(f"{target.name}.csv"))
    taken = found.folder is not None and target.exists() and (not target.is_dir() or any(target.iterdir()))
    if taken or found.list.exists():
        raise UsageError(f"{target if taken else found.list} exists already", "choose a new folder, or a new .csv")
    if found.folder is not None and not _recopy.possible(reader_of(data).name):
        what = f"a cleaned copy can be made of folders and tables, not of {reader_of(data).name}"
        raise UsageError(what, f"--fix {target.name}.csv writes a list of what to change")
    return found


def fix(data: str, dataset: Dataset, issues: Sequence[Issue], to: Place, sealed: str | None = None) -> Json:
    """Write what `place` has found free: {"folder", "list", "kept", "removed", "look_at", "command"}.

    `dataset` is audited and not split. Raises ResourceError where there is no room, DataError where a file changed.
    """
    rows = list(changes(dataset, issues, sealed))
    dropped = {row.file for row in rows if row.action == REMOVE}
    kept = dataset.where(lambda sample: sample.key not in dropped)
    command = None
    with disk_errors(to.list):
        to.list.parent.mkdir(parents=True, exist_ok=True)
    if to.folder is not None:
        made, options = _write(data, kept, to.folder)
        command = shlex.join(["graft", "fit", with_columns(made, **options), *(["--sealed", sealed] if sealed else [])])
    cells.write(to.list, ("file", "action", "why", "suggested label"), rows)
    return {"folder": str(to.folder) if to.folder else None, "list": str(to.list), "kept": len(kept),
            "removed": len(dropped), "look_at": len(rows) - len(dropped), "command": command}  # fmt: skip


def _write(data: str, kept: Dataset, folder: Path) -> tuple[str, Json]:
    """The data of the copy, and their options. It gets its name when it is whole."""
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        with disk_errors(folder):
            temporary.mkdir()
            name, options = _recopy.copy(reader_of(data).name, without_options(data), options_of(data), kept, temporary)
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return str(folder / name), options


def told(fixed: Json) -> list[str]:
    """Lines for standard output."""
    look = f"{fixed['look_at']:,} to look at"
    if fixed["folder"] is None:
        return [f"fixed    {fixed['removed']:,} to remove and {look} are listed in {fixed['list']}"]
    copied = f"{fixed['kept']:,} samples were copied to {fixed['folder']}"
    left = f"{fixed['removed']:,} left out and {look} are listed in {fixed['list']}"
    return [f"fixed    {copied}; {left}", f"next     {fixed['command']}"]


# ------------------------------------------------------------------------------------------------------- what to change


def changes(dataset: Dataset, issues: Sequence[Issue], sealed: str | None = None) -> Iterator[Change]:
    """One for each file: those to remove, then those to look at, in the order of the issues."""
    removed: dict[str, str] = {}
    for issue in issues:
        if issue.code in ("unreadable", *WHY):
            why = WHY.get(issue.code) or f"unreadable: {issue.what.removeprefix(LEFT_OUT)}"
            removed |= {key: detail or why for key, detail in _each(issue) if key not in removed}
    removed |= _copies(dataset, issues, removed, sealed)
    yield from (Change(key, REMOVE, why) for key, why in removed.items())
    yield from _to_look_at(dataset, issues, removed)


def _to_look_at(dataset: Dataset, issues: Sequence[Issue], removed: Collection[str]) -> Iterator[Change]:
    """Suspected labels, and what else a warning says of samples."""
    labels, seen = {sample.key: sample.label for sample in dataset.samples}, set(removed)
    for issue in issues:
        suspected = issue.code == "label-errors"
        if issue.code in NOT_OF_SAMPLES or not (suspected or issue.severity == "warning"):
            continue
        for key, detail in _each(issue):
            if key in labels and key not in seen:
                seen.add(key)
                yield Change(key, LOOK, detail or issue.what, _suggested(detail, labels[key]) if suspected else "")


def _each(issue: Issue) -> Iterator[tuple[str, str]]:
    return zip(issue.keys, issue.details or ("",) * len(issue.keys), strict=True)


def _suggested(detail: str, given: object) -> str:
    """ "given ants, looks like bees (97 %)" -> "bees"."""
    return re.split(r" \(\d+ %\)", detail.removeprefix(f"given {given}, looks like "))[0]


def _copies(dataset: Dataset, issues: Sequence[Issue], removed: Collection[str],
            sealed: str | None) -> dict[str, str]:  # fmt: skip
    """{key: why} of all exact copies but one: the one in the sealed part, else in test, in valid, else the first."""
    keys = {key for issue in issues if issue.code == "exact-copies" for key in issue.keys}
    alike: dict[bytes, list[Sample]] = defaultdict(list)
    for sample in dataset.samples:
        if sample.key in keys and sample.key not in removed:
            alike[_recopy.content(dataset, sample)].append(sample)
    found, rank = dict[str, str](), RANK | ({sealed: 0} if sealed else {})
    for samples in alike.values():
        first, *others = sorted(samples, key=lambda sample: rank.get(sample.split or "", 3))
        found |= {sample.key: f"a copy of {first.key}" for sample in others}
    return found
