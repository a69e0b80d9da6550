"""LoRA on small transformers: what it adapts, that folding changes nothing, and that a cut run ends the same."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from graft import phase as phase_module
from graft.backbones.pixels import pixels
from graft.backbones.transformers import transformers
from graft.checkpoint import Checkpoints
from graft.errors import MissingExtra, UsageError
from graft.features import Feed
from graft.recipe import Recipe
from graft.strategies import lora as module
from graft.strategies.lora import in_attention, lora
from graft.tasks.classification import classification
from graft.train import Loop
from graft.types import Backbone, Dataset, Flow, Inputs, Json, Model, Sample, Text

peft = pytest.importorskip("peft", reason="needs peft")
library = pytest.importorskip("transformers", reason="needs transformers")
torch.set_num_threads(1)

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxy"]
SIZES = {"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
         "intermediate_size": 24, "max_position_embeddings": 40, "pad_token_id": 0}  # fmt: skip
DISTIL = {"vocab_size": 30, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "pad_token_id": 0,
          "max_position_embeddings": 40}  # fmt: skip
RELATIVE = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "max_relative_positions": 8}
ENCODERS = [  # the configuration, and how many layers of attention each of two layers has
    (lambda: library.BertConfig(**SIZES), 4),
    (lambda: library.RobertaConfig(**SIZES), 4),
    (lambda: library.MPNetConfig(**SIZES), 4),
    (lambda: library.DistilBertConfig(**DISTIL), 4),
    (lambda: library.DebertaV2Config(**SIZES, **RELATIVE), 6),
]
RECIPE = Recipe("made", task="classification", batch_size=8, ema=0.9, schedule="constant")


class Killed(Exception):
    """Stands for a power cut."""


def folder(path: Path, config: object = None) -> str:
    """An encoder of random weights and a tokeniser of letters, as save_pretrained writes them."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    words = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    words.post_processor = TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        library.AutoModel.from_config(config or ENCODERS[0][0]()).save_pretrained(path)
    words.save(str(path / "tokenizer.json"))
    return str(path)


def dataset(size: int, seed: int) -> Dataset:
    """Texts of letters: those of one class have more of its letter."""
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for i in range(size):
        letters = torch.randint(0, 25, (7,), generator=generator).tolist()
        text = " ".join([chr(97 + j) for j in letters] + ["xy"[i % 2]] * 2)
        samples.append(Sample(f"{seed}/{i}", Text(text), "xy"[i % 2], digest=f"{seed}-{i}"))
    return Dataset("made", "text", tuple(samples), ("x", "y"), lambda s: s.source, lambda s: s.source.text.encode())


def model_of(backbone: Backbone) -> Model:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Model(backbone.eval(), nn.Linear(backbone.info.dim, 2))


def texts(backbone: Backbone) -> Inputs:
    return backbone.prepare([Text("a b c x y"), Text("y y")])


def drive(flow: Flow) -> None:
    """To its end, as if its last phase had been trained."""
    with pytest.raises(StopIteration):
        flow.send(None)  # type: ignore[arg-type]


def disturbed(model: Model, by: float = 0.3) -> list[str]:
    """Give every adapter random weights, as training would; returns their names."""
    adapters = {name: p for name, p in model.backbone.named_parameters() if ".lora_" in name}
    with torch.no_grad():
        for parameter in adapters.values():
            parameter.add_(by * torch.randn_like(parameter))
    return list(adapters)


def trained(path: str, ckpt: Path | None = None, kill_at: int = -1, recipe: Recipe = RECIPE) -> dict[str, Tensor]:
    """A run by the loop, as in a new process; with `kill_at`, dead at that event. Nothing chooses an epoch."""
    backbone, seen = transformers(path), []
    task = classification(("x", "y"))
    model = model_of(backbone)
    feeds = [Feed(dataset(size, seed), backbone, device=torch.device("cpu")) for size, seed in ((22, 0), (0, 1))]

    def tell(event: Json) -> None:
        seen.append(event)
        if len(seen) == kill_at:
            raise Killed

    loop = Loop(model, task, *feeds, recipe, Checkpoints(ckpt) if ckpt else None, tell)
    results = loop.run(lora(model, epochs=2, rank=2, dropout=0.1, lr=0.01))
    assert [result.phase for result in results] == ["head, logistic", "adapters"]
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


