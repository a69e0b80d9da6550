"""Files that change while they are used: what is read must be what the audit saw.

After each reading the file is asked for its size and times again, which costs microseconds; where these differ from
those of the audit, its content decides. A file that was merely touched is fine.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from graft.data import _sound_files
from graft.errors import DataError
from graft.types import Dataset, Raw, Sample, Sound, UnreadableSample

_NAMED = 5
Stamp = tuple[int, int, int]  # bytes, and the times of the last change of content and of anything, in ns


class _Seen(NamedTuple):
    sample: Sample  # as audited, with its digest
    stamp: Stamp


def stamp(sample: Sample) -> Stamp | None:
    """Of a sample that is a file; None of any other one, and of a file that is gone."""
    if not isinstance(sample.source, Path):
        return None
    try:
        found = os.stat(sample.source)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def digest(dataset: Dataset, sample: Sample) -> str:
    """The sha256 of the content as stored. Raises UnreadableSample."""
    if dataset.modality == "audio" and isinstance(sample.source, Path):
        return _sound_files.digest(sample.source)
    return hashlib.sha256(dataset.read_bytes(sample)).hexdigest()


def watched(dataset: Dataset, samples: Sequence[Sample], stamps: Sequence[Stamp | None]) -> Dataset:
    """A data set whose `load` raises DataError, with the names of all files that changed, when it comes to one of them.
    `stamps` were taken before the `samples` were read."""
    pairs = zip(samples, stamps, strict=True)
    seen = {str(sample.source): _Seen(sample, found) for sample, found in pairs if found is not None}
    if not seen:
        return dataset
    watch = _Watch(dataset, seen)
    return dataset.replace(load=watch.load)


class _Watch:
    """Threads share it: at worst two of them compare one touched file."""

    def __init__(self, dataset: Dataset, seen: dict[str, _Seen]) -> None:
        self.dataset, self.seen = dataset, seen

    def load(self, sample: Sample) -> Raw:
        try:
            raw = self.dataset.load(sample)
        except UnreadableSample:
            self.check(sample)
            raise
        self.check(sample)
        return self._sound(sample, raw) if isinstance(raw, Sound) else raw

    def _sound(self, sample: Sample, sound: Sound) -> Sound:
        """The wave is read later, and more than once."""

        def read(start: int, stop: int) -> NDArray[np.float32]:
            try:
                wave = sound.read(start, stop)
            except UnreadableSample:
                self.check(sample)
                raise
            self.check(sample)
            return wave

        return replace(sound, read=read)

    def check(self, sample: Sample) -> None:
        """Asked after reading: what was written before it is seen."""
        if isinstance(sample.source, Path) and self._changed(str(sample.source)):
            raise self._error([path for path in self.seen if self._changed(path)])

    def _changed(self, path: str) -> bool:
        found = self.seen.get(path)
        now = None if found is None else stamp(found.sample)
        if found is None or now == found.stamp:
            return False
        try:
            same = now is not None and digest(self.dataset, found.sample) == found.sample.digest
        except UnreadableSample:
            same = False
        if same and now is not None:
            self.seen[path] = _Seen(found.sample, now)
        return not same

    def _error(self, paths: Sequence[str]) -> DataError:
        names = [f"{self.seen[path].sample.key}{'' if os.path.exists(path) else ' (gone)'}" for path in sorted(paths)]
        more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        count = "1 file" if len(names) == 1 else f"{len(names):,} files"
        what = f"{count} of {self.dataset.name} changed while the run used them: {', '.join(names[:_NAMED])}{more}"
        return DataError(what, "run it again when nothing writes to them, or on a copy of the folder")
