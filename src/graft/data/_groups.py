"""What the audit does with copies: they share a group, and are found where they contradict each other or leak."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Sequence
from dataclasses import replace
from typing import NamedTuple

from graft.data import _copies
from graft.samples import COPIES
from graft.types import Dataset, Issue, Sample

Links = Sequence[tuple[int, int]]


class _Words(NamedTuple):
    """How findings of one modality are put."""

    noun: str
    repeat: str
    near: str
    shown: str


_IMAGES = _Words("images", "repeat the pixels of another one", "of images show almost the same picture", "pictures")
_TEXTS = _Words("texts", "repeat another one, but for case and blanks", "of texts say almost the same", "texts")
_SOUNDS = _Words("sounds", "repeat the samples of another one", "of sounds are almost the same", "sounds")


def words(modality: str) -> _Words:
    return {"text": _TEXTS, "audio": _SOUNDS}.get(modality, _IMAGES)


def grouped(dataset: Dataset, samples: Sequence[Sample], exact: Links, near: Links) -> tuple[list[Sample], list[Issue]]:
    """Copies get one group, merged with the groups that the data give. `exact` leads from the first of equal ones."""
    said = words(dataset.modality)
    content = _copies.clusters(len(samples), [*exact, *near])
    names = _group_names(samples, content)
    found = [replace(sample, group=name) for sample, name in zip(samples, names, strict=True)]
    issues = _copy_issues(samples, exact, near, said)
    if dataset.kind != "answers":  # two people who answer one question differently need not contradict each other
        issues += _conflicts(samples, [(head, i) for head, i in exact if head != i], said)
    return found, [*issues, *leaks(samples, content, noun=said.noun)]


def _group_names(samples: Sequence[Sample], content: Sequence[int]) -> list[str | None]:
    """A given group keeps its name (the first of those that copies join); copies alone are "copies:<digest>"."""
    given = _copies.same([sample.group for sample in samples])
    whole = _copies.clusters(len(samples), [*given, *((head, i) for i, head in enumerate(content))])
    sizes = Counter(whole)
    names: dict[int, str] = {}
    for head, sample in sorted(zip(whole, samples, strict=True), key=lambda pair: pair[1].digest):
        names.setdefault(head, f"{COPIES}{sample.digest[:16]}")
    for sample, head in sorted(((s, h) for s, h in zip(samples, whole, strict=True) if s.group), key=_by_group):
        if names[head].startswith(COPIES):
            names[head] = str(sample.group)
    return [names[h] if s.group or sizes[h] > 1 else None for s, h in zip(samples, whole, strict=True)]


def _by_group(pair: tuple[Sample, int]) -> str:
    return str(pair[0].group)


def _copy_issues(samples: Sequence[Sample], exact: Links, near: Links, said: _Words) -> list[Issue]:
    issues = []
    again = [i for head, i in exact if head != i]
    if again:
        what = f"{len(again)} {said.noun} {said.repeat}; they stay on one side of every split"
        issues.append(Issue("exact-copies", "note", what, tuple(samples[i].key for i in _members(exact))))
    if near:
        what = f"{len(near)} pair(s) {said.near}; they stay on one side of every split"
        issues.append(Issue("near-copies", "note", what, tuple(samples[i].key for i in _members(near))))
    return issues


def _members(links: Links) -> list[int]:
    return sorted({i for pair in links if pair[0] != pair[1] for i in pair})


def _conflicts(samples: Sequence[Sample], again: Links, said: _Words) -> list[Issue]:
    alike: dict[int, set[int]] = defaultdict(set)
    for head, i in again:
        alike[head] |= {head, i}
    labels = {head: {samples[i].label for i in rows} - {None} for head, rows in alike.items()}
    keys = tuple(samples[i].key for head in alike if len(labels[head]) > 1 for i in sorted(alike[head]))
    if not keys:
        return []
    what = f"{sum(len(found) > 1 for found in labels.values())} {said.shown} stand under two labels or more"
    return [Issue("conflicting-labels", "warning", what, keys, "keep one label for each, and remove the other copies")]


def leaks(
    samples: Sequence[Sample], content: Sequence[object], known: Container[str] = (), noun: str = "images"
) -> list[Issue]:
    """Samples whose copy stands in a later part of the given split: test wins over valid, valid over train.

    `content` names what each sample shows; `known` are keys of earlier findings. The split leaves these samples out.
    """
    rank = {"train": 0, "valid": 1, "test": 2}
    top: dict[object, int] = {}
    for sample, what in zip(samples, content, strict=True):
        top[what] = max(top.get(what, -1), rank.get(sample.split or "", -1))
    pairs = zip(samples, content, strict=True)
    lost = [s.key for s, what in pairs if s.key in known or -1 < rank.get(s.split or "", -1) < top[what]]
    if not lost:
        return []
    text = f"{len(lost)} {noun} are copies of {noun} in the test or validation part, and are not trained on"
    return [Issue("leak", "warning", text, tuple(lost), "scores published on this split may be too good")]
