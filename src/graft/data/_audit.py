"""One pass over the data before anything is learned: can every sample be read, and which are copies of each other?

What cannot be read is left out and listed; what had to be converted is counted; copies share a group, so that no split
can put them on two sides.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from graft.data import (
    _copies,
    _findings,
    _groups,
    _kinds,
    _sound_copies,
    _sound_files,
    _sound_issues,
    _text,
    _text_copies,
)
from graft.data._findings import LEFT_OUT
from graft.data._image import Decoded, decode
from graft.data._sound_scan import Facts, scan
from graft.errors import DataError
from graft.types import Dataset, Issue, Raw, Sample, Text, UnreadableSample

Progress = Callable[[int, int], None]
_CHUNK = 32


class _Look(NamedTuple):
    """What is kept of a sample after it was seen once; `reason` is set when it could not be read."""

    digest: str = ""
    content: bytes = b""  # equal for exact copies; of pictures, `_contents` looks at those that share it again
    thumb: bytes = b""
    notes: tuple[str, ...] = ()
    reason: str = ""
    facts: Facts | None = None  # of sounds


def audit(dataset: Dataset, *, progress: Progress | None = None) -> Dataset:
    """The readable samples with digest and group, and the findings. `progress(done, total)` is called as it goes.

    Raises DataError when there is no sample, or none can be read.
    """
    if not dataset.samples:
        raise DataError(f"{dataset.name} holds no samples", "give a folder or a table with at least two classes")
    looks = _look_at_all(dataset, progress)
    good = [i for i, look in enumerate(looks) if not look.reason]
    issues = [*dataset.issues, *_findings.unreadable(dataset.samples, [look.reason for look in looks])]
    if not good:
        raise DataError(f"none of the {len(looks)} samples of {dataset.name} can be read: {looks[0].reason}",
                        f"look at one of them: {dataset.samples[0].key}")  # fmt: skip
    kept = [replace(dataset.samples[i], digest=looks[i].digest) for i in good]
    seen = [looks[i] for i in good]
    issues += _findings.conversions(kept, [look.notes for look in seen], _groups.words(dataset.modality).noun)
    if dataset.modality == "audio":
        issues += _sound_issues.found(dataset.kind, kept, [look.facts for look in seen if look.facts])
    exact, near = _copies_of(dataset, kept, seen)
    grouped, findings = _groups.grouped(dataset, kept, exact, near)
    return dataset.replace(
        samples=tuple(grouped), issues=(*issues, *findings, *_findings.tiny_classes(dataset.kind, grouped))
    )


def require_classes(dataset: Dataset, labelled: bool = True) -> None:
    """Raises DataError unless the labels leave something to learn: two classes or more, one of several labels, two
    different numbers, one tagged word, one answer, one transcript. With `labelled=False` (pretraining) the samples are
    enough."""
    if not labelled:
        return
    labels = [sample.label for sample in dataset.samples if sample.label is not None]
    if not labels:
        raise _no_labels(dataset)
    names = sorted({name for label in labels for name in _kinds.names(dataset.kind, label)} - {_kinds.OUTSIDE})
    if dataset.kind == "class" and len(set(labels)) < 2:
        raise DataError(
            f"{dataset.name} has only one class, {labels[0]!r}: there is nothing to tell apart", _hint(dataset)
        )
    if dataset.kind == "number" and len(set(labels)) < 2:
        raise DataError(f"{dataset.name}: the label is constant ({labels[0]})", "give samples with other numbers")
    if dataset.kind == "tags" and not any(_kinds.OUTSIDE in label for label in labels):
        what = f"{dataset.name} has tags without O, such as {names[0]}: only entities in IOB2 are learned"
        raise DataError(what, "tag words outside of entities O, and others B-person, I-person")
    if dataset.kind in ("labels", "tags") and not names:
        what = "no sample has any label" if dataset.kind == "labels" else "every word is outside (O)"
        raise DataError(f"{dataset.name}: {what}: there is nothing to learn", "look at the column of the labels")


def _no_labels(dataset: Dataset) -> DataError:
    """With what the reader said of it, if it did."""
    said = next((issue for issue in dataset.issues if issue.code in ("no-label-column", "no-labels")), None)
    transcripts = dataset.kind == "transcript"
    lack = "transcripts: there is nothing to learn" if transcripts else "labels: there is nothing to tell apart"
    what = f"{dataset.name} has no {lack}"
    return DataError(f"{what} ({said.what})" if said else what, said.hint if said else _hint(dataset))


def _hint(dataset: Dataset) -> str:
    if dataset.samples and isinstance(dataset.samples[0].source, Text) and dataset.samples[0].source.words:
        return "write a tag behind each word: Oslo B-place"
    if dataset.modality == "audio" and dataset.kind != "transcript":
        return f"make one folder per class, or if the names say it: {dataset.root}(pattern='{{label}}_{{}}')"
    column = "text" if dataset.modality == "text" else "path"
    if dataset.kind == "transcript":
        return "give a table with the columns path and transcript"
    return f"make one folder per class, or give a table with the columns {column} and label"


# ------------------------------------------------------------------------------------------------------------ looking


def _look_at_all(dataset: Dataset, progress: Progress | None) -> list[_Look]:
    samples = dataset.samples
    chunks = [samples[start : start + _CHUNK] for start in range(0, len(samples), _CHUNK)]
    looks: list[_Look] = []
    with _threads() as pool:
        for done in pool.map(lambda chunk: [_look(dataset, sample) for sample in chunk], chunks):
            looks += done
            if progress is not None:
                progress(len(looks), len(samples))
    return looks


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """Hashing, unpacking and resizing release the interpreter's lock."""
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("ignore")  # what Pillow warns of is either counted here or refused
        yield pool


