"""A BERT from scratch: its vocabulary is made of the texts, the same each time, and leaves no text unknown."""

from __future__ import annotations

import pytest
import torch

from graft.backbones._rebuild import preprocess, rebuild
from graft.backbones._tokens import Tokens
from graft.backbones.bert import SPECIAL, bert, tokenizer
from graft.device import seeded
from graft.errors import DataError, UsageError
from graft.run import info_json
from graft.types import Backbone, Text

torch.set_num_threads(1)
TEXTS = [Text(f"The {a} cat saw the {b} dog!", f"Did the {b} dog see {a}?") for a in ("old", "red", "big", "shy")
         for b in ("wet", "sad", "odd", "dry")]  # fmt: skip


def make(seed: int = 0, **options: int) -> Backbone:
    sizes = {"layers": 2, "dim": 16, "heads": 2, "vocabulary": 300, "length": 12} | options
    with seeded(seed):
        return bert(**sizes, corpus=lambda: iter(TEXTS))  # type: ignore[arg-type]


def read(text: str) -> Tokens:
    return Tokens(text, 64, mask=SPECIAL.index("[MASK]"))


def test_the_vocabulary_is_the_same_for_the_same_texts() -> None:
    """The library's WordPiece trainer fails this: it numbers letters in the order of a hash table."""
    assert len({tokenizer(lambda: iter(TEXTS), size) for size in (300,) * 5}) == 1
    vocabulary = read(tokenizer(lambda: iter(TEXTS), 270)).vocabulary
    assert len(vocabulary) == 270 and [vocabulary[token] for token in SPECIAL] == [0, 1, 2, 3, 4]


def test_no_text_is_unknown_and_places_are_those_of_the_text() -> None:
    tokens, text = read(tokenizer(lambda: iter(TEXTS), 300)), "the Dög — 日本 🙂 zebra"
    rows = tokens.sample(Text(text))
    assert rows[0, 0] == 2 and rows[-1, 0] == 3 and (rows[:, 0] != 1).all()
    assert {text[start:end] for start, end in rows[1:-1, 2:].tolist()} >= {"the", "—", "日", "🙂", "z"}
    pair = tokens.sample(Text("the cat", "the dog"))
    assert pair[:, 1].tolist() == [0] * 4 + [1] * 3 and pair[-1, 0] == 3


def test_both_texts_of_a_pair_make_the_vocabulary() -> None:
    assert "Ġdid" in read(tokenizer(lambda: iter(TEXTS), 330)).vocabulary


def test_features_and_stages() -> None:
    made = make().eval()
    inputs = made.prepare([Text("the cat"), Text("the old dog saw the red cat and the wet dog of the sad cat")])
    features = made(inputs)
    assert features.pooled.shape == (2, 16) and features.tokens.shape[2] == 16 and features.pooled.isfinite().all()
    assert len(made.stages) == 3 and not made.info.notes and not made.info.sha256
    torch.testing.assert_close(made(made.encode(inputs, stop=2), start=2).pooled, features.pooled)
    assert made.info.parameters == sum(p.numel() for p in made.parameters())
    assert made.heads["words"].weight is next(p for p in made.parameters() if p.shape[0] == len(vocabulary(made)))


def vocabulary(made: Backbone) -> dict[str, int]:
    assert isinstance(made.preprocess, Tokens)
    return made.preprocess.vocabulary


def test_weights_depend_on_the_seed() -> None:
    first, again, other = make(1).state_dict(), make(1).state_dict(), make(2).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_rebuild_needs_no_texts() -> None:
    made = make().eval()
    again = rebuild(info_json(made.info)).eval()
    again.preprocess = preprocess(made.preprocess.json())
    again.load_state_dict(made.state_dict())
    raws = [Text("the old cat"), Text("a dog")]
    torch.testing.assert_close(again(again.prepare(raws)).pooled, made(made.prepare(raws)).pooled)
    assert again.info == made.info


def test_a_small_corpus_has_a_smaller_vocabulary() -> None:
    made = make(vocabulary=8000)
    assert len(vocabulary(made)) < 400 and made.info.config["model"]["vocab_size"] == len(vocabulary(made))


@pytest.mark.parametrize("bad", [{"layers": 0}, {"dim": 15}, {"heads": 0}, {"vocabulary": 260}, {"length": 7}])
def test_sizes_that_cannot_be(bad: dict[str, int]) -> None:
    with pytest.raises(UsageError) as caught:
        make(**bad)
    assert caught.value.hint


def test_it_takes_texts_and_nothing_else() -> None:
    with pytest.raises(UsageError, match="makes its vocabulary from texts"):
        bert()
    with pytest.raises(DataError, match="bert is for text"):
        bert(corpus=lambda: ["a picture"])
