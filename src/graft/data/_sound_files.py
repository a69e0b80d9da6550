"""Data sets of sounds: how a sample is read, and what stands for it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from graft.data import _kinds, _sound
from graft.data._files import coverage, readable, similar
from graft.types import Dataset, Issue, Raw, Sample, UnreadableSample

_SUFFIXES = {
    "WAV": (".wav", ".wave", ".rf64"), "FLAC": (".flac",), "OGG": (".ogg", ".oga", ".opus"), "MP3": (".mp3",),
    "AIFF": (".aiff", ".aif", ".aifc"), "AU": (".au", ".snd"), "W64": (".w64",), "CAF": (".caf",),
}  # fmt: skip


def load(sample: Sample) -> Raw:
    """The Sound of a sample, still on disk. Raises UnreadableSample."""
    return _sound.opened(sample.source)


def read_bytes(sample: Sample) -> bytes:
    """The file as stored. Raises UnreadableSample for what is no regular file, or larger than 4 GB."""
    _sound.check_file(sample.source)
    try:
        return Path(sample.source).read_bytes()
    except OSError as error:
        raise UnreadableSample(f"cannot be opened ({error.strerror})") from None


def digest(path: Path) -> str:
    """The sha256 of `read_bytes`, of which only a piece is in memory. Raises what that raises."""
    _sound.check_file(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UnreadableSample(f"cannot be opened ({error.strerror})") from None


def notes(path: Path | None, format: str, channels: int) -> tuple[str, ...]:
    """What had to be done to read it, for the audit to count."""
    found = [] if channels == 1 else ["stereo"] if channels == 2 else ["channels"]
    if path is not None and path.suffix.lower() not in _SUFFIXES.get(format, ()):
        found.append("other-format")
    return tuple(found)


def sound_files(
    name: str, samples: Iterable[Sample], issues: Iterable[Issue], root: Path, kind: str = "class"
) -> Dataset:
    """A data set whose sources are paths. Classes are sorted by name, one list for all splits; of transcripts there
    are none yet."""
    kept = tuple(samples)
    classes = _kinds.classes(kind, kept)
    found = [*issues, *coverage(kept, classes, kind, "sounds"), *similar(classes)]
    return Dataset(readable(name), "audio", kept, classes, load, read_bytes, tuple(found), str(root), kind)
