"""Transcripts as symbols: a vocabulary of characters or of word pieces, made from them, and the way there and back.

The blank of CTC is no symbol: a task adds it.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from graft.errors import DataError, MissingExtra, UsageError, did_you_mean
from graft.samples import Dataset, Issue

START = "▁"  # a piece that begins with it begins a word; a vocabulary without such pieces is one of characters
CASES: dict[str, Callable[[str], str]] = {"keep": str, "lower": str.lower, "upper": str.upper}
NAMED = 10  # characters, or sounds, that a finding names


class Encoded(NamedTuple):
    """Numbers of symbols, and the characters that no symbol has, in their order; these are left out."""

    ids: tuple[int, ...]
    foreign: tuple[str, ...]


def normal(text: str, case: str = "keep") -> str:
    """One spelling of what looks the same: composed characters (NFC), one blank between words, none around them.

    Raises UsageError for a case that is none of keep, lower and upper.
    """
    if case not in CASES:
        raise UsageError(f"case={case!r} is no way to write", did_you_mean(str(case), CASES))
    cased = unicodedata.normalize("NFC", CASES[case](text))
    return " ".join(cased.replace(START, "_").split())


def symbols(texts: Iterable[str], pieces: int | None = None, case: str = "keep") -> tuple[str, ...]:
    """The vocabulary of some transcripts: their characters, sorted; or `pieces` word pieces, with all characters.

    Pieces are those of byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909), fewer where the texts have not so
    many, and the same for the same texts. Raises UsageError where `pieces` are fewer than the characters.
    """
    plain = [normal(text, case) for text in texts]
    if pieces is None:
        return tuple(sorted(set().union(*plain)))
    letters = {START, *"".join(plain)} - {" "}
    if type(pieces) is not int or pieces < len(letters):
        hint = f"choose pieces={10 * len(letters)}, or leave it out, and symbols are characters"
        raise UsageError(f"pieces={pieces!r} is less than the {len(letters)} characters of the transcripts", hint)
    return tuple(sorted(letters | _byte_pairs(plain, pieces)))


def encode(text: str, symbols: tuple[str, ...], case: str = "keep") -> Encoded:
    """The fewest symbols that spell a text; of equally few, those that begin with the longest."""
    known = _lexicon(symbols)
    spelled = normal(text, case)
    if known.pieces and spelled:
        spelled = START + spelled.replace(" ", START)
    foreign = tuple(one for one in spelled if one not in known.letters)
    if foreign:
        spelled = "".join(one for one in spelled if one in known.letters)
    if known.longest == 1:
        return Encoded(tuple(known.numbers[one] for one in spelled), foreign)
    return Encoded(_fewest(spelled, known), foreign)


def decode(ids: Iterable[int], symbols: tuple[str, ...]) -> str:
    """The text that symbols spell."""
    spelled = surfaces(symbols)
    return " ".join("".join(spelled[i] for i in ids).split())


@lru_cache(maxsize=8)
def surfaces(symbols: tuple[str, ...]) -> tuple[str, ...]:
    """What each symbol adds to a text: a piece that begins a word, a blank and its letters."""
    return tuple(symbol.replace(START, " ") for symbol in symbols)


def least_frames(ids: Sequence[int]) -> int:
    """How many frames CTC needs to say some symbols: one for each, and a blank between two of the same."""
    return len(ids) + sum(a == b for a, b in zip(ids, ids[1:], strict=False))


# ----------------------------------------------------------------------------------------------------- of a data set


def options(said: Mapping[str, Any]) -> dict[str, Any]:
    """Those options of a task that say how its vocabulary is made."""
    return {name: said[name] for name in ("pieces", "case") if name in said}


def with_symbols(dataset: Dataset, pieces: int | None = None, case: str = "keep") -> Dataset:
    """The data set with the vocabulary of its training transcripts as classes, and what is not in it as an issue.

    Training samples are those that are not put aside for validation or test. Raises DataError where none of them has a
    transcript.
    """
    labelled = [sample for sample in dataset.samples if sample.label is not None]
    train = [sample.label for sample in labelled if sample.split not in ("valid", "test")]
    if not any(normal(text) for text in train):
        raise DataError(f"{dataset.name} has no transcript to learn from", "name their column: --label transcript")
    made = symbols(train, pieces, case)
    found = unknown(((sample.key, sample.label) for sample in labelled), made, case)
    return dataset.replace(classes=made, issues=(*dataset.issues, *found))


def unknown(texts: Iterable[tuple[str, str]], symbols: tuple[str, ...], case: str = "keep") -> list[Issue]:
    """Transcripts, by the keys of their samples, with characters that no symbol has: these can only be mistakes."""
    found = {key: foreign for key, text in texts if (foreign := encode(text, symbols, case).foreign)}
    if not found:
        return []
    counts = Counter(one for foreign in found.values() for one in foreign).most_common()
    named = ", ".join(f"{one!r} ({count:,})" for one, count in counts[:NAMED]) + (", ..." if counts[NAMED:] else "")
    what = f"{len(found):,} transcripts have characters outside the vocabulary, each of which is an error: {named}"
    hint = _spelling(symbols, {one for one, _ in counts}, case)
    return [Issue("foreign-characters", "warning", what, tuple(found), hint)]


def too_short(dataset: Dataset, frames: Sequence[int], case: str = "keep") -> list[Issue]:
    """Sounds of which a trunk makes fewer `frames`, one number for each sample, than their transcripts need."""
    texts = ["" if sample.label is None else sample.label for sample in dataset.samples]
    least = [least_frames(encode(text, dataset.classes, case).ids) for text in texts]
    pairs = zip(dataset.samples, frames, least, strict=True)
    short = [(sample.key, has, needed) for sample, has, needed in pairs if has < needed]
    if not short:
        return []
    named = ", ".join(f"{key} ({has:,} of {needed:,} frames)" for key, has, needed in short[:3])
    what = (f"{len(short):,} sounds are too short for their transcripts, and are not learned from: {named}"
            + (", ..." if short[3:] else ""))  # fmt: skip
    hint = "check these transcripts, or choose a trunk with more frames a second, or pieces=200"
    return [Issue("too-short-for-transcript", "warning", what, tuple(key for key, _, _ in short), hint)]


# ------------------------------------------------------------------------------------------------------------- behind


class _Lexicon(NamedTuple):
    numbers: dict[str, int]
    letters: frozenset[str]  # symbols of one character
    longest: int
    pieces: bool


@lru_cache(maxsize=8)
def _lexicon(symbols: tuple[str, ...]) -> _Lexicon:
    numbers = {symbol: number for number, symbol in enumerate(symbols)}
    longest, pieces = max(map(len, symbols), default=1), any(symbol.startswith(START) for symbol in symbols)
    return _Lexicon(numbers, frozenset(one for one in symbols if len(one) == 1), longest, pieces)


def _fewest(text: str, known: _Lexicon) -> tuple[int, ...]:
    """Viterbi from the end: of each rest of the text the fewest symbols; every character is one."""
    counts, sizes = [0] * (len(text) + 1), [1] * len(text)
    for start in range(len(text) - 1, -1, -1):
        most = min(known.longest, len(text) - start)
        fit = [size for size in range(most, 0, -1) if text[start : start + size] in known.numbers]
        sizes[start] = min(fit, key=lambda size: counts[start + size])  # noqa: B023 - called at once
        counts[start] = 1 + counts[start + sizes[start]]
    ids, at = [], 0
    while at < len(text):
        ids.append(known.numbers[text[at : at + sizes[at]]])
        at += sizes[at]
    return tuple(ids)


def _byte_pairs(texts: list[str], size: int) -> set[str]:
    try:
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    except ImportError:
        raise MissingExtra("tokenizers", "audio") from None
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Metaspace(START)
    made.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, show_progress=False))
    return set(made.get_vocab())


def _spelling(symbols: tuple[str, ...], foreign: set[str], case: str) -> str:
    """Letters that are known in the other case need no more than the task's option."""
    if case == "keep" and any(one.swapcase() != one and one.swapcase() in symbols for one in foreign):
        return "--task \"ctc(case='lower')\" writes all transcripts alike"
    return "write them as the training transcripts are written, or train on transcripts that have them"
