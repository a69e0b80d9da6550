"""Hidden words: their share, what takes their place, and which tokens are one word."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor

from graft.backbones._tokens import Tokens
from graft.errors import UsageError
from graft.masking import Masked
from graft.types import Text

torch.set_num_threads(1)
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = [f"w{i}" for i in range(200)]


def wordpiece(length: int = 512) -> Tokens:
    """Words w0 to w199, of which those beyond w9 are spelt in pieces: w1 ##7."""
    pieces = [*SPECIAL, *WORDS[:10], *(f"##{i}" for i in range(10))]
    made = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return finished(made, length)


def finished(made: Any, length: int = 512) -> Tokens:
    made.add_special_tokens(list(SPECIAL))
    special = [(token, made.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=special
    )
    return Tokens(made.to_str(), length, made.token_to_id("[PAD]"), made.token_to_id("[MASK]"))


def text(count: int = 200, step: int = 7) -> Text:
    return Text(" ".join(WORDS[(i * step) % 200] for i in range(count)))


def hidden(view: Tensor) -> Tensor:
    return view[:, 2] >= 0


def chosen_words(tokens: Tokens, raw: Text, **options: Any) -> tuple[list[list[int]], list[list[bool]]]:
    """Ids of each word as the tokeniser's library groups them, and whether each is hidden."""
    rows = tokens.sample(raw)
    marks = hidden(Masked(**options)(rows, tokens, 3)).tolist()
    one = Tokenizer.from_str(tokens.tokenizer).encode(raw.text)
    ids: dict[int, list[int]] = {}
    found: dict[int, list[bool]] = {}
    for i, word in enumerate(one.word_ids):
        if word is not None:
            ids.setdefault(word, []).append(one.ids[i])
            found.setdefault(word, []).append(marks[i])
    return list(ids.values()), list(found.values())


def test_what_is_hidden_comes_back_and_all_else_stays() -> None:
    tokens = wordpiece()
    rows = tokens.sample(text())
    before, view = rows.clone(), Masked()(rows, tokens, 1)
    at = hidden(view)
    assert torch.equal(rows, before) and view.dtype == rows.dtype and view.shape == rows.shape
    assert torch.equal(view[at, 2], rows[at, 0]) and torch.equal(view[~at, 0], rows[~at, 0])
    assert torch.equal(view[:, 1], rows[:, 1]) and (view[~at, 2:] == -1).all() and (view[:, 3] == -1).all()


def test_the_seed_decides() -> None:
    tokens = wordpiece()
    rows = tokens.sample(text())
    assert torch.equal(Masked()(rows, tokens, 5), Masked()(rows, wordpiece(), 5))
    assert not torch.equal(Masked()(rows, tokens, 5), Masked()(rows, tokens, 6))


def shares(views: list[tuple[Tensor, Tensor, Tensor]], mask: int, plain: int) -> list[float]:
    """Of ids, seen ids and marks: what share is hidden, and of that masked, and other than before."""
    ids, seen, marks = (torch.cat(part) for part in zip(*views, strict=True))
    masked, other = (seen == mask) & marks, (seen != mask) & (seen != ids) & marks
    return [float(marks.sum()) / plain, *(float(one.sum() / marks.sum()) for one in (masked, other))]


def test_shares_are_those_of_transformers() -> None:
    """15 %, and of these 80 % masked and 10 % random, which is itself now and then."""
    from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast

    tokens = wordpiece()
    rows, named = tokens.sample(text(400)), dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"),
                                                     SPECIAL, strict=True))  # fmt: skip
    library = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(tokens.tokenizer), **named)
    collate = DataCollatorForLanguageModeling(library, mlm_probability=0.15, seed=0)
    ids, plain = rows[:, 0], 300 * (len(rows) - 2)
    ours, theirs = [], []
    for seed in range(300):
        view = Masked(whole_words=False)(rows, tokens, seed)
        ours.append((ids, view[:, 0], hidden(view)))
        made = collate([{"input_ids": ids.tolist()}])
        theirs.append((ids, made["input_ids"][0], made["labels"][0] >= 0))
    assert tokens.mask is not None
    assert shares(ours, tokens.mask, plain) == pytest.approx(shares(theirs, tokens.mask, plain), abs=0.01)
    assert shares(ours, tokens.mask, plain) == pytest.approx([0.15, 0.8, 0.1 * 19 / 20], abs=0.01)


