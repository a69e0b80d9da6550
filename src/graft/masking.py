"""Words that are hidden from a network, which is to guess them (BERT, Devlin et al. 2019, arXiv:1810.04805).

Of the words that are chosen, 80 % of the tokens become the mask, 10 % a random token, and 10 % stay as they are, so
that the network cannot rely on seeing the mask. Whole words are hidden, as in BERT's later release: the rest of a word
would give it away.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graft.errors import UsageError

MASKED, RANDOM = 0.8, 0.1  # shares of the chosen tokens; the rest stays
INSIDE, STARTS = "##", ("Ġ", "▁")  # how tokens say that they go on with a word, or that they begin one
NONE = -1  # where no token is hidden

Marks = NDArray[np.bool_]


class Vocabulary(Protocol):
    """What is needed of a tokeniser; `Tokens` has it."""

    @property
    def tokenizer(self) -> str: ...  # a tokenizer.json as text
    @property
    def mask(self) -> int | None: ...
    @property
    def vocabulary(self) -> dict[str, int]: ...
    def __hash__(self) -> int: ...


class Kinds(NamedTuple):
    """What tokens are: whether they are of texts and not special, or go on with a word (V,); those of texts (K,)."""

    plain: Marks
    inside: Marks
    every: NDArray[np.int32]


@final
@dataclass(frozen=True)
class Masked:
    """A view of a text for `Tokens.batch`. `share` of its words are chosen, at least one; fixed by the seed.

    A word is a run of tokens of which the later ones say that they go on ("##", or no blank before them); with
    `whole_words=False` it is one token.
    """

    share: float = 0.15
    whole_words: bool = True

    def __call__(self, sample: Tensor, tokens: Vocabulary, seed: int) -> Tensor:
        """(T, 4) int32: id, type and place -> id as the network sees it, type, the id that is hidden (else -1), -1.

        So `places` are no places of the text here: [..., 0] is what is to be guessed. Raises UsageError where the
        tokeniser has no mask.
        """
        if tokens.mask is None:
            raise UsageError("this tokeniser has no token that hides a word", "choose a trunk like BERT: minilm, bert")
        ids, draw = sample[:, 0].numpy(), np.random.default_rng(seed)
        chosen = self._chosen(ids, _kinds(tokens), draw)
        made = sample.clone()
        made[:, 0] = torch.from_numpy(_seen(ids, chosen, tokens.mask, _kinds(tokens), draw))
        made[:, 2] = torch.from_numpy(np.where(chosen, ids, NONE))
        made[:, 3] = NONE
        return made

    def _chosen(self, ids: NDArray[np.int32], kinds: Kinds, draw: np.random.Generator) -> Marks:
        """(T,) the tokens of the words that are hidden; none where no token is a plain one."""
        plain = (ids >= 0) & kinds.plain[ids]
        goes_on = np.concatenate([[False], plain[:-1]]) & kinds.inside[ids] & self.whole_words
        starts = plain & ~goes_on
        count = int(starts.sum())
        if not count:
            return plain
        size = max(1, int(self.share * count + draw.random()))  # rounded at random: `share` on average
        wanted = np.zeros(count, dtype=bool)
        wanted[draw.choice(count, size, replace=False)] = True
        return np.asarray(plain & wanted[starts.cumsum() - 1])


def _seen(ids: NDArray[np.int32], chosen: Marks, mask: int, kinds: Kinds, draw: np.random.Generator
          ) -> NDArray[np.int32]:  # fmt: skip
    way, other = draw.random(len(ids)), draw.choice(kinds.every, len(ids))
    replaced = np.where(way < MASKED, np.int32(mask), np.where(way < MASKED + RANDOM, other, ids))
    return np.where(chosen, replaced, ids)


@lru_cache(maxsize=8)
def _kinds(tokens: Vocabulary) -> Kinds:
    vocabulary, added = tokens.vocabulary, json.loads(tokens.tokenizer).get("added_tokens") or ()
    size = max(vocabulary.values()) + 1
    plain, inside = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
    goes_on = _way(vocabulary)
    for token, number in vocabulary.items():
        plain[number], inside[number] = True, goes_on(token)
    plain[[one["id"] for one in added if one["special"]]] = False
    return Kinds(plain, inside, np.flatnonzero(plain).astype(np.int32))


def _way(vocabulary: Iterable[str]) -> Callable[[str], bool]:
    """How this vocabulary says that a token goes on with a word: by the mark that most of its tokens begin with."""
    counts = {mark: sum(token.startswith(mark) for token in vocabulary) for mark in (INSIDE, *STARTS)}
    mark = max(counts, key=lambda one: counts[one])
    if not counts[mark]:
        return lambda token: False  # tokens are words
    return lambda token: token.startswith(mark) is (mark == INSIDE)
