"""Decoding against all alignments, and what n-grams and a dictionary change."""

from __future__ import annotations

import itertools
import math
import tracemalloc

import numpy as np
import pytest
import torch

from graft.errors import DataError
from graft.tasks import _ctc_language
from graft.tasks._ctc_beam import beam_search, best_path
from graft.tasks._ctc_decoder import Decoder
from graft.tasks._ctc_language import BEGIN, END, Language, ngram
from graft.tasks.ctc import ctc
from graft.transcripts import decode
from graft.types import Dataset, Predictions, Sample

torch.set_num_threads(1)
AB = (" ", "a", "b")


def _random(frames: int, width: int, seed: int, sharp: float = 1.0) -> np.ndarray:
    logits = sharp * np.random.default_rng(seed).normal(size=(frames, width))
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def _all_texts(values: np.ndarray) -> dict[tuple[int, ...], float]:
    """Every text with the probability of all its alignments."""
    blank, found = values.shape[1] - 1, {}
    for path in itertools.product(range(blank + 1), repeat=len(values)):
        text = tuple(s for s, _ in itertools.groupby(path) if s != blank)
        found[text] = found.get(text, 0.0) + math.prod(values[t, s] for t, s in enumerate(path))
    return found


@pytest.mark.parametrize(
    ("path", "said"),
    [("aab", "ab"), ("a-a", "aa"), ("aa-ab--b", "aabb"), ("---", ""), ("", ""), ("-a-", "a"), ("a  b", "a b")],
)
def test_repeats_are_one_and_blanks_are_left_out(path: str, said: str) -> None:
    ids = [3 if letter == "-" else AB.index(letter) for letter in path]
    assert decode(best_path(ids, 3), AB) == said
    assert decode(beam_search(np.eye(4)[ids].reshape(-1, 4), 4), AB) == said


@pytest.mark.parametrize("seed", range(8))
def test_a_wide_beam_finds_the_best_of_all_texts(seed: int) -> None:
    values = _random(6, 4, seed)
    every = _all_texts(values)
    assert sum(every.values()) == pytest.approx(1)
    assert beam_search(values, 2000) == max(every, key=lambda text: every[text])


def test_the_best_text_is_not_that_of_the_best_path() -> None:
    values = np.array([[0.0, 0.4, 0.0, 0.6]] * 2)  # blank blank is the best path, and "a" has 0.64
    assert best_path(values.argmax(1).tolist(), 3) == () and beam_search(values, 8) == (1,)


def test_long_sounds_do_not_come_to_nothing() -> None:
    values = np.full((3000, 4), 1e-4)
    values[:, 3] = 0.1
    values[10::20, 1] = values[20::20, 2] = 0.9
    said = beam_search(values / values.sum(1, keepdims=True), 4)
    assert said == (1, 2) * 149 + (1,)


def _spoken(language: Language, text: tuple[int, ...]) -> float | None:
    state, total = language.begin(), 0.0
    for symbol in text:
        found = language.read(state, symbol)
        if found is None:
            return None
        state, total = found[0], total + found[1]
    end = language.end(state)
    return None if end is None else total + end


@pytest.mark.parametrize("over", ["words", "characters", "none"])
@pytest.mark.parametrize("dictionary", [None, frozenset(["a", "ab", "bb"])])
def test_a_wide_beam_with_a_language_is_exact(over: str, dictionary: frozenset[str] | None) -> None:
    texts = ["a b", "ab a", "bb", "a ab ab"]
    counts = None if over == "none" else ngram([t.split() if over == "words" else t for t in texts], 2)
    language = Language(AB, counts, over, 1.3, 0.4, dictionary)
    for seed in range(4):
        every = _all_texts(_random(6, 4, seed))
        scores = {t: math.log(p) + said for t, p in every.items() if (said := _spoken(language, t)) is not None}
        assert beam_search(_random(6, 4, seed), 2000, language) == max(scores, key=lambda text: scores[text])


def test_a_beam_lets_go_of_the_texts_that_it_has_left() -> None:
    """What is held grows with the text that is said, not with all that were ever tried."""
    values, peaks = _random(300, 30, 0, sharp=3.0), []
    for end in (100, 300):
        tracemalloc.start()
        said = beam_search(values[:end], 16)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert len(said) > 200 and peaks[1] < 3e6, peaks


def test_shares_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ctc_language, "MOST", 8)
    made, units = ngram(["abca", "bcc", "a"], 3), [f"unit {i}" for i in range(30)]
    first = [made.log(unit, ("a",)) for unit in units]
    assert len(made._known) <= 8 and [made.log(unit, ("a",)) for unit in units] == first


def test_a_blank_where_no_word_has_begun_says_nothing() -> None:
    """A text of pieces begins with one, and the texts that the n-grams are counted in do not."""
    counts = ngram(["ab a", "a"], 3)
    letters, pieces = Language(AB, counts, "characters", 1.0), Language((" a", "b", " "), counts, "characters", 1.0)
    by_hand = sum(counts.log(unit, (BEGIN, BEGIN, *"ab a")[: i + 2]) for i, unit in enumerate([*"ab a", END]))
    assert _spoken(letters, (1, 2, 0, 1)) == pytest.approx(by_hand)
    for ids in ((0, 1, 0), (2, 0, 1, 0), (0, 1, 2, 0)):
        assert decode(ids, ("▁a", "b", "▁")) == "ab a" and _spoken(pieces, ids) == pytest.approx(by_hand)