@pytest.mark.parametrize("share", [0.05, 0.15, 0.5])
def test_whole_words_are_hidden_in_their_share(share: float) -> None:
    tokens, rows = wordpiece(), wordpiece().sample(text(30))
    plain = len(rows) - 2
    counts = [int(hidden(Masked(share)(rows, tokens, seed)).sum()) for seed in range(2000)]
    assert sum(counts) / len(counts) / plain == pytest.approx(share, rel=0.05)
    words, marks = chosen_words(tokens, text(), share=share)
    assert max(map(len, words)) > 1 and all(len(set(one)) == 1 for one in marks) and any(one[0] for one in marks)
    _, single = chosen_words(tokens, text(), share=share, whole_words=False)
    assert any(len(set(one)) == 2 for one in single)


def byte_level() -> Tokens:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*letters, "Ġa"])}
    made = Tokenizer(models.BPE(vocabulary, [("Ġ", "a")]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return finished(made)


def sentencepiece() -> Tokens:
    pieces = [("<unk>", 0.0), ("▁", -1.0), ("▁a", -1.0), *((letter, -2.0) for letter in "abcdefghij")]
    made = Tokenizer(models.Unigram(pieces, 0, False))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    return finished(made)


@pytest.mark.parametrize("make", [byte_level, sentencepiece])
def test_words_of_vocabularies_that_mark_where_words_begin(make: Any) -> None:
    raw = Text(" ".join("".join("abcdefghij"[int(digit)] for digit in str(i)) for i in range(120, 200)))
    words, marks = chosen_words(make(), raw)
    assert len(words) == 80 and max(map(len, words)) > 2
    assert all(len(set(one)) == 1 for one in marks) and sum(one[0] for one in marks) in (12, 13)


def test_each_token_is_a_word_where_none_says_otherwise() -> None:
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="w0"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    tokens = finished(made)
    marks = hidden(Masked(0.5)(tokens.sample(text(100)), tokens, 0))[1:-1]
    assert int(marks.sum()) == 50 and (marks[1:] != marks[:-1]).sum() > 20


def test_special_tokens_are_neither_hidden_nor_drawn() -> None:
    tokens = wordpiece()
    rows = tokens.sample(Text("w1 unknown w12 [MASK] w3", "w4 unknown w5"))
    special, drawn = rows[:, 0] < len(SPECIAL), set()
    for seed in range(500):
        view = Masked(0.9)(rows, tokens, seed)
        assert not hidden(view)[special].any()
        drawn |= set(view[~special, 0].tolist())
    assert drawn == set(range(4, 25)), "the mask, or any token that is not special"


def test_both_texts_of_a_pair_have_hidden_words() -> None:
    tokens = wordpiece()
    rows = tokens.sample(Text("w1 w2 w3", "w4 w5 w6"))
    marks = torch.stack([hidden(Masked(0.5)(rows, tokens, seed)) for seed in range(50)]).any(0)
    assert torch.equal(marks, rows[:, 0] >= len(SPECIAL))


def test_one_word_at_least_and_nothing_where_there_is_none() -> None:
    tokens = wordpiece()
    assert all(hidden(Masked(0.01)(tokens.sample(Text("w3")), tokens, seed)).sum() == 1 for seed in range(50))
    rows = tokens.sample(Text("nothing known"))
    assert torch.equal(Masked()(rows, tokens, 0)[:, 0], rows[:, 0])
    assert not hidden(Masked()(rows, tokens, 0)).any()


def test_in_a_batch_of_windows_padding_stays_padding() -> None:
    tokens = dataclasses.replace(wordpiece(9), long="windows")
    samples = [tokens.sample(text(10, 1)), tokens.sample(text(3, 1))]
    plain, view = tokens.batch(samples), tokens.batch(samples, Masked(), [1, 2])
    assert plain.mask is not None and view.mask is not None and view.places is not None
    assert torch.equal(plain.mask, view.mask) and not (view.places[~view.mask] >= 0).any()
    assert len(samples[0]) == 14 and view.mask.sum() == 14 + 5
    at = view.places[..., 0] >= 0
    assert torch.equal(view.places[..., 0][at], plain.x[..., 0][at]) and at.any(1).all()


def test_without_a_mask_nothing_can_be_hidden() -> None:
    tokens = dataclasses.replace(wordpiece(), mask=None)
    with pytest.raises(UsageError, match="no token that hides"):
        Masked()(tokens.sample(text()), tokens, 0)
