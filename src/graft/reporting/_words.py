"""What the report says, in the reader's language: sentences by key, and figures, which are written alike in all."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, final

from graft.console import RATES, Figure, figure
from graft.reporting import _chinese, _english
from graft.reporting._told import TOLD

LANGUAGES = {"en": _english.WORDS, "zh": _chinese.WORDS}
_TAGS = {"en": "en", "zh": "zh-Hans"}


@final
class Words:
    """`words("score.title", n=3)`: the sentence of that key with its places filled."""

    def __init__(self, language: str) -> None:
        self.language, self.tag, self._said = language, _TAGS[language], LANGUAGES[language]

    def __call__(self, key: str, /, **values: Any) -> str:
        said = self._said[key].format(**values)
        return said[:1].upper() + said[1:] if key.endswith("caption") else said

    def maybe(self, key: str, default: str = "") -> str:
        """Of a key that comes from a file, and may be unknown."""
        return self._said.get(key, default)

    def metric(self, name: str) -> str:
        return self.maybe(f"metric.{name}", name)

    def axis(self, metric: str, title: str = "") -> str:
        """ "accuracy (%)"; of what is no rate "r2"."""
        return f"{title or self.metric(metric)} (%)" if metric.startswith(RATES) else title or self.metric(metric)

    def told(self, text: str) -> str:
        """A sentence that a run has kept in English, where its pattern is known; else as it is."""
        if self.language == "en":
            return text
        for pattern, key in TOLD:
            if found := re.fullmatch(pattern, text):
                return self(key, **found.groupdict())
        return text

    def gain(self, found: Mapping[str, Any] | None, metric: str) -> str:
        """ "+20.4 points [1.4, 39.4]"; of what is no rate "+0.312 [0.279, 0.346]"."""
        if not found or not found.get("folds", 1) or any(missing(found.get(k)) for k in ("value", "low", "high")):
            return self("not_known")
        value, low, high = (float(found[key]) for key in ("value", "low", "high"))
        if metric.startswith(RATES):
            value, low, high = (round(100 * one, 1) + 0.0 for one in (value, low, high))  # no "-0.0"
            return f"{value:+.1f} {self('points')} [{low:.1f}, {high:.1f}]"
        value, low, high = (round(one, 3) + 0.0 for one in (value, low, high))
        return f"{value:+.3f} [{low:.3f}, {high:.3f}]"

    def figure(self, metric: str, found: Mapping[str, Any] | None) -> str:
        """ "82.4 % [75.6, 87.5]", "0.312 [0.28, 0.35]"."""
        if not found or missing(found.get("value")):
            return self("not_known")
        if missing(found.get("low")) or missing(found.get("high")):
            return amount(metric, found["value"])
        return figure(metric, Figure(found["value"], found["low"], found["high"]))


def missing(value: Any) -> bool:
    return not isinstance(value, int | float) or math.isnan(value)


def amount(metric: str, value: float | None) -> str:
    """ "82.4 %" of a rate, "0.630" of another figure."""
    if missing(value) or value is None:
        return "–"
    return f"{100 * value:.1f} %" if metric.startswith(RATES) else f"{value:.3g}"


def share(value: float | None, places: int = 1) -> str:
    return "–" if missing(value) or value is None else f"{100 * value:.{places}f} %"


def count(value: float) -> str:
    return f"{value:,.0f}"


def short(name: str, most: int = 28) -> str:
    """The middle of a long name is left out; it may be as many columns wide, of which a Chinese character takes two."""
    if columns(name) <= most:
        return name
    head, tail, left = "", "", most - 1
    for i in range(len(name)):
        for letter, front in ((name[i], True), (name[-1 - i], False)):
            left -= columns(letter)
            if left < 0:
                return f"{head}…{tail}"
            head, tail = (head + letter, tail) if front else (head, letter + tail)
    return name


def columns(name: str) -> int:
    """How wide a text is, in columns of a Latin letter."""
    from unicodedata import east_asian_width

    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in name)