# ------------------------------------------------------------------------------------------------ what it comes to


@pytest.mark.parametrize(("config", "each"), ENCODERS, ids=["bert", "roberta", "mpnet", "distilbert", "deberta"])
def test_folding_changes_neither_predictions_nor_names(tmp_path, config, each) -> None:
    model = model_of(transformers(folder(tmp_path, config())))
    inputs, names, layers = texts(model.backbone), list(model.state_dict()), [type(m) for m in model.modules()]
    flow = lora(model, start=None)
    next(flow)
    before = model.backbone(inputs).pooled
    assert len(disturbed(model)) == 2 * 2 * each
    adapted = model.backbone(inputs).pooled
    assert not torch.allclose(before, adapted, atol=1e-3)
    drive(flow)
    torch.testing.assert_close(model.backbone(inputs).pooled, adapted, atol=1e-5, rtol=1e-5)
    assert list(model.state_dict()) == names and [type(m) for m in model.modules()] == layers
    assert not hasattr(model.backbone, "peft_config")


def test_folded_weights_are_the_formula(tmp_path) -> None:
    """W + (alpha / rank) * B A, Hu et al. 2021, section 4.1."""
    model = model_of(transformers(folder(tmp_path)))
    name = "stages.1.module.attention.self.query"
    flow = lora(model, rank=4, alpha=10.0, start=None)
    before = model.backbone.get_submodule(name).weight.detach().clone()
    next(flow)
    layer = model.backbone.get_submodule(name)
    assert not layer.lora_B["graft"].weight.any(), "it begins as the network came"
    disturbed(model)
    a, b = layer.lora_A["graft"].weight.detach().clone(), layer.lora_B["graft"].weight.detach().clone()
    drive(flow)
    torch.testing.assert_close(model.backbone.get_submodule(name).weight, before + 10 / 4 * b @ a)


def test_only_head_and_adapters_are_in_the_groups(tmp_path) -> None:
    model = model_of(transformers(folder(tmp_path)))
    flow = lora(model, rank=3, start=None)
    phase = next(flow)
    named = {id(p): name for name, p in model.named_parameters()}
    head, adapters = ([named[id(p)] for p in group.params] for group in phase.groups)
    assert head == ["head.weight", "head.bias"] and all(".lora_" in name for name in adapters)
    assert sum(p.numel() for p in phase.groups[1].params) == 2 * 4 * 3 * (16 + 16)
    assert [group.lr for group in phase.groups] == [5 * model.backbone.info.lr] * 2


def test_last_and_targets_choose_the_layers(tmp_path) -> None:
    path = folder(tmp_path)

    def adapted(**options) -> set[str]:
        model = model_of(transformers(path))
        flow = lora(model, start=None, **options)
        next(flow)
        return {name.partition(".lora_")[0] for name in disturbed(model)}

    assert adapted(last=1, targets=("query", "self.value")) == {
        "stages.2.module.attention.self.query",
        "stages.2.module.attention.self.value",
    }
    assert adapted(targets=("intermediate.dense",)) == {f"stages.{i}.module.intermediate.dense" for i in (1, 2)}
    assert len(adapted(targets=("dense",))) == 6


@pytest.mark.parametrize("name", [
    "layer.0.attention.self.query", "layer.0.attention.output.dense", "layer.1.attention.q_lin", "blocks.0.attn.qkv",
    "blocks.0.attn.proj", "layers.3.self_attn.o_proj", "block.0.layer.0.SelfAttention.q", "layers.0.attn.Wqkv",
])  # fmt: skip
def test_layers_of_attention_are_known_by_their_names(name: str) -> None:
    assert in_attention(name)


@pytest.mark.parametrize("name", ["layer.0.intermediate.dense", "layer.0.output.dense", "blocks.0.mlp.fc1", "attention",
                                  "layers.0.blocks.0.attn.cpb_mlp.0", "pooler.dense"])  # fmt: skip
def test_other_layers_are_no_attention(name: str) -> None:
    assert not in_attention(name)


