"""Vocabularies from transcripts, the way there and back, and what is said of transcripts that do not fit."""

from __future__ import annotations

import sys

import pytest

from graft import transcripts
from graft.errors import DataError, MissingExtra, UsageError
from graft.types import Dataset, Sample

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def _dataset(labels: list[str | None], splits: list[str] | None = None, classes: tuple[str, ...] = ()) -> Dataset:
    pairs = zip(labels, splits or ["train"] * len(labels), strict=True)
    samples = tuple(Sample(f"{i}.wav", i, label, split) for i, (label, split) in enumerate(pairs))
    return Dataset("calls", "audio", samples, classes, lambda s: None, lambda s: b"", kind="transcript")


def _digits(n: int = 200) -> list[str]:
    return [" ".join(DIGITS[(i * 7 + k * k + i // 10) % 10] for k in range(1 + i % 5)) for i in range(n)]


def test_one_spelling_for_what_looks_the_same() -> None:
    assert transcripts.normal("  cafe\u0301\t\n au  lait ") == "café au lait"
    assert transcripts.normal("Ça VA", "lower") == "ça va" and transcripts.normal("Ça va", "upper") == "ÇA VA"
    assert transcripts.normal("a▁b") == "a_b"  # the mark of pieces is no letter
    assert transcripts.normal(" \n ") == ""
    with pytest.raises(UsageError, match="case='lowr'") as caught:
        transcripts.normal("a", "lowr")
    assert "lower" in caught.value.hint


def test_characters_are_sorted_and_the_way_back_is_exact() -> None:
    texts = ["Bo, 12!", "a  b", "e\u0301"]
    symbols = transcripts.symbols(texts)
    assert symbols == tuple(sorted(set("Bo, 12!a bé"))) and "é" in symbols
    for text in texts:
        made = transcripts.encode(text, symbols)
        assert not made.foreign and transcripts.decode(made.ids, symbols) == transcripts.normal(text)
    assert transcripts.symbols(["one", "two"]) == tuple("enotw")  # no blank where no text has one
    assert transcripts.symbols(["Aa"], case="lower") == ("a",)


def test_pieces_are_few_the_same_each_time_and_spell_every_text() -> None:
    texts = _digits()
    symbols = transcripts.symbols(texts, pieces=60)
    assert symbols == transcripts.symbols(texts, pieces=60) and len(symbols) <= 60
    assert {"▁seven", "▁three", "▁", "x"} <= set(symbols)
    for text in [*texts, "xes sixty"]:
        made = transcripts.encode(text, symbols)
        left_out = "".join(made.foreign)
        assert transcripts.decode(made.ids, symbols) == "".join(c for c in text if c not in left_out)
    assert len(transcripts.encode("seven three", symbols).ids) == 2
    assert transcripts.encode("seven", symbols).ids == (symbols.index("▁seven"),)


def test_the_fewest_symbols_where_the_longest_first_would_take_more() -> None:
    symbols = ("a", "ab", "b", "bcd", "c", "d", "e", "▁", "▁a", "▁ab")
    assert [symbols[i] for i in transcripts.encode("abcd", symbols).ids] == ["▁a", "bcd"]  # not ▁ab, c, d
    assert transcripts.encode("", symbols).ids == ()


def test_fewer_pieces_than_characters_are_refused() -> None:
    with pytest.raises(UsageError, match="pieces=5 is less than the 16 characters"):
        transcripts.symbols(_digits(), pieces=5)
    with pytest.raises(UsageError):
        transcripts.symbols(["a"], pieces="many")  # type: ignore[arg-type]


def test_pieces_without_the_library_are_a_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtra, match="tokenizers") as caught:
        transcripts.symbols(_digits(), pieces=60)
    assert "[audio]" in caught.value.hint


def test_characters_outside_are_left_out_and_named() -> None:
    assert transcripts.encode("año é", ("a", "o")) == ((0, 1), ("ñ", " ", "é"))


def test_the_frames_that_symbols_need() -> None:
    assert transcripts.least_frames(()) == 0 and transcripts.least_frames((1, 2, 1)) == 3
    assert transcripts.least_frames((1, 1, 1, 2)) == 6


def test_the_vocabulary_is_that_of_the_training_part_and_others_are_listed() -> None:
    dataset = _dataset(["ab", "b a", "aé", "éé", None, "c"], ["train", "train", "valid", "test", "valid", "test"])
    made = transcripts.with_symbols(dataset)
    assert made.classes == (" ", "a", "b") and made.samples == dataset.samples
    (issue,) = made.issues
    assert issue.code == "foreign-characters" and issue.keys == ("2.wav", "3.wav", "5.wav")
    assert issue.what.startswith("3 transcripts") and "'é' (3), 'c' (1)" in issue.what
    assert transcripts.with_symbols(_dataset(["ab", "ba"])).issues == ()


def test_the_other_case_has_a_way_out() -> None:
    dataset = _dataset(["ab", "AB"], ["train", "test"])
    (issue,) = transcripts.with_symbols(dataset).issues
    assert "case='lower'" in issue.hint
    made = transcripts.with_symbols(dataset, **transcripts.options({"case": "lower", "beam": 4}))
    assert made.issues == () and made.classes == ("a", "b")


def test_nothing_to_learn_from_is_refused() -> None:
    for labels in ([None, None], [" ", ""], ["a", "b"]):
        splits = ["test", "test"] if labels == ["a", "b"] else None
        with pytest.raises(DataError, match="no transcript to learn from"):
            transcripts.with_symbols(_dataset(labels, splits))


def test_sounds_too_short_for_their_transcripts_are_listed() -> None:
    dataset = _dataset(["abc", "aab", None, "a"], classes=("a", "b", "c"))
    assert transcripts.too_short(dataset, [3, 4, 0, 1]) == []
    (issue,) = transcripts.too_short(dataset, [2, 3, 0, 1])
    assert issue.keys == ("0.wav", "1.wav") and "0.wav (2 of 3 frames), 1.wav (3 of 4 frames)" in issue.what
