"""Texts cut into words, and words into ids."""

import json

import pytest
import torch

from graft.backbones._words import Words, patterns, tokens_of, words
from graft.types import Text

torch.set_num_threads(1)


def ids(made: Words, text: str | Text) -> list[int]:
    return made.sample(text if isinstance(text, Text) else Text(text))[:, 0].tolist()


def spans(made: Words, text: str) -> list[str]:
    return [text[start:end] for start, end in made.sample(Text(text))[:, 2:].tolist()]


@pytest.mark.parametrize(("text", "want"), [
    ("Don't stop - it's well-made.", ["Don't", "stop", "-", "it's", "well-made", "."]),
    ("It\u2019s \u201cfine\u201d\u2026", ["It\u2019s", "\u201c", "fine", "\u201d", "\u2026"]),
    ("3.14, 1,000 and 3rd in 2024!", ["3.14", ",", "1,000", "and", "3rd", "in", "2024", "!"]),
    ("a I x_y C++ me@mail.org", ["a", "I", "x", "_", "y", "C", "+", "+", "me", "@", "mail", ".", "org"]),
    ("rock 'n' roll", ["rock", "'", "n", "'", "roll"]),
    ("我love你。東京タ", ["我", "love", "你", "。", "東", "京", "タ"]),
    ("한국어 문장", ["한국어", "문장"]),
    ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),  # the vowel signs are no letters to \w
    ("e\u0301tat", ["e\u0301tat"]),
    ("שלום\u200f עולם \u202eabc\u202c", ["שלום", "עולם", "abc"]),  # right to left, with its control characters
    ("👍👍🏽 ❤\ufe0f 👨\u200d👩\u200d👧 🇩🇪🇫🇷", ["👍", "👍🏽", "❤\ufe0f", "👨\u200d👩\u200d👧", "🇩🇪", "🇫🇷"]),
    ("\ufeffa\u200bb\x00c\ud800d", ["a", "b", "c", "d"]),
    (" \t\n\u00a0\u3000", []),
])  # fmt: skip
def test_what_is_a_word(text: str, want: list[str]) -> None:
    assert list(tokens_of(text)) == want


def test_the_pattern_has_no_group_so_that_other_libraries_can_take_it() -> None:
    assert patterns().token.groups == patterns().part.groups == 0


def test_small_letters_where_the_vocabulary_has_no_capitals() -> None:
    made = Words(("the", "straße", "<unk>"))
    assert ids(made, "The STRASSE THE Straße xyz") == [1, 2, 1, 2, 3]


def test_capitals_count_where_the_vocabulary_has_them() -> None:
    made = Words(("apple", "Apple", "the"))
    assert ids(made, "Apple apple APPLE The") == [2, 1, 1, 3]
    assert ids(Words(("Apple", "the")), "apple the") == [2]


def test_spellings_that_look_the_same_are_the_same() -> None:
    made = Words(("don't", "é", "❤"))
    assert ids(made, "don\u2019t e\u0301 ❤\ufe0f") == [1, 2, 3]


def test_a_word_that_is_not_known_is_looked_for_in_parts() -> None:
    """As the Penn Treebank cuts, on which GloVe was made."""
    made = Words(("do", "n't", "it", "'s", "well", "-", "made", "👍"))
    text = "DON\u2019T it's well-made 👍🏽"
    assert ids(made, text) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert spans(made, text) == ["DO", "N\u2019T", "it", "'s", "well", "-", "made", "👍"]
    assert ids(Words((*made.words, "<unk>")), "do-xyz x'y 7") == [1, 6, 9, 9, 9]


def test_the_rest_is_unknown_or_left_out() -> None:
    assert ids(Words(("a", "<unk>")), "a b c") == [1, 2, 2]
    assert ids(Words(("a",)), "b a c") == [1]


@pytest.mark.parametrize("text", [Text(""), Text("b c"), Text("", "b"), Text("", None, ()), Text("b", None, ("b",))])
def test_a_text_without_a_word_is_one_row_of_no_word(text: Text) -> None:
    made = Words(("a",))
    assert made.sample(text).tolist() == [[0, 0, -1, -1]]
    assert made.batch([made.sample(text)]).mask.tolist() == [[True]]


