"""Texts as tokens of a network, with their places, cut or in windows; against the tokenizers library itself."""

import json

import pytest
import torch

from graft.backbones._tokens import Tokens, tokens
from graft.errors import DataError
from graft.types import Text

tokenizers = pytest.importorskip("tokenizers", reason="needs tokenizers")
torch.set_num_threads(1)

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["the", "film", "was", "good", "un", "##known", "new", "york", "is", "a", "city", ".", "?", "我", "爱", "שלום"]
CLS, SEP, PAD = 2, 3, 0


def wordpiece() -> str:
    """As BERT's."""
    vocabulary = {word: i for i, word in enumerate(SPECIAL + WORDS)}
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    made.post_processor = tokenizers.processors.BertProcessing(("[SEP]", SEP), ("[CLS]", CLS))
    made.add_special_tokens(SPECIAL)
    return str(made.to_str())


def bytewise() -> str:
    """As RoBERTa's: every byte is a token, so an emoji is four."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<mask>", *alphabet])}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    made.post_processor = tokenizers.processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return str(made.to_str())


WORDPIECE, BYTES = wordpiece(), bytewise()
ID = {word: i for i, word in enumerate(SPECIAL + WORDS)}


def made(length: int = 16, long: str = "truncate", tokenizer: str = WORDPIECE) -> Tokens:
    return Tokens(tokenizer, length, PAD if tokenizer is WORDPIECE else 1, 4, long)


def ids(sample: torch.Tensor) -> list[int]:
    return sample[:, 0].tolist()


# ------------------------------------------------------------------------------------------------------- one window


def test_ids_types_and_places_are_those_of_the_library() -> None:
    text = "The unknown  film was GOOD."
    sample, whole = made().sample(Text(text)), tokenizers.Tokenizer.from_str(WORDPIECE).encode(text)
    assert sample.dtype is torch.int32 and sample.shape == (9, 4)
    assert ids(sample) == whole.ids and sample[:, 1].tolist() == whole.type_ids
    places = [tuple(place) for place in sample[1:-1, 2:].tolist()]
    assert places == whole.offsets[1:-1] and [text[a:b] for a, b in places][:3] == ["The", "un", "known"]
    assert sample[0, 2:].tolist() == sample[-1, 2:].tolist() == [-1, -1]


def test_of_a_pair_the_second_has_places() -> None:
    sample = made().sample(Text("The film?", "a city"))
    assert ids(sample) == [CLS, ID["the"], ID["film"], ID["?"], SEP, ID["a"], ID["city"], SEP]
    assert sample[:, 1].tolist() == [0] * 5 + [1] * 3
    assert sample[:, 2:].tolist() == [[-1, -1]] * 5 + [[0, 1], [2, 6], [-1, -1]]


def test_places_of_words_are_their_numbers() -> None:
    given = ("New", "unknown", "", ".york", "film")
    sample = made().sample(Text(" ".join(given), None, given))
    assert sample[1:-1, 2:].tolist() == [[0, 1], [1, 2], [1, 2], [3, 4], [3, 4], [4, 5]]
    assert ids(sample)[1:4] == [ID["new"], ID["un"], ID["##known"]]


@pytest.mark.parametrize("text", [Text(""), Text("  \n"), Text("", None, ()), Text("", "")])
def test_an_empty_text_is_its_special_tokens(text: Text) -> None:
    sample = made().sample(text)
    assert set(ids(sample)) == {CLS, SEP} and (sample[:, 2:] == -1).all()


@pytest.mark.parametrize(("text", "want"), [
    ("我爱city", ["我", "爱", "city"]),  # BERT puts each character alone
    ("שלום film", ["שלום", "film"]),
    ("\u202bשלום\u202c", ["שלום"]),  # with the marks that turn the direction
])  # fmt: skip
def test_other_scripts(text: str, want: list[str]) -> None:
    sample = made().sample(Text(text))
    assert ids(sample)[1:-1] == [ID[word] for word in want]
    assert [text[a:b] for a, b in sample[1:-1, 2:].tolist()] == want


def test_an_emoji_of_several_tokens_has_one_place() -> None:
    sample = made(tokenizer=BYTES).sample(Text("a👍🏽b"))
    assert len(sample) == 2 + 1 + 1 + 8 + 1  # the blank before the text is a token, too
    assert sample[3:7, 2:].tolist() == [[1, 2]] * 4 and sample[7:11, 2:].tolist() == [[2, 3]] * 4
    assert sample[11, 2:].tolist() == [3, 4]


@pytest.mark.parametrize("tokenizer", [WORDPIECE, BYTES])
@pytest.mark.parametrize("long", ["truncate", "windows"])
def test_a_token_of_a_megabyte(tokenizer: str, long: str) -> None:
    size = 1_000_000 if long == "truncate" else 200_000
    sample = made(64, long, tokenizer).sample(Text("a" * size))
    if tokenizer is WORDPIECE:
        assert ids(sample) == [CLS, ID["[UNK]"], SEP] and sample[1, 2:].tolist() == [0, size]
    else:
        assert len(sample) == 64 if long == "truncate" else len(sample) > size


# -------------------------------------------------------------------------------------------------- longer than that


def test_what_is_longer_is_cut_and_counted() -> None:
    preprocess = made(8)
    text = Text("the film was good " * 3)
    assert ids(preprocess.sample(text)) == [
        CLS,
        ID["the"],
        ID["film"],
        ID["was"],
        ID["good"],
        ID["the"],
        ID["film"],
        SEP,
    ]
    assert preprocess.cut(text) == 12 + 2 - 8
    assert preprocess.cut(Text("the film was good")) == 0
    assert made(8, "windows").cut(text) == 0


def test_a_pair_is_cut_in_its_longer_half() -> None:
    preprocess = made(8)
    sample = preprocess.sample(Text("the film", "a city " * 9))
    assert ids(sample)[:4] == [CLS, ID["the"], ID["film"], SEP] and len(sample) == 8
    assert preprocess.cut(Text("the film", "a city " * 9)) == 2 + 18 + 3 - 8
    sample = preprocess.sample(Text("a city " * 9, "the film"))
    assert ids(sample)[-3:] == [ID["the"], ID["film"], SEP] and len(sample) == 8


@pytest.mark.parametrize("text", [Text("👍" * 10), Text("👍" * 5, "👍" * 5), Text("👍" * 10, None, ("👍",) * 10)])
def test_a_text_may_have_more_tokens_than_characters(text: Text) -> None:
    preprocess = made(16, tokenizer=BYTES)
    whole = len(made(512, tokenizer=BYTES).sample(text))
    assert len(preprocess.sample(text)) == 16 and preprocess.cut(text) == whole - 16 > 0


@pytest.mark.parametrize("tokenizer", [WORDPIECE, BYTES])
@pytest.mark.parametrize("pair", [None, "?" * 9])
def test_the_count_is_what_sample_leaves_out_at_every_length(tokenizer: str, pair: str | None) -> None:
    preprocess, wide = made(24, tokenizer=tokenizer), made(512, tokenizer=tokenizer)
    for count in range(30):
        text = Text("." * count, pair)
        assert preprocess.cut(text) == len(wide.sample(text)) - len(preprocess.sample(text))


def test_a_long_text_is_read_in_windows() -> None:
    preprocess, text = made(8, "windows"), "the film was good . " * 3
    sample = preprocess.sample(Text(text))
    words = [ID[word] for word in text.split()]
    assert ids(sample) == [CLS, *words[:6], SEP, CLS, *words[6:12], SEP, CLS, *words[12:], SEP]
    places = [text[a:b] for a, b in sample[:, 2:].tolist() if a >= 0]
    assert places == text.split()


def test_windows_but_the_last_are_padded() -> None:
    """A window may be shorter: a question with the rest of its passage, or words that do not fill it."""
    preprocess = made(12, "windows")
    sample = preprocess.sample(Text("the film ?", "a city is new york . " * 3))
    assert len(sample) > 12
    for begin in range(0, len(sample), 12):
        window = sample[begin : begin + 12]
        assert ids(window)[:5] == [CLS, ID["the"], ID["film"], ID["?"], SEP]
        real = window[window[:, 0] >= 0]
        assert real[-1, 0] == SEP and (window[len(real) :] == torch.tensor([-1, 0, -1, -1])).all()


def test_windows_of_a_passage_overlap_and_hold_all_of_it() -> None:
    preprocess, passage = made(16, "windows"), "a city is new york . " * 6
    sample = preprocess.sample(Text("the film ?", passage))
    windows = [sample[begin : begin + 16] for begin in range(0, len(sample), 16)]
    places = [{tuple(place) for place in window[:, 2:].tolist() if place[0] >= 0} for window in windows]
    assert sum(len(one & other) for one, other in zip(places, places[1:], strict=False)) == 4 * (len(places) - 1)
    assert [passage[a:b] for a, b in sorted(set().union(*places))] == passage.split()


@pytest.mark.parametrize("tokenizer", [WORDPIECE, BYTES])
def test_a_question_that_leaves_no_room_is_refused(tokenizer: str) -> None:
    for length in (8, 12, 16):
        preprocess = made(length, "windows", tokenizer)
        with pytest.raises(DataError, match="question") as error:
            preprocess.sample(Text("👍 " * 9, "a city " * 20))
        assert error.value.hint
        for size in range(length):  # either it is read, or it is refused in words
            text = Text("." * size, "." * 40)
            try:
                seen = {tuple(place) for place in preprocess.sample(text)[:, 2:].tolist()} - {(-1, -1)}
                assert {a for a, _ in seen} >= set(range(1, 40))
            except DataError:
                assert size > length // 2 - 5


def test_words_in_windows() -> None:
    given = ("new", "york") * 6
    sample = made(8, "windows").sample(Text(" ".join(given), None, given))
    assert [a for a, _ in sample[:, 2:].tolist() if a >= 0] == list(range(12))


# ------------------------------------------------------------------------------------------------------------ batches


def test_a_batch_is_padded_to_its_longest() -> None:
    preprocess = Tokens(WORDPIECE, 16, pad=7)
    inputs = preprocess.batch([preprocess.sample(Text(text)) for text in ("the film was", "good")])
    assert inputs.x[1].tolist() == [[CLS, 0], [ID["good"], 0], [SEP, 0], [7, 0], [7, 0]]
    assert inputs.mask.tolist() == [[True] * 5, [True] * 3 + [False] * 2]
    assert inputs.places[1].tolist() == [[-1, -1], [0, 4], [-1, -1], [-1, -1], [-1, -1]]
    assert inputs.x.dtype == inputs.places.dtype == torch.long


def test_a_batch_of_windows_is_a_whole_number_of_them() -> None:
    preprocess = made(8, "windows")
    samples = [preprocess.sample(Text("good " * count)) for count in (1, 6, 9)]
    assert [len(one) for one in samples] == [3, 8, 13]
    inputs = preprocess.batch(samples)
    assert inputs.x.shape == (3, 16, 2) and inputs.mask.sum(1).tolist() == [3, 8, 13]
    assert preprocess.batch(samples[:2]).x.shape == (2, 8, 2)


def test_padding_inside_is_masked() -> None:
    preprocess = made(12, "windows")
    sample = preprocess.sample(Text("the film ?", "." + "new york " * 9))
    inputs = preprocess.batch([sample])
    assert inputs.mask[0, : len(sample)].tolist() == (sample[:, 0] >= 0).tolist()
    assert (inputs.x[0, ..., 0][~inputs.mask[0]] == PAD).all()


def test_a_view_sees_each_sample_with_its_seed() -> None:
    preprocess = made()

    def view(sample: torch.Tensor, seen: Tokens, seed: int) -> torch.Tensor:
        assert seen is preprocess and seen.mask == 4
        return torch.cat([torch.full((len(sample), 1), seed, dtype=sample.dtype), sample[:, 1:]], 1)

    samples = [preprocess.sample(Text("good")), preprocess.sample(Text("the film"))]
    before = [one.clone() for one in samples]
    assert preprocess.batch(samples, view, (8, 9)).x[..., 0].tolist() == [[8, 8, 8, 0], [9, 9, 9, 9]]
    assert all(torch.equal(a, b) for a, b in zip(samples, before, strict=True))


def test_it_is_built_again_from_json() -> None:
    preprocess = Tokens(WORDPIECE, 8, 7, 4, "windows")
    again = tokens(json.loads(json.dumps(preprocess.json())))
    assert again == preprocess and preprocess.json()["kind"] == "tokens"
    assert again.vocabulary["film"] == ID["film"]


def test_padding_and_truncation_that_the_file_asks_for_are_not_ours() -> None:
    library = tokenizers.Tokenizer.from_str(WORDPIECE)
    library.enable_padding(length=30)
    library.enable_truncation(4)
    preprocess = Tokens(str(library.to_str()), 16)
    assert len(preprocess.sample(Text("the film was good ."))) == 7
    assert preprocess.cut(Text("👍 " * 20)) == 6


MIXED = [Text("the film was good " * 3), Text("a city"), Text("👍 " * 20), Text(""), Text("the", "unknown film ."),
         Text("a b", None, ("a", "unknown", "我")), Text("the film", "a city " * 9)]  # fmt: skip


@pytest.mark.parametrize("tokenizer", [WORDPIECE, BYTES])
@pytest.mark.parametrize("long", ["truncate", "windows"])
@pytest.mark.parametrize("count", [len(MIXED), 4, 0])
def test_many_samples_and_cuts_are_each_of_them(tokenizer: str, long: str, count: int) -> None:
    """With pairs and words among them, and without."""
    preprocess = made(20, long, tokenizer)
    texts = [text for text in MIXED if long == "truncate" or text.pair is None or len(text.text) < 4][:count]
    found = preprocess.samples(texts)
    assert len(found) == len(texts)
    for text, sample in zip(texts, found, strict=True):
        assert torch.equal(sample, preprocess.sample(text)) and sample.dtype is torch.int32
    assert preprocess.cuts(texts) == [preprocess.cut(text) for text in texts]


def test_cuts_of_more_texts_than_are_encoded_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graft.backbones._tokens.MANY", 3)
    texts = [Text("a " * count) for count in range(20)]
    assert all(map(torch.equal, made(8).samples(texts), map(made(8).sample, texts)))
    assert made(8).cuts(texts) == [max(0, count - 6) for count in range(20)]
