"""The recurrent network: padding, vocabulary, vectors, freezing, and that it learns."""

import json

import pytest
import torch
from torch import nn

from graft.backbones.lstm import ENOUGH, MaxMean, lstm
from graft.errors import DataError, UsageError
from graft.nn.lstm import BiLSTM, Lookup
from graft.types import Inputs, Text

torch.set_num_threads(1)

TEXTS = [Text("The film was good, very good!"), Text("The film was bad."), Text("was it?", "Good film")]


def made(**options):
    torch.manual_seed(0)
    return lstm(**{"dim": 8, "hidden": 4, "corpus": lambda: TEXTS, **options})


def test_a_layer_is_that_of_pytorch_for_each_text_alone() -> None:
    torch.manual_seed(0)
    layer = BiLSTM(6, 5, 0.5).eval()
    x, sizes = torch.randn(3, 7, 6), [7, 1, 4]
    mask = torch.arange(7) < torch.tensor(sizes)[:, None]
    out = layer(x, mask)
    assert out.shape == (3, 7, 10)
    for row, size in enumerate(sizes):
        alone = layer.lstm(x[row : row + 1, :size])[0][0]
        torch.testing.assert_close(out[row, :size], alone)
        assert (out[row, size:] == 0).all()


def test_what_lies_in_the_padding_changes_nothing() -> None:
    layer = BiLSTM(6, 5, 0.0).eval()
    x, mask = torch.randn(2, 5, 6), torch.arange(5) < torch.tensor([[5], [2]])
    noise = x.clone()
    noise[1, 2:] = 1e6
    torch.testing.assert_close(layer(noise, mask), layer(x, mask))


def test_a_text_is_the_same_beside_a_longer_one() -> None:
    backbone = made().eval()
    together = backbone(backbone.prepare(TEXTS))
    for row, text in enumerate(TEXTS):
        alone = backbone(backbone.prepare([text]))
        torch.testing.assert_close(together.pooled[row : row + 1], alone.pooled)
        torch.testing.assert_close(together.tokens[row, : alone.tokens.shape[1]], alone.tokens[0])


def test_pooled_is_maximum_and_mean_and_tokens_are_as_wide() -> None:
    x, mask = torch.randn(2, 4, 3), torch.tensor([[True] * 4, [True, True, False, False]])
    found = MaxMean()(Inputs(x, mask))
    want = torch.cat([x[1, :2].amax(0), x[1, :2].mean(0)])
    torch.testing.assert_close(found.pooled[1], want)
    torch.testing.assert_close(found.tokens[1, 1], torch.cat([x[1, 1], x[1, :2].mean(0)]))
    backbone = made()
    features = backbone(backbone.prepare(TEXTS))
    assert features.pooled.shape == (3, backbone.info.dim) == (3, 16) and features.tokens.shape == (3, 8, 16)


def test_the_stages_are_the_table_and_the_layers() -> None:
    backbone = made(layers=3)
    assert [type(stage) for stage in backbone.stages] == [Lookup, BiLSTM, BiLSTM, BiLSTM]
    assert [stage.lstm.input_size for stage in list(backbone.stages)[1:]] == [8, 8, 8]
    assert (backbone.info.lr, backbone.info.sha256, backbone.info.modality) == (1e-3, "", "text")


def test_forget_gates_begin_open() -> None:
    bias = BiLSTM(3, 4, 0.0).lstm.bias_ih_l0_reverse
    assert (bias[4:8] == 1).all() and not (bias[:4] == 1).any()


# -------------------------------------------------------------------------------------------------------- vocabulary


def test_the_vocabulary_is_by_frequency_and_not_by_the_order_of_the_texts() -> None:
    words = made().preprocess.words
    assert words == ("<unk>", "film", "good", "was", "the", "!", ",", ".", "?", "bad", "it", "very")
    assert made(corpus=lambda: TEXTS[::-1]).preprocess.words == words


def test_the_vocabulary_has_a_limit() -> None:
    assert made(vocabulary=2).preprocess.words == ("<unk>", "film", "good")


