"""Preprocessing of text by the tokeniser that belongs to the weights, the same tokens in training and in prediction.

`sample` makes the tokens of one text; they are kept. `batch` pads some to the longest of them. A text longer than the
network can see is cut (`long="truncate"`), or read in windows that stand one after the other in one sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from graft.backbones._rows import PADDING, padded
from graft.errors import DataError
from graft.types import Inputs, Json, Text

LONG = ("truncate", "windows")
OVERLAP = 4  # windows of a passage share a quarter of their tokens: an answer is whole in one (Devlin et al. 2019)
SPECIAL = 8  # more than the special tokens of two texts, and the blanks that sentencepiece puts before them


@final
@dataclass(frozen=True)
class Tokens:
    """`tokenizer` is a tokenizer.json as text; `length` counts the tokens of a window, special ones included.

    `mask` is the id that masked language modelling puts in place of a token, if there is one.
    """

    tokenizer: str
    length: int
    pad: int = 0
    mask: int | None = None
    long: str = "truncate"
    ragged: ClassVar[bool] = True

    def sample(self, raw: Text) -> Tensor:
        """(T, 4) int32: id, type, and the place [start, end); windows but the last are padded to `length`."""
        windows = [self._rows(one, raw) for one in self._encoded(raw)]
        padded = [rows + [PADDING] * (self.length - len(rows)) for rows in windows[:-1]]
        return torch.tensor([row for rows in (*padded, windows[-1]) for row in rows], dtype=torch.int32).reshape(-1, 4)

    def batch(self, samples: Sequence[Tensor], augment: Any = None, seeds: Sequence[int] = ()) -> Inputs:
        """B samples (T_i, 4) -> ids and types (B, T, 2), mask (B, T), places (B, T, 2); T is a whole number of windows
        where a sample has several. `augment` is a view of the ids, such as masked words."""
        longest = max(len(one) for one in samples)
        width = longest if longest <= self.length else -(-longest // self.length) * self.length
        pairs = zip(samples, seeds, strict=False)
        seen = samples if augment is None else [augment(one, self, seed) for one, seed in pairs]
        return padded(seen, width, self.pad)

    def cut(self, raw: Text) -> int:
        """How many tokens of a text are not read."""
        joined = raw.text + (raw.pair or "")
        if self.long != "truncate" or (joined.isascii() and len(joined) <= self.length - SPECIAL):
            return 0  # an ASCII text has no more tokens than characters; an emoji may be four
        whole = self._plain.encode(*_arguments(raw), is_pretokenized=raw.words is not None)
        return max(0, len(whole.ids) - self.length)

    def json(self) -> Json:
        return {"kind": "tokens", "tokenizer": self.tokenizer, "length": self.length, "pad": self.pad,
                "mask": self.mask, "long": self.long}  # fmt: skip

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        return dict(self._plain.get_vocab(with_added_tokens=True))

    # -------------------------------------------------------------------------------------------- behind `sample`

    @cached_property
    def _plain(self) -> Any:
        return self._library()

    @cached_property
    def _single(self) -> Any:
        made = self._library()
        made.enable_truncation(self.length)
        return made

    @cached_property
    def _passage(self) -> Any:
        """Cuts the second text only, into windows that overlap."""
        made = self._library()
        made.enable_truncation(self.length, stride=self.length // OVERLAP, strategy="only_second")
        return made

    def _library(self) -> Any:
        from tokenizers import Tokenizer

        made = Tokenizer.from_str(self.tokenizer)
        made.no_padding()
        made.no_truncation()
        return made

    def _encoded(self, raw: Text) -> list[Any]:
        """The windows of a text, one with `truncate`. A pair is cut in its longer half, or its passage is windowed."""
        arguments, cut_words = _arguments(raw), raw.words is not None
        if self.long == "truncate" or raw.pair is None:
            first = self._single.encode(*arguments, is_pretokenized=cut_words)
            return [first, *first.overflowing] if self.long == "windows" else [first]
        used = len(self._plain.encode(raw.text, "").ids)
        if used > self.length // 2:
            what = f"a question of {used} tokens leaves too little of {self.length} for its passage: {raw.text[:60]!r}"
            raise DataError(what, "shorten the question, or choose a trunk that reads longer texts")
        first = self._passage.encode(*arguments)
        return [first, *first.overflowing]

    def _rows(self, one: Any, raw: Text) -> list[tuple[int, int, int, int]]:
        """One window; only tokens of the text itself, of a pair of its second half, have a place."""
        wanted = 0 if raw.pair is None else 1
        own = [sequence == wanted for sequence in one.sequence_ids]
        spans = [(w, w + 1) for w in (w if w is not None else -1 for w in one.word_ids)] if raw.words else one.offsets
        places = [span if mine else (-1, -1) for span, mine in zip(spans, own, strict=True)]
        return [(i, t, *p) for i, t, p in zip(one.ids, one.type_ids, places, strict=True)]


def _arguments(raw: Text) -> tuple[Any, ...]:
    if raw.words is not None:
        return (list(raw.words),)
    return (raw.text,) if raw.pair is None else (raw.text, raw.pair)


def tokens(record: Json) -> Tokens:
    """What `Tokens.json` wrote."""
    return Tokens(**{key: value for key, value in record.items() if key != "kind"})
