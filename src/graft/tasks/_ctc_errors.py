"""How recognised speech differs from what was said, in words and in characters, as jiwer counts it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple, final

import numpy as np

from graft.errors import MissingExtra
from graft.intervals import Array
from graft.tasks import _metrics
from graft.types import Json

MOST = 10  # pairs of words that a report names


@final
class Errors(NamedTuple):
    """Of M transcripts, (M,) each: substitutions + deletions + insertions, and how many words and characters."""

    words: Array
    of_words: Array
    characters: Array
    of_characters: Array
    exact: Array  # 1 where nothing is wrong
    table: Json  # of words: errors by kind, and the pairs that are confused most


def require() -> None:
    """Raises MissingExtra."""
    if find_spec("jiwer") is None:
        raise MissingExtra("jiwer", "audio")


def errors(truth: Sequence[str], said: Sequence[str]) -> Errors:
    """Of normal texts: one blank between words."""
    import jiwer

    words = jiwer.process_words(list(truth), list(said))
    characters = jiwer.process_characters(list(truth), list(said))
    exact = [a == b for a, b in zip(truth, said, strict=True)]
    return Errors(_wrong(words), _sizes(words), _wrong(characters), _sizes(characters), np.array(exact, np.float64),
                  _table(words))  # fmt: skip


def _table(found: Any) -> Json:
    """How many words were taken for others, left out and added, and which most often; "" is no word."""
    pairs = sorted(Counter(_pairs(found)).items(), key=lambda pair: (-pair[1], pair[0]))
    return {
        "substitutions": found.substitutions,
        "deletions": found.deletions,
        "insertions": found.insertions,
        "most_confused": [{"actual": a, "predicted": b, "count": n} for (a, b), n in pairs[:MOST]],
    }


def linear(wrong: Array, words: Array) -> Array:
    """(M,) what each transcript adds to word accuracy: the linearisation of a ratio of sums (Hampel 1974).

    The mean is the word accuracy itself, and the standard error of the mean is the delta method's.
    """
    rate = float(_metrics.ratio(wrong.sum(), words.sum()))
    return 1 - rate - _metrics.ratio(len(wrong) * (wrong - rate * words), np.full(len(wrong), words.sum()))


def _wrong(output: Any) -> Array:
    return np.array([sum(_size(chunk) for chunk in row if chunk.type != "equal") for row in output.alignments], float)


def _sizes(output: Any) -> Array:
    return np.array([len(row) for row in output.references], float)


def _size(chunk: Any) -> int:
    return max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)  # type: ignore[no-any-return]


def _pairs(output: Any) -> Iterator[tuple[str, str]]:
    """What was said and what it was taken for; "" is nothing."""
    for true, said, chunks in zip(output.references, output.hypotheses, output.alignments, strict=True):
        for chunk in chunks:
            a, b = true[chunk.ref_start_idx : chunk.ref_end_idx], said[chunk.hyp_start_idx : chunk.hyp_end_idx]
            if chunk.type != "equal":
                yield from ((a[i] if a else "", b[i] if b else "") for i in range(max(len(a), len(b))))
