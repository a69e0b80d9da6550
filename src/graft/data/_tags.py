"""Tags of words in one scheme: IOB2, where B- begins what I- goes on with, and O is outside (Tjong Kim Sang 2002).

IOB1 writes B- only between neighbours; IOBES, BILOU and BMES also mark the last word and single ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_MARKED = re.compile(r"[BIESLUMW]-.+", re.DOTALL)
_TO_IOB = {"E": "I", "L": "I", "M": "I", "S": "B", "U": "B", "W": "B"}


def are_spans(tags: Iterable[str]) -> bool:
    """Whether the tags mark spans; parts of speech do not."""
    found = set(tags) - {"O"}
    return bool(found) and all(_MARKED.fullmatch(tag) for tag in found)


def are_several(tag: str) -> bool:
    """Whether annotators who disagree stand in one tag: "B-location,B-group"."""
    return "," in tag and are_spans(tag.split(","))


def are_closed(tags: Iterable[str]) -> bool:
    """Whether last or single words have marks of their own."""
    return any(tag[0] in _TO_IOB for tag in set(tags) - {"O"})


def iob2(tags: Sequence[str]) -> tuple[str, ...]:
    """The tags of one sentence, of any scheme of spans."""
    found: list[str] = []
    for tag in tags:
        if tag != "O":
            mark, name = _TO_IOB.get(tag[0], tag[0]), tag[2:]
            goes_on = bool(found) and found[-1] in (f"B-{name}", f"I-{name}")
            tag = f"I-{name}" if mark == "I" and goes_on else f"B-{name}"
        found.append(tag)
    return tuple(found)