def test_words_that_come_once_are_left_out_where_there_are_enough() -> None:
    often = " ".join(f"w{i} w{i}" for i in range(ENOUGH))
    assert "once" not in made(corpus=lambda: [Text(often), Text("once")]).preprocess.words
    few = " ".join(f"w{i} w{i}" for i in range(ENOUGH - 1))
    assert "once" in made(corpus=lambda: [Text(few), Text("once")]).preprocess.words


def test_it_is_made_of_texts() -> None:
    with pytest.raises(UsageError, match="training texts") as error:
        lstm()
    assert "graft fit" in error.value.hint
    with pytest.raises(DataError, match="no words"):
        lstm(corpus=lambda: [Text(""), Text("  ")])


@pytest.mark.parametrize("option", [{"layers": 0}, {"hidden": 0}, {"dim": -1}, {"vocabulary": 0}, {"dropout": 1.0}])
def test_sizes_that_make_no_network(option) -> None:
    with pytest.raises(UsageError) as error:
        made(**option)
    assert next(iter(option)) in error.value.what and error.value.hint


# ----------------------------------------------------------------------------------------------------------- vectors


def test_words_begin_as_the_vectors_of_a_file(tmp_path) -> None:
    (tmp_path / "v.txt").write_text("Good 1 2 3\ngood 4 5 6\nthe 7 8 9\nother 1 1 1\n")
    backbone = made(vectors=str(tmp_path / "v.txt"))
    weight, words = backbone.stages[0].table.weight, backbone.preprocess.words
    assert weight.shape == (len(words) + 1, 3) and "other" not in words
    assert weight[1 + words.index("good")].tolist() == [4, 5, 6] and weight[1 + words.index("the")].tolist() == [
        7,
        8,
        9,
    ]
    assert (weight[:2] == 0).all() and (weight[1 + words.index("film")] != 0).all()
    assert len(backbone.info.sha256) == 64
    blank = made(vectors=str(tmp_path / "v.txt"), pretrained=False)
    assert blank.info.sha256 == "" and blank.stages[0].table.weight.shape == weight.shape
    assert blank.stages[0].table.weight[1 + words.index("good")].tolist() != [4, 5, 6]


def test_a_rebuild_needs_neither_texts_nor_vectors(tmp_path) -> None:
    (tmp_path / "v.txt").write_text("good 4 5 6\nthe 7 8 9\n")
    backbone = made(vectors=str(tmp_path / "v.txt"), layers=1).eval()
    (tmp_path / "v.txt").unlink()
    config = json.loads(json.dumps(backbone.info.config))
    again = backbone.info.source.with_options(pretrained=False, config=config).bind(lstm).eval()
    again.load_state_dict(backbone.state_dict())
    x = backbone.prepare(TEXTS)
    assert torch.equal(again(x).pooled, backbone(x).pooled) and again.info.dim == backbone.info.dim


# ---------------------------------------------------------------------------------------------------------- training


def test_it_learns_what_depends_on_order() -> None:
    """ "a b" against "b a": no bag of words can tell them apart."""
    torch.manual_seed(0)
    texts = [Text(("x " * (i % 3)) + ("a b" if i % 2 else "b a") + " y" * (i % 4)) for i in range(24)]
    backbone = made(corpus=lambda: texts, hidden=8)
    head, targets = nn.Linear(32, 2), torch.arange(24) % 2
    optimizer = torch.optim.AdamW([*backbone.parameters(), *head.parameters()], lr=1e-2)
    x = backbone.prepare(texts)
    for _ in range(40):
        loss = nn.functional.cross_entropy(head(backbone(x).pooled), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    backbone.eval()
    assert (head(backbone(x).pooled).argmax(1) == targets).all()


def test_half_precision_on_a_processor() -> None:
    backbone = made().eval()
    x = backbone.prepare(TEXTS)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        rounded = backbone(x).pooled
    torch.testing.assert_close(rounded.float(), backbone(x).pooled, rtol=0.05, atol=0.02)