def test_a_vision_transformer_of_timm() -> None:
    from graft.backbones.timm import timm

    model = model_of(timm("vit_tiny_patch16_224", pretrained=False))
    x, flow = Inputs(torch.randn(1, 3, 224, 224)), lora(model, start=None, last=4)
    next(flow)
    assert {name.split(".")[-4] for name in disturbed(model, 0.05)} == {"qkv", "proj"}
    with torch.no_grad():
        adapted = model.backbone(x).pooled
        drive(flow)
        torch.testing.assert_close(model.backbone(x).pooled, adapted, atol=1e-5, rtol=1e-4)


# ------------------------------------------------------------------------------------------------ chance and resuming


def test_the_global_generator_neither_matters_nor_moves(tmp_path) -> None:
    path, found = folder(tmp_path), []
    for seed in (1, 2):
        model = model_of(transformers(path))
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        flow = lora(model, start=None)
        found.append([p.detach().clone() for p in next(flow).groups[1].params])
        assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_models_can_be_copied_at_any_time(tmp_path) -> None:
    model = model_of(transformers(folder(tmp_path)))
    inputs, flow = texts(model.backbone), lora(model, start=None)
    copy.deepcopy(model)
    next(flow)
    disturbed(model)
    half = copy.deepcopy(model)
    torch.testing.assert_close(half.backbone(inputs).pooled, model.backbone(inputs).pooled)
    drive(flow)
    done = copy.deepcopy(model)
    assert done.state_dict().keys() == model.state_dict().keys() != half.state_dict().keys()


def test_an_interrupted_run_ends_with_the_same_weights(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(phase_module, "SAVE_EVERY", -1.0)
    monkeypatch.setattr("graft.checkpoint.flush", lambda path: None)
    path = folder(tmp_path / "model")
    whole = trained(path)
    for kill_at in (2, 5, 8, 12):
        with pytest.raises(Killed):
            trained(path, tmp_path / str(kill_at), kill_at)
        again = trained(path, tmp_path / str(kill_at))
        assert again.keys() == whole.keys() and all(torch.equal(again[n], whole[n]) for n in whole), kill_at


def test_training_moves_the_attention_and_the_head_and_nothing_else(tmp_path) -> None:
    path = folder(tmp_path)
    start = model_of(transformers(path)).state_dict()
    after = trained(path, recipe=replace(RECIPE, ema=0.0))
    moved = {name for name in start if not torch.equal(start[name], after[name])}
    attention = {name for name in start if in_attention(name.rpartition(".")[0]) and name.endswith("weight")}
    assert moved - attention <= {"head.0.weight", "head.weight", "head.bias"}
    assert {name for name in attention if "LayerNorm" not in name} <= moved


def test_a_flow_that_is_closed_early_leaves_the_model_as_it_was(tmp_path) -> None:
    model = model_of(transformers(folder(tmp_path)))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    flow = lora(model, start=None)
    next(flow)
    disturbed(model)
    flow.close()
    after = model.state_dict()
    assert list(after) == list(before) and all(torch.equal(after[name], before[name]) for name in before)


# ----------------------------------------------------------------------------------------------------------- mistakes


def test_a_trunk_without_attention_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(UsageError) as error:
        next(lora(Model(pixels(), nn.Linear(pixels().info.dim, 2))))
    assert "no linear layers of attention" in error.value.what and "lp_ft" in error.value.hint


def test_mistakes_say_what_would_fit(tmp_path) -> None:
    model = model_of(transformers(folder(tmp_path)))
    for options, what, hint in [
        ({"targets": ("querry",)}, "'querry'", "query"),
        ({"rank": 0}, "rank=0", "rank >= 1"),
        ({"dropout": 1.0}, "dropout=1.0", "dropout < 1"),
        ({"last": 9}, "last=9", "between 0 and 3"),
        ({"last": 0}, "no linear layers", "lp_ft"),
    ]:
        with pytest.raises(UsageError) as error:
            next(lora(model, **options))
        assert what in error.value.what and hint in error.value.hint, json.dumps(options)


def test_without_peft_the_extra_is_named(tmp_path, monkeypatch) -> None:
    model = model_of(transformers(folder(tmp_path)))

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(module.importlib, "import_module", missing)
    with pytest.raises(MissingExtra) as error:
        next(lora(model))
    assert "peft" in error.value.what and "text" in error.value.hint