def _look(dataset: Dataset, sample: Sample) -> _Look:
    if dataset.modality != "image":
        look = _look_at_text if dataset.modality == "text" else _look_at_sound
        return look(dataset, sample)
    try:
        data = dataset.read_bytes(sample)
        image, notes = decode(data) if isinstance(sample.source, Path) else Decoded(dataset.load(sample))
        thumb = _copies.thumb(image).tobytes()
    except UnreadableSample as error:
        return _Look(reason=str(error) or "it cannot be read")
    content = hashlib.sha256(f"{image.size}".encode() + thumb).digest()
    return _Look(hashlib.sha256(data).hexdigest(), content, thumb, notes)


def _look_at_text(dataset: Dataset, sample: Sample) -> _Look:
    try:
        data, text = dataset.read_bytes(sample), dataset.load(sample)
        notes = _text.notes(sample)
    except UnreadableSample as error:
        return _Look(reason=str(error) or "it cannot be read")
    return _Look(hashlib.sha256(data).hexdigest(), _text_copies.digest(text), notes=notes)


def _look_at_sound(dataset: Dataset, sample: Sample) -> _Look:
    path = sample.source if isinstance(sample.source, Path) else None
    try:
        digest = _sound_files.digest(path) if path else hashlib.sha256(dataset.read_bytes(sample)).hexdigest()
        found = scan(path or dataset.load(sample))
    except UnreadableSample as error:
        return _Look(reason=str(error) or "it cannot be read")
    notes = _sound_files.notes(path, found.facts.format, found.facts.channels)
    return _Look(digest, found.content, _copies.thumb(found.picture).tobytes(), notes, facts=found.facts)


def _copies_of(
    dataset: Dataset, samples: Sequence[Sample], looks: Sequence[_Look]
) -> tuple[_groups.Links, _groups.Links]:
    """Exact copies, and near ones among the first of each. A corpus without labels has no scores to be too good."""
    exact = _copies.same(_contents(dataset, samples, looks))
    first = sorted({head for head, _ in exact})
    if dataset.modality != "text":
        thumbs = np.frombuffer(b"".join(looks[i].thumb for i in first), np.uint8)
        thumbs = thumbs.reshape(-1, _copies.HEIGHT, _copies.WIDTH, 3)
        near = _sound_copies.near_copies if dataset.modality == "audio" else _copies.near_copies
        try:
            pairs = near(thumbs, lambda i: _again(dataset, samples[first[i]]))
        except UnreadableSample as error:  # a sound is read only then
            raise _changed(dataset, "a sound", error) from None
    elif dataset.kind != "none":
        pairs = _text_copies.near_copies(_again(dataset, samples[i]) for i in first)
    else:
        pairs = []
    return exact, [(first[a], first[b]) for a, b in pairs]


def _contents(dataset: Dataset, samples: Sequence[Sample], looks: Sequence[_Look]) -> list[bytes]:
    """Equal for exact copies. Of pictures of one size and one thumb whose files differ all pixels are compared: few do,
    and to hash those of every picture would take a quarter of the audit."""
    if dataset.modality != "image":
        return [look.content for look in looks]
    files: dict[bytes, set[str]] = defaultdict(set)
    for look in looks:
        files[look.content].add(look.digest)
    shared = {look.digest: sample for sample, look in zip(samples, looks, strict=True) if len(files[look.content]) > 1}
    with _threads() as pool:
        found = pool.map(lambda sample: hashlib.sha256(_again(dataset, sample).tobytes()).digest(), shared.values())
        pixels = dict(zip(shared, found, strict=True))
    return [look.content + pixels.get(look.digest, b"") for look in looks]


def _again(dataset: Dataset, sample: Sample) -> Raw:
    try:
        return dataset.load(sample)
    except UnreadableSample as error:
        raise _changed(dataset, sample.key, error) from None


def _changed(dataset: Dataset, what: str, error: UnreadableSample) -> DataError:
    return DataError(f"{what} changed while {dataset.name} was read: {error}", "run the command again")


def unreadable(issues: Sequence[Issue]) -> dict[str, str]:
    """{key: reason} of the samples that `audit` left out; one that several issues name keeps the first reason."""
    found: dict[str, str] = {}
    for issue in issues:
        for key in issue.keys if issue.code == "unreadable" else ():
            found.setdefault(key, issue.what.removeprefix(LEFT_OUT))
    return found
