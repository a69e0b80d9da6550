"""A text in words, and what is left of it without some."""

from __future__ import annotations

import re
from collections.abc import Iterable

from graft.types import Text

CJK = ("\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
       "\uff66-\uff9f\U00020000-\U0003ffff")  # fmt: skip
_WORD = re.compile(rf"[{CJK}]|[^\s{CJK}]+")  # Chinese and Japanese put no blanks between words
Span = tuple[int, int, int]  # half, start, end, as in Word


def spans(text: Text) -> list[Span]:
    """Of the words of a text and of its pair, in their order."""
    halves = (text.text, text.pair or "")
    return [(half, *match.span()) for half, part in enumerate(halves) for match in _WORD.finditer(part)]


def without(text: Text, hidden: Iterable[Span]) -> Text:
    """The text less some of its words."""
    halves = [text.text, text.pair or ""]
    for half, start, end in sorted(hidden, reverse=True):
        halves[half] = halves[half][:start] + halves[half][end:]
    return Text(halves[0], None if text.pair is None else halves[1])
