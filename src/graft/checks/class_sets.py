"""Classes that train or test lacks once copies and unreadable files are left out.

What the given parts lack as they lie on disk the reader says; this is what is left of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from graft.checks._seen import Seen
from graft.types import Issue

SAID = ("class-not-in-train", "class-not-in-split", "train-only-class", "one-sample-class")
WORDS = {
    "train": ("can never be predicted", "add samples to train, or leave the classes out"),
    "test": ("are not examined: scores say nothing of them", "add samples that are not copies, or let Graft split"),
}


def class_sets(seen: Seen) -> Iterator[Issue]:
    """One warning for each part, with the classes as keys."""
    dataset = seen.dataset
    if dataset.kind != "class":
        return
    said = {key for issue in dataset.issues if issue.code in SAID for key in issue.keys}
    for part, (what, hint) in WORDS.items():
        there = {sample.label for sample in dataset.samples if sample.split == part}
        lost = tuple(name for name in dataset.classes if name not in there | said)
        if there and lost:
            text = f"{len(lost)} of the classes have nothing left in the {part} part, and {what}"
            yield Issue(f"class-lost-in-{part}", "warning", text, lost, hint)
