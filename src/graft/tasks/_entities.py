"""Entities from the tags of words, as CoNLL's script counts them (Tjong Kim Sang & De Meulder 2003, cs/0306050).

Ill-formed tags are read as that script and seqeval's default mode read them: an I- after O, or after another type,
begins an entity.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple


class Entity(NamedTuple):
    """Words [start, end) of one type."""

    type: str
    start: int
    end: int


def entities(tags: Sequence[str]) -> list[Entity]:
    """The entities of one sentence, in order. Prefixes are B-, I-, and where data have them E- (last), S- (single)."""
    found, start, before = [], 0, ("O", "_")
    for at, tag in enumerate((*tags, "O")):
        now = (tag[:1], tag[1:].split("-", maxsplit=1)[-1] or "_")
        if _ends(before, now):
            found.append(Entity(before[1], start, at))
        if _starts(before, now):
            start = at
        before = now
    return found


@lru_cache(maxsize=1 << 16)
def distinct(tags: tuple[str, ...]) -> frozenset[Entity]:
    """The entities of one sentence. Kept: the true tags come again in every epoch, and soon most of the guesses do."""
    return frozenset(entities(tags))


def type_of(tag: str) -> str | None:
    """The type of entity that a tag belongs to; None for O."""
    return None if tag == "O" else tag[1:].split("-", maxsplit=1)[-1] or "_"


def _ends(before: tuple[str, str], now: tuple[str, str]) -> bool:
    """Whether an entity ends between two words, given (prefix, type) of each."""
    if before[0] in "ES" or (before[0] in "BI" and now[0] in "BSO"):
        return True
    return before[0] not in "O." and before[1] != now[1]


def _starts(before: tuple[str, str], now: tuple[str, str]) -> bool:
    if now[0] in "BS" or (before[0] in "ESO" and now[0] in "EI"):
        return True
    return now[0] not in "O." and before[1] != now[1]
