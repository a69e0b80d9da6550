"""One pass over the data before anything is learned: can every sample be read, and which are copies of each other?

What cannot be read is left out and listed; what had to be converted is counted; copies share a group, so that no split
can put them on two sides.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from graft.data import (
    _copies,
    _crops,
    _findings,
    _groups,
    _kinds,
    _sound_copies,
    _sound_issues,
    _text_copies,
    _watch,
)
from graft.data._findings import LEFT_OUT
from graft.data._looks import Look, Progress, look_at_all, threads
from graft.errors import DataError
from graft.types import Dataset, Issue, Raw, Sample, Text, UnreadableSample


def audit(dataset: Dataset, *, progress: Progress | None = None) -> Dataset:
    """The readable samples with digest, group and what their files say of themselves, and the findings. Its `load`
    raises DataError for files that change from now on. `progress(done, total)` is called as it goes.

    Raises DataError when there is no sample, or none can be read.
    """
    if not dataset.samples:
        raise DataError(f"{dataset.name} holds no samples", "give a folder or a table with at least two classes")
    looks = look_at_all(dataset, progress)
    good = [i for i, look in enumerate(looks) if not look.reason]
    issues = [*dataset.issues, *_findings.unreadable(dataset.samples, [look.reason for look in looks])]
    if not good:
        raise DataError(f"none of the {len(looks)} samples of {dataset.name} can be read: {looks[0].reason}",
                        f"look at one of them: {dataset.samples[0].key}")  # fmt: skip
    kept = [replace(dataset.samples[i], digest=looks[i].digest, about=looks[i].about or {}) for i in good]
    seen = [looks[i] for i in good]
    dataset = _watch.watched(dataset, kept, [look.stamp for look in seen])
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


# ------------------------------------------------------------------------------------------------------------- copies


def _copies_of(
    dataset: Dataset, samples: Sequence[Sample], looks: Sequence[Look]
) -> tuple[_groups.Links, list[_groups.Near]]:
    """Exact copies, and near ones among the first of each."""
    exact = _copies.same(_contents(dataset, samples, looks))
    first = sorted({head for head, _ in exact})
    try:
        near = _near(dataset, [samples[i] for i in first], [looks[i] for i in first])
    except UnreadableSample as error:  # a sound is read only then
        raise _changed(dataset, "a sound", error) from None
    return exact, [link._replace(a=first[link.a], b=first[link.b]) for link in near]


def _near(dataset: Dataset, samples: Sequence[Sample], looks: Sequence[Look]) -> list[_groups.Near]:
    """A corpus without labels has no scores to be too good."""
    if dataset.modality == "text":
        found = _text_copies.near_copies(_again(dataset, s) for s in samples) if dataset.kind != "none" else []
        return [_groups.Near(a, b) for a, b in found]
    thumbs = np.frombuffer(b"".join(look.thumb for look in looks), np.uint8)
    thumbs = thumbs.reshape(-1, _copies.HEIGHT, _copies.WIDTH, 3)
    if dataset.modality == "audio":
        found = _sound_copies.near_copies(thumbs, lambda i: _again(dataset, samples[i]))
        return [_groups.Near(a, b) for a, b in found]
    short = [min(look.about["width"], look.about["height"]) for look in looks if look.about]
    copies = _crops.copies(thumbs, short, lambda i: _again(dataset, samples[i]))
    return [_groups.Near(copy.a, copy.b, copy.second, copy.first) for copy in copies]


def _contents(dataset: Dataset, samples: Sequence[Sample], looks: Sequence[Look]) -> list[bytes]:
    """Equal for exact copies. Of pictures of one size and one thumb whose files differ all pixels are compared: few do,
    and to hash those of every picture would take a quarter of the audit."""
    if dataset.modality != "image":
        return [look.content for look in looks]
    files: dict[bytes, set[str]] = defaultdict(set)
    for look in looks:
        files[look.content].add(look.digest)
    shared = {look.digest: sample for sample, look in zip(samples, looks, strict=True) if len(files[look.content]) > 1}
    with threads() as pool:
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
