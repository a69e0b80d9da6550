"""Preprocessing of text by the tokeniser that belongs to the weights, the same tokens in training and in prediction.

`sample` makes the tokens of one text; they are kept. `batch` pads some to the longest of them. A text longer than the
network can see is cut (`long="truncate"`), or read in windows that stand one after the other in one sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graft.backbones._rows import PADDING, padded
from graft.errors import DataError
from graft.types import Inputs, Json, Text

LONG = ("truncate", "windows")
OVERLAP = 4  # windows of a passage share a quarter of their tokens: an answer is whole in one (Devlin et al. 2019)
MANY = 256  # texts that are encoded at a time, so that what the library makes of them stays small
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
        return self._joined(self._encoded(raw), raw)

    def samples(self, raws: Sequence[Text]) -> list[Tensor]:
        """What `sample` makes of each; the library encodes many texts at a time on all cores."""
        found: list[Tensor] = []
        for few in (raws[start : start + MANY] for start in range(0, len(raws), MANY)):
            found += map(self._joined, self._all_encoded(few), few)
        return found

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
        return self.cuts([raw])[0]

    def cuts(self, raws: Sequence[Text]) -> list[int]:
        """Of each text; only those that may be too long are encoded, and without places, which take longest."""
        lost = [0] * len(raws)
        rows = [row for row, raw in enumerate(raws) if self._may_be_cut(raw)]
        for few in (rows[start : start + MANY] for start in range(0, len(rows), MANY)):
            for words in (False, True):
                some = [row for row in few if (raws[row].words is not None) is words]
                found = self._plain.encode_batch_fast([_argument(raws[row]) for row in some], is_pretokenized=words)
                for row, whole in zip(some, found, strict=True):
                    lost[row] = max(0, len(whole) - self.length)
        return lost

    def _may_be_cut(self, raw: Text) -> bool:
        """An ASCII text has no more tokens than characters; an emoji may be four."""
        joined = raw.text + (raw.pair or "")
        return self.long == "truncate" and not (joined.isascii() and len(joined) <= self.length - SPECIAL)

    def positions(self, sample: Tensor) -> int:
        return len(sample)

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

    def _all_encoded(self, raws: Sequence[Text]) -> list[list[Any]]:
        """`_encoded` of each. Passages are encoded one by one: each question is looked at first."""
        if self.long == "windows" and any(raw.pair is not None for raw in raws):
            return [self._encoded(raw) for raw in raws]
        found: list[list[Any]] = [[] for _ in raws]
        for words in (False, True):
            rows = [row for row, raw in enumerate(raws) if (raw.words is not None) is words]
            made = self._single.encode_batch([_argument(raws[row]) for row in rows], is_pretokenized=words)
            for row, first in zip(rows, made, strict=True):
                found[row] = [first, *first.overflowing] if self.long == "windows" else [first]
        return found

    def _joined(self, windows: Sequence[Any], raw: Text) -> Tensor:
        """(T, 4) of all windows; those but the last are padded to `length`."""
        starts = range(0, self.length * len(windows), self.length)
        rows = np.tile(np.array(PADDING, np.int32), (starts[-1] + len(windows[-1]), 1))
        for start, one in zip(starts, windows, strict=True):
            rows[start : start + len(one)] = self._rows(one, raw)
        return torch.from_numpy(rows)

    def _rows(self, one: Any, raw: Text) -> NDArray[np.int32]:
        """One window; only tokens of the text itself, of a pair of its second half, have a place."""
        rows = np.empty((len(one), 4), np.int32)
        rows[:, 0], rows[:, 1] = one.ids, one.type_ids
        if raw.words is not None:
            rows[:, 2] = [-1 if word is None else word for word in one.word_ids]
            rows[:, 3] = rows[:, 2] + 1
        else:
            rows[:, 2:] = np.fromiter(chain.from_iterable(one.offsets), np.int32, 2 * len(one)).reshape(-1, 2)
        wanted = 0 if raw.pair is None else 1
        rows[[sequence != wanted for sequence in one.sequence_ids], 2:] = -1
        return rows


def _argument(raw: Text) -> Any:
    """As the library takes one of several texts."""
    if raw.words is not None:
        return list(raw.words)
    return raw.text if raw.pair is None else (raw.text, raw.pair)


def _arguments(raw: Text) -> tuple[Any, ...]:
    found = _argument(raw)
    return found if isinstance(found, tuple) else (found,)


def tokens(record: Json) -> Tokens:
    """What `Tokens.json` wrote."""
    return Tokens(**{key: value for key, value in record.items() if key != "kind"})
