"""What the audit says of samples, as issues: those that cannot be read, that were converted, that are alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from graft.data import _kinds
from graft.types import Issue, Sample

LEFT_OUT = "left out, because unreadable: "
_CONVERTED = {
    "exif-rotated": "were turned upright, as their EXIF data ask",
    "alpha": "have transparent pixels, and were laid on white",
    "grey": "are grey, and were repeated to three channels",
    "16-bit": "have 16 bits per channel, and were reduced to 8",
    "float": "have floating-point pixels, and were reduced to 8 bits",
    "palette": "have a palette, which was applied",
    "cmyk": "are CMYK, and were converted to RGB without a colour profile",
    "animated": "have several frames, of which the first was taken",
    "encoding": "are not UTF-8, and were read as Latin-1",
    "stereo": "are stereo, and the mean of both channels is heard",
    "channels": "have more than two channels, and their mean is heard",
    "other-format": "are of another format than their names say, and were read as what they are",
}


def unreadable(samples: Sequence[Sample], reasons: Sequence[str]) -> Iterator[Issue]:
    """One issue per kind of reason ("": it can be read); what stands in brackets differs from file to file."""
    kinds: dict[str, list[int]] = defaultdict(list)
    for i, reason in enumerate(reasons):
        if reason:
            kinds[reason.partition(" (")[0]].append(i)
    for kind, rows in sorted(kinds.items()):
        reason = reasons[rows[0]] if len(rows) == 1 else kind
        keys = tuple(samples[i].key for i in rows)
        yield Issue("unreadable", "warning", LEFT_OUT + reason, keys, "replace or remove them")


def conversions(samples: Sequence[Sample], notes: Sequence[Sequence[str]], noun: str) -> Iterator[Issue]:
    """What had to be done to read them, counted."""
    found: dict[str, list[str]] = defaultdict(list)
    for sample, some in zip(samples, notes, strict=True):
        for note in some:
            found[note].append(sample.key)
    for note, keys in sorted(found.items()):
        every = len(keys) == len(samples)  # then the list of names says nothing
        count = f"all {len(keys):,}" if every else f"{len(keys):,}"
        yield Issue(note, "note", f"{count} {noun} {_CONVERTED[note]}", () if every else tuple(keys))


def tiny_classes(kind: str, samples: Sequence[Sample]) -> Iterator[Issue]:
    """Classes of one sample."""
    if kind not in ("class", "labels"):
        return
    counts = Counter(name for sample in samples for name in _kinds.names(kind, sample.label))
    lonely = tuple(sorted(label for label, count in counts.items() if count == 1))
    if lonely:
        what = "classes with a single sample: it can be learned from, but nothing can be measured"
        yield Issue("one-sample-class", "warning", what, lonely, "add samples to them")
