"""Classes that can be told from what a file is, not from what it shows: size, format, compression, length.

A network learns what is easiest (Geirhos et al. 2020, "Shortcut learning in deep neural networks"): chest radiographs
were told by their hospital (Zech et al. 2018). A small decision tree on each property alone, and on all of them, is
scored on held-out samples, groups kept together, against always saying the largest class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from graft.checks._metadata import Column, of_files
from graft.checks._seen import Seen
from graft.checks._told import Sampled, Told, sampled, told
from graft.types import Issue

SAID = {"rate-tells-classes": "the rate", "channels-tells-classes": "the number of channels",
        "length-tells-classes": "the length in seconds"}  # what the audit of sounds says by itself  # fmt: skip
BEYOND = 0.03  # that all properties together must tell more than the best one, to be worth a word
SHOWN = 3
MILD = "compression"  # smooth pictures are small files, whoever made them


def shortcuts(seen: Seen) -> Iterator[Issue]:
    """One warning, with the best properties; a note where only the compression tells, which may come of the content."""
    found = sampled(seen)
    columns = of_files(found.samples) if found else []
    said = {SAID[issue.code] for issue in seen.dataset.issues if issue.code in SAID}
    columns = [column for column in columns if column.name not in said]
    if found is None or not columns:
        return
    alone = [(one, column) for column in columns if (one := told(found, [column]))]
    alone.sort(key=lambda pair: (MILD in pair[1].name, -pair[0].right.value))
    whole = told(found, columns) if len(columns) > 1 else None
    best = alone[0][0].right.value if alone else 0.0
    together = whole if whole and whole.right.value > best + BEYOND else None
    if alone or together:
        yield _issue(seen, found, alone, together)


def _issue(seen: Seen, found: Sampled, alone: Sequence[tuple[Told, Column]], together: Told | None) -> Issue:
    first = alone[0][0] if alone else together
    assert first is not None, "something was told"
    parts = [f"{_subject(seen, first)} can be told without looking: from {_named(first)}"]
    parts += [f"{one.names[0]} {100 * one.right.value:.0f} %" for one, _ in alone[1:SHOWN]]
    if alone and together:
        parts.append(f"all {len(together.names)} properties together {100 * together.right.value:.0f} %")
    what = ", ".join(parts) + f"; always the largest class: {100 * found.usual:.0f} %"
    what += f" ({typical(seen, found, alone[0][1])})" if alone else ""
    mild = bool(alone) and not together and all(MILD in column.name for _, column in alone)
    hint = "make the files of all classes alike (same source, size and format), or the model may learn this instead"
    return Issue("shortcut", "note" if mild else "warning", what, (), hint)


def _subject(seen: Seen, one: Told) -> str:
    names = [seen.dataset.classes[c] for c in one.classes[:SHOWN]]
    return f"class {', '.join(names)}" if names else "the class"


def _named(one: Told) -> str:
    name = one.names[0] if len(one.names) == 1 else f"{len(one.names)} properties of the files together"
    rate = one.right
    return f"{name} with {100 * rate.value:.1f} % [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"


def typical(seen: Seen, found: Sampled, column: Column) -> str:
    """ "ants 500, bees 375": what is usual in the largest classes."""
    counts = np.bincount(found.y, minlength=len(seen.dataset.classes))
    largest = np.sort(np.argsort(-counts, kind="stable")[:SHOWN])
    some = [f"{seen.dataset.classes[c]} {column.shown(found.y == c)}" for c in largest if counts[c]]
    return "usual: " + ", ".join(some)
