"""What the audit does with copies: they share a group, and are found where they contradict each other or leak."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from graft.data import _copies
from graft.samples import COPIES
from graft.types import Dataset, Issue, Sample

Links = Sequence[tuple[int, int]]
_LONG = 60  # characters that are shown of a label
_RANK = {"train": 0, "valid": 1, "test": 2}


class Near(NamedTuple):
    """Two samples that are near copies: what the second is of the first one, and the first of the second."""

    a: int
    b: int
    second: str = "a copy"
    first: str = "a copy"


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


def grouped(
    dataset: Dataset, samples: Sequence[Sample], exact: Links, near: Sequence[Near]
) -> tuple[list[Sample], list[Issue]]:
    """Copies get one group, merged with the groups that the data give. `exact` leads from the first of equal ones."""
    said = words(dataset.modality)
    again = [Near(head, i) for head, i in exact if head != i]
    content = _copies.clusters(len(samples), [(link.a, link.b) for link in (*again, *near)])
    names = _group_names(samples, content)
    pairs = zip(samples, names, strict=True)
    found = [sample if sample.group == name else replace(sample, group=name) for sample, name in pairs]
    issues = _copy_issues(samples, again, near, said)
    if dataset.kind != "answers":  # two people who answer one question differently need not contradict each other
        issues += _conflicts(samples, again, said)
    if dataset.kind in ("class", "labels"):  # numbers and transcripts of near copies may differ a little, too
        issues += _near_conflicts(samples, near, said)
    return found, [*issues, *leaks(samples, content, noun=said.noun, links=[*again, *near])]


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


def _copy_issues(samples: Sequence[Sample], again: Sequence[Near], near: Sequence[Near], said: _Words) -> list[Issue]:
    issues = []
    if again:
        what = f"{len(again)} {said.noun} {said.repeat}; they stay on one side of every split"
        issues.append(_listed("exact-copies", what, samples, again))
    if near:
        what = f"{len(near)} pair(s) {said.near}; they stay on one side of every split"
        issues.append(_listed("near-copies", what, samples, near))
    return issues


def _listed(code: str, what: str, samples: Sequence[Sample], links: Sequence[Near]) -> Issue:
    """Each sample of the links, with what it is of another one."""
    found: dict[int, str] = {}
    for link in links:
        found.setdefault(link.b, f"{link.second} of {samples[link.a].key}")
        found.setdefault(link.a, f"{link.first} of {samples[link.b].key}")
    rows = sorted(found)
    return Issue(code, "note", what, tuple(samples[i].key for i in rows), "", tuple(found[i] for i in rows))


# ---------------------------------------------------------------------------------------------------------- conflicts


def _conflicts(samples: Sequence[Sample], again: Sequence[Near], said: _Words) -> list[Issue]:
    alike: dict[int, set[int]] = defaultdict(set)
    for link in again:
        alike[link.a] |= {link.a, link.b}
    bad = [sorted(rows) for rows in alike.values() if len({samples[i].label for i in rows} - {None}) > 1]
    if not bad:
        return []
    keys = tuple(samples[i].key for rows in bad for i in rows)
    details = tuple(_against(samples[i], [samples[j] for j in rows]) for rows in bad for i in rows)
    what = f"{len(bad)} {said.shown} stand under two labels or more"
    hint = "keep one label for each, and remove the other copies"
    return [Issue("conflicting-labels", "warning", what, keys, hint, details)]


def _near_conflicts(samples: Sequence[Sample], near: Sequence[Near], said: _Words) -> list[Issue]:
    pairs = [(samples[link.a], samples[link.b]) for link in near]
    bad = [pair for pair in pairs if None not in (pair[0].label, pair[1].label) and pair[0].label != pair[1].label]
    if not bad:
        return []
    found: dict[str, str] = {}
    for one, other in bad:
        found.setdefault(one.key, _against(one, [other]))
        found.setdefault(other.key, _against(other, [one]))
    what = f"{len(bad)} pair(s) of {said.noun} that are near copies stand under two labels"
    hint = "look at them: where both show the same, one label is wrong"
    return [Issue("conflicting-near-copies", "warning", what, tuple(found), hint, tuple(found.values()))]


def _against(sample: Sample, others: Sequence[Sample]) -> str:
    """Its label, and the first other one."""
    other = next(one for one in others if one.label not in (None, sample.label))
    return f"{_shown(sample.label)}, but {_shown(other.label)} in {other.key}"


def _shown(label: object) -> str:
    if label is None or label == ():
        return "no label"
    text = ", ".join(map(str, label)) if isinstance(label, tuple) else str(label)
    return text if len(text) <= _LONG else text[: _LONG - 3] + "..."


# -------------------------------------------------------------------------------------------------------------- leaks


def leaks(
    samples: Sequence[Sample],
    content: Sequence[object],
    known: Mapping[str, str] | None = None,
    noun: str = "images",
    links: Sequence[Near] = (),
) -> list[Issue]:
    """Samples whose copy stands in a later part of the given split: test wins over valid, valid over train.

    `content` names what each sample shows; `known` are keys of earlier findings, and what was said of them; `links` say
    how two samples are copies. The split leaves these samples out.
    """
    ranks = [_RANK.get(sample.split or "", -1) for sample in samples]
    twins: dict[object, int] = {}  # the first sample of the latest part
    for i, what in enumerate(content):
        if what not in twins or ranks[i] > ranks[twins[what]]:
            twins[what] = i
    lost = {samples[i].key: twins[what] for i, what in enumerate(content) if -1 < ranks[i] < ranks[twins[what]]}
    known = known or {}
    keys = tuple(sample.key for sample in samples if sample.key in known or sample.key in lost)
    if not keys:
        return []
    how = _of_later(samples, ranks, links)
    details = tuple(known.get(key) or how.get(key) or _twin(samples, lost, key) for key in keys)
    text = f"{len(keys)} {noun} are copies of {noun} in the test or validation part, and are not trained on"
    hint = "nothing to do: Graft leaves them out of training; graft check DATA says what they are worth"
    return [Issue("leak", "warning", text, keys, hint, details)]


def _of_later(samples: Sequence[Sample], ranks: Sequence[int], links: Sequence[Near]) -> dict[str, str]:
    """What samples are of one in a later part, where a link says it."""
    found: dict[str, tuple[int, str]] = {}
    for a, b, second, first in links:
        for i, j, how in ((a, b, first), (b, a, second)):
            if ranks[j] > max(ranks[i], found.get(samples[i].key, (-1, ""))[0]):
                found[samples[i].key] = ranks[j], f"{how} of {samples[j].key}"
    return {key: how for key, (_, how) in found.items()}


def _twin(samples: Sequence[Sample], lost: Mapping[str, int], key: str) -> str:
    return f"a copy of {samples[lost[key]].key}" if key in lost else "a copy"
