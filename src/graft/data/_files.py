"""Rules that all file-based readers share: what is junk, what is an image, what lies outside, which classes clash."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from graft.data import _kinds
from graft.data._image import decode, read_file
from graft.types import Dataset, Issue, Raw, Sample

IMAGES = frozenset([
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm",
    ".pbm", ".pnm",
])  # fmt: skip
UNSUPPORTED = frozenset([
    ".heic", ".heif", ".avif", ".jp2", ".psd", ".svg", ".dng", ".cr2", ".nef", ".arw", ".dcm", ".exr", ".hdr",
    ".ico", ".jxl",
])  # fmt: skip
SOUNDS = frozenset([".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd",
                    ".w64", ".rf64", ".caf"])  # fmt: skip
UNSUPPORTED_SOUNDS = frozenset([".m4a", ".aac", ".wma", ".amr", ".webm", ".mp4", ".mka", ".3gp", ".ra", ".m4b"])
SPLITS = {
    "train": "train", "training": "train", "valid": "valid", "val": "valid", "validation": "valid", "dev": "valid",
    "test": "test", "testing": "test",
}  # fmt: skip
TABLES = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}  # suffix -> what reads it
_JUNK = frozenset(["__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "lost+found", "__pycache__"])


def is_junk(name: str) -> bool:
    """What operating systems and notebooks leave behind: never a class, never a sample, not worth a word."""
    return name.startswith(".") or name.lower() in _JUNK


def is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGES


def is_sound(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SOUNDS


def part_of(name: str) -> str | None:
    """Which part a file is, by the last word of its name that says so: reviews_train.csv, emerging.dev.conll."""
    words = re.split(r"[^a-z]+", os.path.splitext(name)[0].lower())
    return next((SPLITS[word] for word in reversed(words) if word in SPLITS), None)


def readable(name: str) -> str:
    """A file name as text that JSON can hold; undecodable bytes become \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def load(sample: Sample) -> Raw:
    return decode(sample.source).image


def read_bytes(sample: Sample) -> bytes:
    return read_file(sample.source)


def image_files(
    name: str, samples: Iterable[Sample], issues: Iterable[Issue], root: Path, kind: str = "class"
) -> Dataset:
    """A data set whose sources are paths. Classes are sorted by name, one list for all splits."""
    kept = tuple(samples)
    classes = _kinds.classes(kind, kept)
    found = [*issues, *coverage(kept, classes, kind, "images"), *similar(classes)]
    return Dataset(readable(name), "image", kept, classes, load, read_bytes, tuple(found), str(root), kind)


def coverage(samples: Sequence[Sample], classes: Sequence[str], kind: str, noun: str) -> list[Issue]:
    """Warnings for classes that a given split lacks; a class that train lacks can never be predicted."""
    seen: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        if sample.split and sample.label is not None:
            seen[sample.split].update(_kinds.names(kind, sample.label))
    issues = []
    for split in (name for name in ("train", "valid", "test") if name in seen):
        missing = [label for label in classes if label not in seen[split]]
        if missing:
            issues.append(_missing(split, missing, noun))
    return issues


def _missing(split: str, missing: Sequence[str], noun: str) -> Issue:
    what = f"{len(missing)} of the classes have no sample in the given {split} part"
    if split == "train":
        hint = f"these can never be predicted: add training {noun}, or remove the class"
        return Issue("class-not-in-train", "warning", what, tuple(missing), hint)
    hint = f"scores on {split} say nothing about them: add {noun}, or let Graft split the data"
    return Issue("class-not-in-split", "warning", what, tuple(missing), hint)


def similar(classes: Sequence[str]) -> list[Issue]:
    """Class names that differ only in case, blanks or Unicode form are probably one class."""
    alike: dict[str, list[str]] = defaultdict(list)
    for label in classes:
        alike[" ".join(unicodedata.normalize("NFKC", label).casefold().split())].append(label)
    clashing = tuple(label for labels in alike.values() if len(labels) > 1 for label in labels)
    if not clashing:
        return []
    what = "class names that differ only in case, blanks or Unicode form; each is kept as its own class"
    return [Issue("similar-classes", "warning", what, clashing, "rename them if they mean the same")]
