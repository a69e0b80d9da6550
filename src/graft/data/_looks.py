"""One look at every sample: can it be read, what does it say of itself, and what would a copy of it show?"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from graft.data import _copies, _sound_files, _text, _text_copies, _watch
from graft.data._image import Decoded, about, decode
from graft.data._sound_scan import Facts, scan
from graft.types import Dataset, Json, Sample, UnreadableSample

Progress = Callable[[int, int], None]
_CHUNK = 32


class Look(NamedTuple):
    """What is kept of a sample after it was seen once; `reason` is set when it could not be read."""

    digest: str = ""
    content: bytes = b""  # equal for exact copies; of pictures, those that share it are compared again
    thumb: bytes = b""
    notes: tuple[str, ...] = ()
    reason: str = ""
    facts: Facts | None = None  # of sounds
    about: Json | None = None  # see Sample.about
    stamp: _watch.Stamp | None = None  # of files


def look_at_all(dataset: Dataset, progress: Progress | None) -> list[Look]:
    samples = dataset.samples
    chunks = [samples[start : start + _CHUNK] for start in range(0, len(samples), _CHUNK)]
    looks: list[Look] = []
    with threads() as pool:
        for done in pool.map(lambda chunk: [look(dataset, sample) for sample in chunk], chunks):
            looks += done
            if progress is not None:
                progress(len(looks), len(samples))
    return looks


@contextmanager
def threads() -> Iterator[ThreadPoolExecutor]:
    """Hashing, unpacking and resizing release the interpreter's lock."""
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("ignore")  # what Pillow warns of is either counted here or refused
        yield pool


def look(dataset: Dataset, sample: Sample) -> Look:
    see = {"text": _text_look, "audio": _sound_look}.get(dataset.modality, _image_look)
    stamp = _watch.stamp(sample)  # before it is read: what is written in between shows later
    try:
        return see(dataset, sample)._replace(stamp=stamp)
    except UnreadableSample as error:
        return Look(reason=str(error) or "it cannot be read")


def _image_look(dataset: Dataset, sample: Sample) -> Look:
    data = dataset.read_bytes(sample)
    found = decode(data) if isinstance(sample.source, Path) else Decoded(dataset.load(sample))
    image, thumb = found.image, _copies.thumb(found.image).tobytes()
    content = hashlib.sha256(f"{image.size}".encode() + thumb).digest()
    said = {**(found.about or about(image)), "bytes": len(data)}
    return Look(hashlib.sha256(data).hexdigest(), content, thumb, found.notes, about=said)


def _text_look(dataset: Dataset, sample: Sample) -> Look:
    data, text = dataset.read_bytes(sample), dataset.load(sample)
    said = {"characters": len(text.text) + len(text.pair or "")}
    return Look(hashlib.sha256(data).hexdigest(), _text_copies.digest(text), notes=_text.notes(sample), about=said)


def _sound_look(dataset: Dataset, sample: Sample) -> Look:
    path = sample.source if isinstance(sample.source, Path) else None
    stamp = _watch.stamp(sample)
    size = stamp[0] if stamp else len(dataset.read_bytes(sample))
    digest = _watch.digest(dataset, sample)
    found = scan(path or dataset.load(sample))
    facts = found.facts
    said = {"format": facts.format, "rate": facts.rate, "channels": facts.channels, "seconds": facts.seconds}
    notes = _sound_files.notes(path, facts.format, facts.channels)
    thumb = _copies.thumb(found.picture, _copies.BOX).tobytes()
    return Look(digest, found.content, thumb, notes, "", facts, {**said, "bytes": size})
