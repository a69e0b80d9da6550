"""What is known of a language before it is heard: n-grams of words or of characters, and a dictionary."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, final

BEGIN, END, BLANK = "\n<", "\n>", " "  # no word or character of a transcript has a line break
MOST = 1 << 17  # shares that are remembered: some 30 MB
UNITS = ("none", "words", "characters")


@final
@dataclass(frozen=True)
class Ngram:
    """Interpolated n-grams with Witten and Bell's discount (1991; Chen and Goodman 1999, section 2.6).

    p(w | h) = (c(h w) + t(h) p(w | h')) / (c(h) + t(h)): t(h) different units were seen after h, and h' is h without
    its first. The last h' knows nothing: each unit, the end, and one for all that were never seen, are as likely.
    """

    counts: dict[tuple[str, ...], Counter[str]]
    order: int
    size: int
    _known: dict[tuple[str, ...], float] = field(default_factory=dict, repr=False)

    def log(self, unit: str, history: tuple[str, ...]) -> float:
        """The natural logarithm of p(unit | history), of which the last order - 1 units count."""
        key = (*history[max(0, len(history) - self.order + 1) :], unit)
        if key not in self._known:
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[key] = math.log(self._share(unit, key[:-1]))
        return self._known[key]

    def _share(self, unit: str, history: tuple[str, ...]) -> float:
        below = self._share(unit, history[1:]) if history else 1 / self.size
        seen = self.counts.get(history)
        if seen is None:
            return below
        return (seen[unit] + len(seen) * below) / (seen.total() + len(seen))


def ngram(texts: Iterable[Sequence[str]], order: int) -> Ngram:
    """From texts as units, whose begins and ends count."""
    counts: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for text in texts:
        units = [*(BEGIN,) * (order - 1), *text, END]
        for at in range(order - 1, len(units)):
            for size in range(order):
                counts[tuple(units[at - size : at])][units[at]] += 1
    return Ngram(dict(counts), order, len(counts[()]) + 1)


class State(NamedTuple):
    """What a text has come to: its last units, and the word that has begun."""

    history: tuple[str, ...]
    part: str


@final
@dataclass(frozen=True)
class Language:
    """log p(text) x weight + bonus x words, summed as a text grows symbol by symbol (Hannun et al. 2014).

    `over`: what the n-gram is of, "words" or "characters". With a `dictionary`, a text with another word is impossible.
    """

    surfaces: tuple[str, ...]
    ngram: Ngram | None = None
    over: str = "none"
    weight: float = 0.5
    bonus: float = 0.0
    dictionary: frozenset[str] | None = None
    _starts: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        starts = {word[:size] for word in self.dictionary or () for size in range(1, len(word) + 1)}
        object.__setattr__(self, "_starts", frozenset(starts))

    def begin(self) -> State:
        return State((BEGIN,) * (self.ngram.order - 1) if self.ngram else (), "")

    def read(self, state: State, symbol: int) -> tuple[State, float] | None:
        """The state after one more symbol, and what it adds; None where no text goes on like that."""
        gained = 0.0
        for letter in self.surfaces[symbol]:
            found = self._letter(state, letter)
            if found is None:
                return None
            state, gained = found[0], gained + found[1]
        return state, gained

    def end(self, state: State) -> float | None:
        """What the end of the text adds; None where a text cannot end like that."""
        closed = self._closed(state)
        if closed is None:
            return None
        return closed[1] + (self.weight * self.ngram.log(END, closed[0].history) if self.ngram else 0.0)

    def _letter(self, state: State, letter: str) -> tuple[State, float] | None:
        """A blank says nothing where no word has begun, and no text has it there: a piece may begin with one."""
        if letter == BLANK and not state.part:
            return state, 0.0
        gained = 0.0
        if self.over == "characters":
            state, gained = self._unit(state, letter)
        if letter == BLANK:
            closed = self._closed(state)
            return None if closed is None else (closed[0], gained + closed[1])
        part = state.part + letter
        if self.dictionary is not None and part not in self._starts:
            return None
        return State(state.history, part), gained

    def _closed(self, state: State) -> tuple[State, float] | None:
        """A word ends, if one has begun."""
        if not state.part:
            return state, 0.0
        if self.dictionary is not None and state.part not in self.dictionary:
            return None
        gained = self.bonus
        if self.over == "words":
            state, more = self._unit(state, state.part)
            gained += more
        return State(state.history, ""), gained

    def _unit(self, state: State, unit: str) -> tuple[State, float]:
        assert self.ngram is not None, "n-grams of words or characters are there"
        history = (*state.history, unit)
        kept = history[len(history) - self.ngram.order + 1 :]
        return State(kept, state.part), self.weight * self.ngram.log(unit, state.history)
