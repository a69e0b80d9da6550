"""Sounds in folders: one folder per class, with or without train/ valid/ test/ above them, or one file.

    sounds/yes/1.wav                            classes only: Graft splits
    sounds/train/yes/1.flac, sounds/test/...    given splits (valid, val and validation mean the same)
    recordings/7_jackson_32.wav                 no class folders: recordings(pattern='{label}_{group}_{}') reads labels
                                                and speakers from the names; without it they are unlabelled

Read are wav, flac, ogg, opus, mp3, aiff, au, w64 and caf. Nothing outside the folder is ever read.
"""

from __future__ import annotations

from pathlib import Path

from graft.data import _pattern, _walk
from graft.data._files import SOUNDS, SPLITS, TABLES, is_junk, readable
from graft.data._sound_files import sound_files
from graft.errors import DataError
from graft.types import Dataset, Issue, Sample


def audio(path: str, *, pattern: str | None = None) -> Dataset:
    """`pattern` says what stands in the names of the files: {label}, {group}, {split}, and {} for anything. A label in
    the name counts before that of a folder.

    Raises DataError when the path does not exist, holds no sound, or no name fits; UsageError for a wrong pattern.
    """
    root = Path(path).expanduser()
    rule = None if pattern is None else _pattern.compiled(pattern)
    if not root.exists():
        raise DataError(f"there is no folder {path}", "check the path: ls " + str(root.parent))
    samples, issues = _found(root, path, rule is not None and "label" in rule.groupindex)
    if pattern is not None:
        samples, more = _pattern.applied(pattern, samples, path)
        issues += more
    labelled = any(sample.label is not None for sample in samples)
    if not labelled and root.is_dir():
        issues += _unlabelled(root, path)
    folder = root.resolve() if root.is_dir() else root.resolve().parent
    return sound_files(root.resolve().name, samples, issues, folder, "class" if labelled else "none")


def _found(root: Path, path: str, named: bool) -> tuple[list[Sample], list[Issue]]:
    """The samples; with `named` labels their folders are no classes."""
    if not root.is_dir():
        return [Sample(readable(root.name), root)], []
    scan = _walk.walk(root.resolve(), "sounds", SOUNDS)
    if not scan.files:
        convert = "convert them to wav or flac, and put them into one folder per class"
        raise _walk.nothing(
            path, scan, convert if scan.unsupported else "put wav or flac files into one folder per class"
        )
    base = _walk.base_of(scan)
    if named:
        return [_bare(scan, base, parts) for parts in scan.files], list(scan.issues())
    samples, loose = _walk.label(scan, base)
    return samples, [*scan.issues(), *_walk.notes(scan, base, loose)]


def _bare(scan: _walk.Scan, base: _walk.Parts, parts: _walk.Parts) -> Sample:
    split = SPLITS.get(parts[len(base)].lower()) if _walk.has_splits(scan, base) else None
    return Sample(_walk.key_of(parts), scan.root.joinpath(*parts), None, split)


def _unlabelled(root: Path, path: str) -> list[Issue]:
    """What labels them, perhaps: a table that lies beside them, or their names."""
    tables = [p for p in sorted(root.iterdir()) if p.suffix.lower() in TABLES and not is_junk(p.name) and p.is_file()]
    hint = f"if their names say the labels: {path}(pattern='{{label}}_{{}}')"
    if tables:
        hint = f"if a table says their labels, give that: {readable(str(tables[0]))}"
    return [Issue("no-labels", "note", "the sounds lie in no class folders", (), hint)]
