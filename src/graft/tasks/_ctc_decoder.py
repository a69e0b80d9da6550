"""From probabilities of frames to texts, as a task's options say it is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

from torch import Tensor

from graft.errors import DataError, UsageError, did_you_mean
from graft.tasks import _checks
from graft.tasks._ctc_beam import Ids, beam_search, best_path
from graft.tasks._ctc_language import UNITS, Language, Ngram, ngram
from graft.tasks._ctc_targets import frames_of
from graft.transcripts import normal, surfaces

TRAIN = "train"  # the dictionary of all words of the training transcripts
MOST_ORDER = 9
WIDEST = 1000  # texts that are kept: a second of sound then takes a second or more


@final
@dataclass(frozen=True)
class Decoder:
    """`beam` 0 is the best path, else prefix beam search. `texts` are the training transcripts, if they are told: what
    needs them raises DataError when it decodes, not before."""

    symbols: tuple[str, ...]
    case: str = "keep"
    beam: int = 0
    lm: str = "none"
    order: int = 2
    lm_weight: float = 0.5
    word_bonus: float = 0.0
    dictionary: str | tuple[str, ...] | None = None
    texts: tuple[str, ...] | None = None

    def __call__(self, values: Tensor) -> list[Ids]:
        """Probabilities (N, T, C + 1), rows of zeros after the last frame -> the symbols of each text."""
        frames = frames_of(values).tolist()
        if not self.beam:
            paths = values.argmax(2).tolist()
            return [best_path(path[:size], values.shape[2] - 1) for path, size in zip(paths, frames, strict=True)]
        found = zip(values.detach().double().cpu().numpy(), frames, strict=True)
        return [beam_search(one[:size], self.beam, self.language) for one, size in found]

    @cached_property
    def language(self) -> Language | None:
        """None where every text is as good as another."""
        words = self._words()
        if words is None and self.lm == "none" and self.word_bonus == 0:
            return None
        return Language(surfaces(self.symbols), self._ngram(), self.lm, self.lm_weight, self.word_bonus, words)

    def _ngram(self) -> Ngram | None:
        if self.lm == "none":
            return None
        told = self._told(f"lm={self.lm!r}")
        return ngram((text.split() if self.lm == "words" else tuple(text) for text in told), self.order)

    def _words(self) -> frozenset[str] | None:
        if self.dictionary is None:
            return None
        if self.dictionary == TRAIN:
            return frozenset(word for text in self._told("dictionary='train'") for word in text.split())
        return frozenset(normal(word, self.case) for word in self.dictionary)

    def _told(self, what: str) -> list[str]:
        if self.texts is None:
            raise DataError(f"{what} needs the training transcripts, and they are not told", "give texts=(...)")
        return [plain for text in self.texts if (plain := normal(text, self.case))]


def check(made: Decoder) -> None:
    """Raises UsageError for options that cannot work."""
    normal("", made.case)
    if made.lm not in UNITS:
        raise UsageError(f"there is no language model of '{made.lm}'", did_you_mean(made.lm, UNITS))
    if type(made.beam) is not int or not 0 <= made.beam <= WIDEST:
        hint = f"choose beam=16, at most {WIDEST:,}, or 0 for the best path"
        raise UsageError(f"beam={made.beam!r} is not a number of texts", hint)
    if _checks.count("order", made.order) > MOST_ORDER:
        raise UsageError(f"order={made.order} is too long for n-grams", f"choose order=1 to {MOST_ORDER}")
    if made.lm_weight < 0:
        raise UsageError(f"lm_weight={made.lm_weight} is less than nothing", "choose lm_weight=0.5")
    needy = {"lm": made.lm != "none", "dictionary": made.dictionary is not None, "word_bonus": made.word_bonus != 0}
    for name in [name for name, said in needy.items() if said and not made.beam]:
        raise UsageError(
            f"{name} is for beam search, and beam=0 takes the best path", f"add beam=16, or leave {name} out"
        )
    _check_words(made.dictionary)


def _check_words(dictionary: str | Sequence[str] | None) -> None:
    if isinstance(dictionary, str) and dictionary != TRAIN:
        hint = f"write dictionary=({dictionary!r}, ...), or dictionary='train': all words of the training transcripts"
        raise UsageError(f"dictionary={dictionary!r} is no list of words", hint)
    for word in dictionary if isinstance(dictionary, tuple | list) else ():
        if len(word.split()) != 1:
            raise UsageError(f"{word!r} in the dictionary is not one word", "list words one by one")
    if dictionary is not None and not dictionary:
        raise UsageError("a dictionary without words lets nothing be said", "leave it out")
