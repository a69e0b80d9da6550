"""Vision encoders of transformers, from folders that save_pretrained wrote; offline."""

import json

import pytest
import torch

from graft.backbones._split import NOTE
from graft.backbones._transformers import preprocess_of
from graft.backbones.transformers import transformers
from graft.errors import DataError, ResourceError, UsageError
from graft.types import Inputs

library = pytest.importorskip("transformers", reason="needs transformers")
torch.set_num_threads(1)

VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
       "image_size": 32, "patch_size": 8}  # fmt: skip
CONV = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "image_size": 32}
SWIN = {"image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1] * 4, "layer_type": "basic"}
MODELS = [  # the class that is saved, its configuration, stages, is its head exact
    ("ViTForImageClassification", VIT, 4, True),
    ("DeiTForImageClassification", VIT, 4, True),
    ("BeitForImageClassification", VIT, 4, True),
    ("ConvNextForImageClassification", CONV, 6, True),
    ("ResNetForImageClassification", RESNET, 5, True),
    ("SwinForImageClassification", SWIN, 4, True),
    ("Dinov2ForImageClassification", VIT, 4, False),
    ("Dinov2Model", VIT, 4, False),
    ("ViTModel", VIT, 4, False),
    ("CLIPVisionModel", VIT, 4, False),
    ("SiglipVisionModel", VIT, 5, False),
    ("PvtForImageClassification", {"image_size": 64, "depths": [1] * 4, "hidden_sizes": [8, 16, 40, 64]}, 1, True),
]


def _folder(tmp_path, kind: str, options: dict, record: dict | None = None):
    """A folder as the hub has it, and the model in it; every weight is random, so that none can be forgotten."""
    factory = getattr(library, kind)
    torch.manual_seed(0)
    model = factory(factory.config_class(**options)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.1)
    model.save_pretrained(tmp_path)
    size = options.get("image_size", 32)
    usual = {"size": {"height": size, "width": size}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(record or usual))
    return model


@pytest.mark.parametrize(("kind", "options", "stages", "exact"), MODELS, ids=[m[0] for m in MODELS])
def test_features_and_scores_are_those_of_the_library(tmp_path, kind, options, stages, exact) -> None:
    model = _folder(tmp_path, kind, options)
    made = transformers(str(tmp_path)).eval()
    x = torch.randn(2, 3, *(options.get("image_size", 32),) * 2)
    with torch.no_grad():
        pooled = made(Inputs(x)).pooled
        if exact:
            torch.testing.assert_close(made.heads["classes"](pooled), model(pixel_values=x).logits)
        elif kind in ("CLIPVisionModel", "SiglipVisionModel"):
            torch.testing.assert_close(pooled, model(pixel_values=x).pooler_output)
        else:
            base = getattr(model, "dinov2", model)
            torch.testing.assert_close(pooled, base(pixel_values=x).last_hidden_state[:, 0])
    assert pooled.shape == (2, made.info.dim) and len(made.stages) == stages
    assert (NOTE in made.info.notes) == (stages == 1)


def test_a_rebuild_needs_neither_files_nor_network(tmp_path, monkeypatch) -> None:
    _folder(tmp_path / "model", "ViTForImageClassification", VIT)
    made = transformers(str(tmp_path / "model"))
    (tmp_path / "model").rename(tmp_path / "gone")
    monkeypatch.setenv("GRAFT_OFFLINE", "1")
    config = json.loads(json.dumps(made.info.config))
    again = made.info.source.with_options(pretrained=False, config=config).bind(transformers)
    assert list(again.state_dict()) == list(made.state_dict())
    again.load_state_dict(made.state_dict())
    x = Inputs(torch.randn(1, 3, 32, 32))
    torch.testing.assert_close(made.eval()(x).pooled, again.eval()(x).pooled)
    assert again.preprocess.json() == made.preprocess.json() and again.info.config == made.info.config


def test_clip_gives_the_half_that_sees(tmp_path) -> None:
    text = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
            "vocab_size": 100, "bos_token_id": 0, "eos_token_id": 1}  # fmt: skip
    record = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": True}
    model = _folder(tmp_path, "CLIPModel", {"vision_config": VIT, "text_config": text}, record)
    made = transformers(str(tmp_path)).eval()
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(made(Inputs(x)).pooled, model.vision_model(pixel_values=x).pooler_output)


def test_a_masked_autoencoder_sees_all_patches(tmp_path) -> None:
    decoder = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    _folder(tmp_path, "ViTMAEForPreTraining", VIT | {f"decoder_{key}": value for key, value in decoder.items()})
    made = transformers(str(tmp_path)).eval()
    features = made(Inputs(torch.randn(1, 3, 32, 32)))
    assert features.tokens is not None and features.tokens.shape == (1, 17, 32)


@pytest.mark.parametrize(("record", "want"), [
    ({"size": {"height": 224, "width": 224}}, (224, 224, True)),
    ({"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}, "do_center_crop": True},
     (224, 256, False)),
    ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, (224, 256, False)),
    ({"size": 384}, (384, 384, True)),
    ({}, (224, 224, True)),
])  # fmt: skip
def test_preprocessing_records(record: dict, want: tuple) -> None:
    made = preprocess_of(record, 224)
    assert (made.size, made.resize, made.squash) == want


def test_errors_say_what_to_do(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GRAFT_OFFLINE", "1")
    with pytest.raises(ResourceError) as error:
        transformers("nobody/no-such-model")
    assert "local:" in error.value.hint
    with pytest.raises(UsageError):
        transformers(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "nothing-known"}')
    with pytest.raises(UsageError):
        transformers(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(DataError):
        transformers(str(tmp_path))


def test_pickled_weights_are_refused(tmp_path) -> None:
    model = _folder(tmp_path, "ViTModel", VIT)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(DataError) as error:
        transformers(str(tmp_path))
    assert "safetensors" in error.value.hint


def test_fixed_size(tmp_path) -> None:
    _folder(tmp_path, "ViTModel", VIT)
    with pytest.raises(UsageError):
        transformers(str(tmp_path), size=64)