def test_places_are_characters_of_the_text() -> None:
    made = Words(("a", "bc", "."))
    assert made.sample(Text("a  xx bc.")).tolist() == [[1, 0, 0, 1], [2, 0, 6, 8], [3, 0, 8, 9]]


def test_places_of_a_pair_are_those_of_its_second_text() -> None:
    made = Words(("a", "bc"))
    assert made.sample(Text("bc a", " bc")).tolist() == [[2, 0, -1, -1], [1, 0, -1, -1], [2, 1, 1, 3]]


def test_places_of_words_are_their_numbers() -> None:
    made = Words(("u.s.", "new", "york", "-", "<unk>"))
    given = ("U.S.", "New-York", "?!", "", "new")
    rows = made.sample(Text(" ".join(given), None, given)).tolist()
    assert rows == [[1, 0, 0, 1], [2, 0, 1, 2], [4, 0, 1, 2], [3, 0, 1, 2], [5, 0, 2, 3], [5, 0, 2, 3], [2, 0, 4, 5]]


def test_what_is_longer_is_cut_and_counted() -> None:
    made = Words(("a", "b"), length=6)
    long = Text("a " * 10)
    assert len(made.sample(long)) == 6 and made.cut(long) == 4 and made.cut(Text("a")) == 0


@pytest.mark.parametrize(
    ("first", "second", "kept"), [(10, 2, (4, 2)), (2, 10, (2, 4)), (10, 10, (3, 3)), (3, 3, (3, 3))]
)
def test_a_pair_is_cut_in_its_longer_half(first: int, second: int, kept: tuple[int, int]) -> None:
    made = Words(("a", "b"), length=6)
    text = Text("a " * first, "b " * second)
    types = made.sample(text)[:, 1]
    assert (int((types == 0).sum()), int((types == 1).sum())) == kept
    assert made.cut(text) == first + second - 6


def test_a_batch_is_padded_to_its_longest() -> None:
    made = Words(("a", "b"))
    inputs = made.batch([made.sample(Text(text)) for text in ("a b a", "b", "")])
    assert inputs.x[..., 0].tolist() == [[1, 2, 1], [2, 0, 0], [0, 0, 0]]
    assert inputs.mask.tolist() == [[True] * 3, [True, False, False], [True, False, False]]
    assert inputs.places.tolist()[1] == [[0, 1], [-1, -1], [-1, -1]]
    assert inputs.x.dtype == inputs.places.dtype == torch.long


def test_a_view_sees_each_sample_with_its_seed() -> None:
    made = Words(("a", "b"))
    samples = [made.sample(Text("a b")), made.sample(Text("b"))]

    def view(sample: torch.Tensor, preprocess: Words, seed: int) -> torch.Tensor:
        assert preprocess is made
        return sample + torch.tensor([0, seed, 0, 0], dtype=sample.dtype)

    assert made.batch(samples, view, (5, 7)).x[..., 1].tolist() == [[5, 5], [7, 0]]


def test_it_is_built_again_from_json() -> None:
    made = Words(("a", "é", "👍", "<unk>"), length=7)
    again = words(json.loads(json.dumps(made.json())))
    assert again == made and made.json()["kind"] == "words"
    assert torch.equal(again.sample(Text("é 👍 x")), made.sample(Text("é 👍 x")))


def test_duplicates_in_the_vocabulary_keep_the_first() -> None:
    assert ids(Words(("a", "b", "a")), "a b") == [1, 2]


@pytest.mark.parametrize("text", ["a" * 10**6, "a-" * 300_000, "1," * 300_000, "-" * 300_000, "\u0301" * 10**6])
def test_huge_tokens_take_no_long(text: str) -> None:
    made = Words(("a", "-", "<unk>"))
    assert 1 <= len(made.sample(Text(text))) <= made.length
