"""Preprocessing of text by its words, for trunks that have a vector for each word of a vocabulary.

A word keeps its inner apostrophes and hyphens; numbers, emoji and marks stand alone, and so does each character of
Chinese and Japanese, which put no blanks between words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import islice
from typing import Any, ClassVar, NamedTuple, final

import torch
from torch import Tensor

from graft.backbones._rows import padded
from graft.types import Inputs, Json, Text

NONE = 0  # the id of no word: its vector is zeros
UNKNOWN = "<unk>"
LENGTH = 2000
LONGEST = 100  # characters: what is longer is no compound, but a key or an encoding
CJK = ("\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
       "\uff66-\uff9f\U00020000-\U0003ffff")  # fmt: skip
JOINER = "'\u2019\u00ad\u200c\u200d\u2010\u2011-"  # apostrophes, joiners and hyphens, which may be inside a word
FLAG, TONE = "\U0001f1e6-\U0001f1ff", "\U0001f3fb-\U0001f3ff"  # two letters are a flag; colours of skin
STYLE = "\ufe00-\ufe0f\u20e3"  # how a character is drawn
_SPELLING = {0x2019: "'", 0xAD: None} | dict.fromkeys(range(0xFE00, 0xFE10))
Row = tuple[int, int, int, int]


class Patterns(NamedTuple):
    word: str  # a word, a number or a character
    token: re.Pattern[str]  # any of these, or a mark
    part: re.Pattern[str]  # of a word that is not known as a whole: do + n't, it + 's, well + - + made


@cache
def patterns() -> Patterns:
    """Made when they are needed: Python's `re` has no names for letters and the marks above and below them."""
    letter = f"[{_ranges(lambda c: unicodedata.category(c) in ('Mn', 'Mc') or c.isalnum(), CJK + STYLE)}]"
    control = _ranges(lambda c: unicodedata.category(c) in ("Cc", "Cf", "Cs"), "")
    word = rf"\d+(?:[.,]\d+)+|{letter}+(?:[{JOINER}]+{letter}+)*|[{CJK}]"
    symbol = rf"[^\w\s{control}{STYLE}{TONE}]"
    joined = rf"[{FLAG}]{{2}}|{symbol}[{STYLE}{TONE}]*(?:\u200d{symbol}[{STYLE}{TONE}]*)*|[^\s{control}{STYLE}]"
    short = r"[nN]['\u2019][tT]$"
    part = rf"{letter}+?(?={short})|{short}|['\u2019]{letter}+$|{letter}+|[^\s{control}{STYLE}{TONE}]"
    return Patterns(word, re.compile(f"{word}|{joined}"), re.compile(part))


def _ranges(wanted: Callable[[str], bool], out: str) -> str:
    """The wanted characters, but those of the class `out`, as a class for `re`. Planes above 1 hold CJK alone."""
    unwanted = re.compile(f"[{out}]") if out else None
    found: list[list[int]] = []
    for code in range(0x20000):
        if not wanted(chr(code)) or (unwanted and unwanted.match(chr(code))):
            continue
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in found)


def plain(word: str) -> str:
    """One spelling for what looks the same: composed characters, straight apostrophes, no soft hyphens, no styles."""
    if word.isascii():
        return word
    return unicodedata.normalize("NFC", word.translate(_SPELLING))


def folded(word: str) -> str:
    return plain(plain(word).casefold())


def tokens_of(text: str) -> Iterator[str]:
    return (match[0] for match in patterns().token.finditer(text))


@final
@dataclass(frozen=True)
class Words:
    """The vocabulary: `words` have ids 1, 2, ...; id 0 is no word. At most `length` tokens of a text are read.

    A word that is not in it is looked for in small letters, then in parts, and is then "<unk>"; where there
    is none of these it is left out. A text of which nothing is left is one row of id 0.
    """

    words: tuple[str, ...]
    length: int = LENGTH
    mask: ClassVar[None] = None
    ragged: ClassVar[bool] = True

    def sample(self, raw: Text) -> Tensor:
        """(T, 4) int32: id, 1 for words of a pair, and the place [start, end), as in Tokens; T >= 1."""
        first, second = (list(islice(rows, self.length)) for rows in self._halves(raw))
        most = min(len(second), max(self.length - len(first), self.length // 2))  # the longer half is cut
        kept = first[: self.length - most] + second[:most]
        return torch.tensor(kept or [(NONE, 0, -1, -1)], dtype=torch.int32)

    def samples(self, raws: Sequence[Text]) -> list[Tensor]:
        return [self.sample(raw) for raw in raws]

    def batch(self, samples: Sequence[Tensor], augment: Any = None, seeds: Sequence[int] = ()) -> Inputs:
        """B samples (T_i, 4) -> ids and types (B, T, 2), mask (B, T), places (B, T, 2)."""
        pairs = zip(samples, seeds, strict=False)
        seen = samples if augment is None else [augment(one, self, seed) for one, seed in pairs]
        return padded(seen, max(len(one) for one in seen), NONE)

    def cut(self, raw: Text) -> int:
        """How many tokens of a text are not read."""
        return max(0, sum(1 for rows in self._halves(raw) for _ in rows) - self.length)

    def id_of(self, word: str) -> int:
        """Of a word as a whole; 0 if the vocabulary has none such."""
        return self._index.get(plain(word)) or self._index.get(folded(word), NONE)

    def positions(self, sample: Tensor) -> int:
        return len(sample)

    def json(self) -> Json:
        return {"kind": "words", "words": list(self.words), "length": self.length}

    # -------------------------------------------------------------------------------------------- behind `sample`

    def _halves(self, raw: Text) -> tuple[Iterator[Row], Iterator[Row]]:
        """The rows of a text and of its pair; of two texts only tokens of the second have a place."""
        if raw.words is not None:
            return ((i, 0, w, w + 1) for w, word in enumerate(raw.words) for i in self._given(word)), iter(())
        if raw.pair is None:
            return ((i, 0, start, end) for i, start, end in self._read(raw.text)), iter(())
        first = ((i, 0, -1, -1) for i, _, _ in self._read(raw.text))
        return first, ((i, 1, start, end) for i, start, end in self._read(raw.pair))

    def _read(self, text: str) -> Iterator[tuple[int, int, int]]:
        """Id, start and end of each token that is known."""
        for match in patterns().token.finditer(text):
            for number, start, end in self._known(match[0]):
                yield number, match.start() + start, match.start() + end

    def _given(self, word: str) -> list[int]:
        """Ids of a word that came as one: it may be known as a whole where running text would be cut (U.S.)."""
        whole = self.id_of(word)
        return [whole] if whole else [number for number, _, _ in self._read(word)]

    def _known(self, token: str) -> list[tuple[int, int, int]]:
        whole = self.id_of(token)
        if whole:
            return [(whole, 0, len(token))]
        found = patterns().part.finditer(token) if len(token) <= LONGEST else ()
        parts = [(self.id_of(part[0]), part.start(), part.end()) for part in found]
        if not any(number for number, _, _ in parts):
            parts = [(NONE, 0, len(token))]
        unknown = self._index.get(UNKNOWN, NONE)
        return [(number or unknown, start, end) for number, start, end in parts if number or unknown]

    @cached_property
    def _index(self) -> dict[str, int]:
        """By small letters alone where the vocabulary has no capitals."""
        small = all(word == word.lower() for word in self.words)
        index: dict[str, int] = {}
        for number, word in enumerate(self.words, 1):
            index.setdefault(folded(word) if small else plain(word), number)
        return index


def words(record: Json) -> Words:
    """What `Words.json` wrote."""
    return Words(tuple(record["words"]), int(record["length"]))
