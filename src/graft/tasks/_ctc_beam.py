"""The best text of frames: best path (Graves et al. 2006), prefix beam search (Hannun et al. 2014, arXiv:1408.2873).

A path says one symbol, or the blank, in each frame; repeats of a symbol are one, and blanks are left out. The best path
is not that of the best text, which many paths may say: prefix beam search adds these up.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple, final
from weakref import ref

import numpy as np

from graft.intervals import Array
from graft.tasks._ctc_language import Language, State

Ids = tuple[int, ...]
FREE = State((), "")
LEAST = 0.01  # a beam of 16 does not try what is less probable than 1 in 1,600, nearly all symbols of most frames


def best_path(path: list[int], blank: int) -> Ids:
    """(T,) the most probable symbol of each frame -> the symbols that they say."""
    return tuple(symbol for symbol, _ in groupby(path) if symbol != blank)


@final
@dataclass(eq=False, slots=True, weakref_slot=True)
class Prefix:
    """The begin of a text, as its last symbol and the begin before it. `prior`: log of what the language gives it.

    `longer`: those of its continuations that the beam, or a longer text in it, still holds; the others are let go.
    """

    symbol: int
    before: Prefix | None
    state: State
    prior: float
    longer: dict[int, ref[Prefix]] = field(default_factory=dict)

    def ids(self) -> Ids:
        found, at = [], self
        while at.before is not None:
            found.append(at.symbol)
            at = at.before
        return tuple(reversed(found))

    def grown(self, symbol: int, language: Language | None) -> Prefix | None:
        """The same object while it is in use, so that paths to one text meet; None where no text goes on like that."""
        held = self.longer.get(symbol)
        made = held() if held else None
        if made is None:
            found = (FREE, 0.0) if language is None else language.read(self.state, symbol)
            if found is None:
                return None
            made = Prefix(symbol, self, found[0], self.prior + found[1])
            self.longer[symbol] = ref(made)
        return made

    def tidy(self) -> None:
        """Of what was let go nothing is left."""
        self.longer = {symbol: held for symbol, held in self.longer.items() if held() is not None}


class Ends(NamedTuple):
    """The probability of all paths that say a prefix: those that end in a blank, and in its last symbol."""

    blank: float
    symbol: float


Beam = dict[Prefix, Ends]


def beam_search(values: Array, width: int, language: Language | None = None) -> Ids:
    """Probabilities (T, C + 1), the blank last -> the text of the largest probability, times what the language says.

    In each frame the `width` best prefixes are kept, and go on with its `width` most probable symbols, those above
    LEAST / width. So with a growing `width` less is left out, and in the end nothing: the answer is exact.
    """
    root = Prefix(-1, None, FREE if language is None else language.begin(), 0.0)
    beam: Beam = {root: Ends(1.0, 0.0)}
    tried = np.argsort(-values[:, :-1], axis=1, kind="stable")[:, :width].tolist()
    for frame, symbols in zip(values.tolist(), tried, strict=True):
        likely = [one for one in symbols if frame[one] > LEAST / width]
        last, beam = beam, _kept(_step(beam, frame, likely, language), width) or beam
        for prefix in last:
            prefix.tidy()
    return _best(beam, language).ids()


def _step(beam: Beam, frame: list[float], symbols: list[int], language: Language | None) -> Beam:
    """One frame more. A repeated symbol is a new one only after a blank."""
    made: dict[Prefix, list[float]] = {}
    for prefix, (blank, symbol) in beam.items():
        total, ends = blank + symbol, made.setdefault(prefix, [0.0, 0.0])
        ends[0] += total * frame[-1]
        ends[1] += symbol * frame[prefix.symbol]
        for one in symbols:
            longer = prefix.grown(one, language)
            if longer is not None:
                share = blank if one == prefix.symbol else total
                made.setdefault(longer, [0.0, 0.0])[1] += share * frame[one]
    return {prefix: Ends(*ends) for prefix, ends in made.items()}


def _kept(beam: Beam, width: int) -> Beam:
    """The best, with their probabilities divided by the largest, so that long sounds do not come to 0."""
    found = [(math.log(sum(ends)) + prefix.prior, prefix) for prefix, ends in beam.items() if sum(ends) > 0]
    best = [prefix for _, prefix in heapq.nlargest(width, found, key=itemgetter(0))]
    scale = max((sum(beam[prefix]) for prefix in best), default=1.0)
    return {prefix: Ends(beam[prefix].blank / scale, beam[prefix].symbol / scale) for prefix in best}


def _best(beam: Beam, language: Language | None) -> Prefix:
    """Where no text ends as it may, the best one is cut to where it might have."""
    if language is None:
        return max(beam, key=lambda prefix: sum(beam[prefix]))
    ends = {prefix: language.end(prefix.state) for prefix in beam}
    found = {p: math.log(sum(beam[p])) + p.prior + end for p, end in ends.items() if end is not None}
    if found:
        return max(found, key=lambda prefix: found[prefix])
    at = max(beam, key=lambda prefix: math.log(sum(beam[prefix])) + prefix.prior)
    while at.before is not None and language.end(at.state) is None:
        at = at.before
    return at
