"""Which classes a label names, for each kind of labels: one for a class, several for labels and tags, else none.

A transcript names none: its symbols are found when it is known which samples are trained on.
"""

from __future__ import annotations

from collections.abc import Iterable

from graft.types import Label, Sample

OUTSIDE = "O"  # the tag of a word that belongs to nothing


def names(kind: str, label: Label | None) -> tuple[str, ...]:
    """The classes in a label, each once."""
    if isinstance(label, str):
        return () if kind == "transcript" else (label,)
    if kind in ("labels", "tags") and isinstance(label, tuple):
        return tuple(dict.fromkeys(str(name) for name in label))
    return ()


def classes(kind: str, samples: Iterable[Sample]) -> tuple[str, ...]:
    """Sorted; of tags "O" comes first."""
    if kind not in ("class", "labels", "tags"):
        return ()
    found = {name for sample in samples for name in names(kind, sample.label)}
    return tuple(sorted(found, key=lambda name: (kind == "tags" and name != OUTSIDE, name)))