def test_pieces_are_read_as_the_letters_they_spell() -> None:
    counts = ngram([["ab", "a"]], 2)
    letters, pieces = Language(AB, counts, "words"), Language((" a", "b", " "), counts, "words")
    assert _spoken(letters, (1, 2, 0, 1)) == _spoken(pieces, (0, 1, 0))
    with_words = Language((" a", "b", "c"), None, "none", dictionary=frozenset(["ab"]))
    assert (
        _spoken(with_words, (0, 1)) == 0 and _spoken(with_words, (0, 2)) is None and _spoken(with_words, (0,)) is None
    )


# ---------------------------------------------------------------------------------------------------------- n-grams


def test_shares_of_a_history_add_up_to_one() -> None:
    made = ngram(["abca", "bcc", "a"], 3)
    for history in [(), ("a",), ("a", "b"), (BEGIN, BEGIN), ("z", "z"), ("c", "z")]:
        assert sum(math.exp(made.log(unit, history)) for unit in ("a", "b", "c", END, "unseen")) == pytest.approx(1)


def test_witten_and_bells_discount_by_hand() -> None:
    made = ngram([["x", "y"], ["x", "x"]], 2)  # x 3, y 1, end 2: 3 kinds of 6; one share of 1/4 for the unseen
    below = {"x": (3 + 3 / 4) / 9, "y": (1 + 3 / 4) / 9, END: (2 + 3 / 4) / 9, "z": (3 / 4) / 9}
    for unit, share in below.items():
        assert math.exp(made.log(unit, ("y",))) == pytest.approx(((unit == END) + share) / 2)  # after y: the end, once
        assert math.exp(made.log(unit, ("never",))) == pytest.approx(share)
    assert math.exp(made.log("x", (BEGIN,))) == pytest.approx((2 + below["x"]) / 3)


# ----------------------------------------------------------------------------------------------------- as the task says


def _values(rows: list[dict[str, float]], symbols: tuple[str, ...]) -> Predictions:
    values = torch.zeros(1, len(rows), len(symbols) + 1)
    for frame, row in zip(values[0], rows, strict=True):
        for symbol, share in row.items():
            frame[symbols.index(symbol) if symbol != "-" else -1] = share
    return Predictions(values, symbols)


ONT = (" ", "e", "n", "o", "t", "w")
UNCLEAR = _values([{"t": 1}, {"w": 0.45, "n": 0.55}, {"o": 1}, {" ": 1}, {"o": 0.4, "t": 0.6}, {"n": 1}, {"e": 1}], ONT)
TEXTS = ("two one", "one two", "two two one")


def _said(**options: object) -> str:
    task = ctc(ONT, **options)  # type: ignore[arg-type]
    dataset = Dataset("one", "audio", (Sample("0", 0),), ONT, lambda s: None, lambda s: b"", kind="transcript")
    return str(task.rows(UNCLEAR, dataset)[0]["label"])


def test_a_dictionary_lets_no_other_word_out() -> None:
    assert _said() == _said(beam=32) == "tno tne"
    assert _said(beam=32, dictionary=("two", "one", "ten")) == "two one"
    assert _said(beam=32, dictionary="train", texts=TEXTS) == "two one"
    assert _said(beam=32, dictionary=("two",)) == "two"  # the rest can be no word


@pytest.mark.parametrize("lm", ["words", "characters"])
def test_ngrams_change_what_is_said(lm: str) -> None:
    assert _said(beam=32, lm=lm, lm_weight=0.0, texts=TEXTS) == "tno tne"
    assert _said(beam=32, lm=lm, lm_weight=1.0, texts=TEXTS) == "two one"


def test_a_bonus_for_words_makes_more_of_them() -> None:
    values = _values([{"o": 1}, {" ": 0.4, "-": 0.6}, {"n": 1}], ONT).values
    short, long = (Decoder(ONT, beam=8, word_bonus=bonus)(values)[0] for bonus in (0.0, 1.0))
    assert (decode(short, ONT), decode(long, ONT)) == ("on", "o n")


def test_padding_is_not_decoded() -> None:
    wide = torch.nn.functional.pad(UNCLEAR.values, (0, 0, 0, 4))
    for decoder in (Decoder(ONT), Decoder(ONT, beam=8), Decoder(ONT, beam=8, lm="words", texts=TEXTS)):
        assert decoder(wide) == decoder(UNCLEAR.values)
    assert Decoder(ONT, beam=8)(torch.zeros(1, 3, 7)) == Decoder(ONT)(torch.zeros(1, 3, 7)) == [()]


def test_what_needs_the_training_transcripts_says_so_when_it_decodes() -> None:
    for options in ({"lm": "words"}, {"dictionary": "train"}):
        task = ctc(ONT, beam=8, **options)  # type: ignore[arg-type]
        targets = task.targets(Dataset("one", "audio", (Sample("0", 0, "two"),), ONT, lambda s: None, lambda s: b""))
        with pytest.raises(DataError, match="needs the training transcripts"):
            task.score(UNCLEAR, targets)
