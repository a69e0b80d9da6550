"""Files in folders: one folder per class, with or without train/ valid/ test/ above them. Nothing outside is read."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from graft.data._files import IMAGES, SOUNDS, SPLITS, UNSUPPORTED, UNSUPPORTED_SOUNDS, is_junk, readable
from graft.errors import DataError
from graft.types import Issue, Sample

Parts = tuple[str, ...]
_UNREAD = {"images": (UNSUPPORTED, "convert them to JPEG or PNG"),
           "sounds": (UNSUPPORTED_SOUNDS, "convert them to wav or flac")}  # fmt: skip
_OTHERS = {"images": (SOUNDS, "sounds", "audio"), "sounds": (IMAGES, "images", "folder")}  # and what reads those

# ---------------------------------------------------------------------------------------------------------- scanning


@dataclass
class Scan:
    """Everything below a root, as paths relative to it. `files` are those with one of the suffixes."""

    root: Path
    noun: str  # what people call such files: "images", "texts"
    suffixes: frozenset[str]
    files: list[Parts] = field(default_factory=list)
    folders: list[Parts] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    unsupported: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)  # sounds among images, images among sounds
    outside: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    def issues(self) -> Iterator[Issue]:
        hint = _UNREAD.get(self.noun, ((), ""))[1]
        _, others, reader = _OTHERS.get(self.noun, ((), "", ""))
        kinds = (
            ("ignored-file", "note", f"files that are not {self.noun} are ignored", self.ignored, ""),
            ("unsupported-format", "warning", f"{self.noun} of a format that Graft does not read are left out",
             self.unsupported, hint),
            ("other-modality", "warning", f"the folder holds {others}, too: only the {self.noun} are read", self.others,
             f"to learn from the {others}: {reader}:{self.root}"),
            ("outside-root", "warning", "links that lead out of the folder are refused, and not read", self.outside,
             "copy the files into the folder"),
            ("broken-link", "warning", "links that lead nowhere, and pipes or devices, are left out", self.broken, ""),
            ("unreadable-folder", "warning", "folders that may not be opened are left out", self.closed,
             "give yourself the right to read them: chmod -R u+rX"),
        )  # fmt: skip
        return (Issue(code, severity, what, tuple(keys), hint) for code, severity, what, keys, hint in kinds if keys)


def walk(root: Path, noun: str, suffixes: frozenset[str]) -> Scan:
    """All below a root, except junk. Links that lead out are listed, and not followed."""
    scan = Scan(root, noun, suffixes)
    todo: list[Parts] = [()]
    while todo:
        here = todo.pop()
        try:
            entries = sorted(os.scandir(root.joinpath(*here)), key=lambda entry: entry.name)
        except OSError:
            scan.closed.append(key_of(here) or ".")
            continue
        for entry in entries:
            if not is_junk(entry.name) and _sort_in(scan, entry, (*here, entry.name)):
                todo.append((*here, entry.name))
    scan.files.sort()
    scan.folders.sort()
    return scan


def _sort_in(scan: Scan, entry: os.DirEntry[str], parts: Parts) -> bool:
    """File one entry under its kind; True for a folder to go into. Linked folders are not entered: they may loop."""
    if entry.is_symlink():
        _link(scan, parts)
    elif entry.is_dir():
        scan.folders.append(parts)
        return True
    elif entry.is_file():
        _file(scan, parts)
    else:
        scan.broken.append(key_of(parts))
    return False


def _link(scan: Scan, parts: Parts) -> None:
    try:
        target = scan.root.joinpath(*parts).resolve(strict=True)
    except (OSError, RuntimeError):
        scan.broken.append(key_of(parts))
        return
    if not target.is_relative_to(scan.root):
        scan.outside.append(key_of(parts))
    elif target.is_file():
        _file(scan, parts)
    else:
        (scan.ignored if target.is_dir() else scan.broken).append(key_of(parts))


def _file(scan: Scan, parts: Parts) -> None:
    suffix = os.path.splitext(parts[-1])[1].lower()
    if suffix in scan.suffixes:
        scan.files.append(parts)
    elif suffix in _UNREAD.get(scan.noun, ((),))[0]:
        scan.unsupported.append(key_of(parts))
    else:
        other = suffix in _OTHERS.get(scan.noun, ((),))[0]
        (scan.others if other else scan.ignored).append(key_of(parts))


def key_of(parts: Parts) -> str:
    return readable("/".join(parts))


# ---------------------------------------------------------------------------------------------------------- labelling


def base_of(scan: Scan) -> Parts:
    """Where the class or split folders begin: archives often unpack to one more folder around them."""
    base: Parts = ()
    while True:
        below = [parts[len(base) :] for parts in scan.files]
        tops = {parts[0] for parts in below}
        if len(tops) > 1 or min(map(len, below)) < 3 or {top.lower() for top in tops} <= SPLITS.keys():
            return base
        base = (*base, *tops)


def label(scan: Scan, base: Parts) -> tuple[list[Sample], list[str]]:
    """Samples with label and split, and files outside any class folder (none when there are no classes at all)."""
    splits = has_splits(scan, base)
    depth = len(base) + splits  # where the class folder's name stands
    classes = any(len(parts) > depth + 1 for parts in scan.files)
    samples, loose = [], []
    for parts in scan.files:
        name = readable(parts[depth]) if len(parts) > depth + 1 else None
        split = SPLITS.get(parts[len(base)].lower()) if splits else None
        if classes and (name is None or (splits and split is None)):
            loose.append(key_of(parts))
        else:
            samples.append(Sample(key_of(parts), scan.root.joinpath(*parts), name, split))
    return samples, loose


def has_splits(scan: Scan, base: Parts) -> bool:
    """When all folders are named like splits, or two that are hold the same classes; other files are then loose.

    A folder "train" beside "bus" and "tram" is a class.
    """
    below: dict[str, set[str]] = defaultdict(set)
    for parts in scan.files:
        if len(parts) > len(base) + 1:
            inner = parts[len(base) + 1 : -1]
            below[parts[len(base)].lower()] |= set(inner[:1])
    named = [classes for top, classes in below.items() if top in SPLITS]
    shared = any(one & two for one, two in combinations(named, 2))
    return shared or (bool(below) and len(named) == len(below))


def notes(scan: Scan, base: Parts, loose: list[str]) -> Iterator[Issue]:
    depth = len(base) + has_splits(scan, base)
    full = {parts[: depth + 1] for parts in scan.files if len(parts) > depth + 1}
    around = {parts[:depth] for parts in scan.files}
    empty = [p for p in scan.folders if full and len(p) == depth + 1 and p[:depth] in around and p not in full]
    if base:
        yield Issue("inner-folder", "note", f"the classes were found one level deeper, in {key_of(base)}")
    if empty:
        yield Issue("empty-class", "note", f"folders without {scan.noun} are no class", tuple(map(key_of, empty)))
    if loose:
        hint = "move them into the folder of their class"
        what = f"{scan.noun} outside any class folder are left out"
        yield Issue("no-class-folder", "warning", what, tuple(loose), hint)


def nothing(path: str, scan: Scan, hint: str) -> DataError:
    if scan.outside:
        return DataError(f"{path} holds only links that lead out of it (such as {scan.outside[0]}), and they are not "
                         "followed", f"copy the {scan.noun} into the folder")  # fmt: skip
    found = [*scan.unsupported, *scan.others, *scan.ignored]
    seen = f"{len(found)} other files, such as {found[0]}" if found else "it is empty"
    return DataError(f"there are no {scan.noun} in {path} ({seen})", hint)
