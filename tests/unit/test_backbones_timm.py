"""timm's models, cut by a guess that is proved: the features are those that timm gives its own classifier."""

import pytest
import timm as library
import torch
from safetensors.torch import save_file

from graft.backbones import timm as source
from graft.backbones._split import NOTE
from graft.backbones.timm import timm
from graft.errors import ResourceError, UsageError
from graft.types import Inputs

torch.set_num_threads(1)

SPLIT = {"resnet18": 5, "convnext_atto": 6, "vit_tiny_patch16_224": 14, "swin_tiny_patch4_window7_224": 5,
         "efficientnet_lite0": 8, "mobilenetv3_small_050": 8, "regnetx_002": 5, "resmlp_12_224": 13,
         "deit_tiny_distilled_patch16_224": 15, "levit_128s": 4}  # fmt: skip


def _with_file(monkeypatch, tmp_path, name: str):
    """A model with random weights, and its file where the hub's cache would have it."""
    torch.manual_seed(0)
    model = library.create_model(name).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.02)
    file = tmp_path / "model.safetensors"
    save_file(model.state_dict(), file)
    monkeypatch.setattr(source, "hub_file", lambda repository, filename: file)
    return model


@pytest.mark.parametrize("name", [*SPLIT, "cait_xxs24_224"])
def test_features_and_scores_are_those_of_timm(monkeypatch, tmp_path, name: str) -> None:
    model = _with_file(monkeypatch, tmp_path, name)
    made = timm(name).eval()
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        pooled = made(Inputs(x)).pooled
        torch.testing.assert_close(pooled, model.forward_head(model.forward_features(x), pre_logits=True))
        if "classes" in made.heads:
            torch.testing.assert_close(made.heads["classes"](pooled), model(x))
    assert pooled.shape == (1, made.info.dim)
    assert len(made.stages) == SPLIT.get(name, 1)
    assert (NOTE in made.info.notes) == (name not in SPLIT)
    rebuilt = made.info.source.with_options(pretrained=False).bind(timm)
    assert list(rebuilt.state_dict()) == list(made.state_dict())


def test_no_parameter_is_in_two_stages() -> None:
    for name in ("vit_tiny_patch16_224", "convnext_atto", "mobilenetv3_small_050"):
        named = list(timm(name, pretrained=False).named_parameters(remove_duplicate=False))
        assert len({id(p) for _, p in named}) == len(named)


def test_preprocessing_is_timms() -> None:
    record = timm("vit_tiny_patch16_224", pretrained=False).preprocess.json()
    assert (record["size"], record["resize"], record["interpolation"]) == (224, 248, "bicubic")
    assert record["mean"] == (0.5, 0.5, 0.5)


def test_size_reaches_position_embeddings() -> None:
    made = timm("vit_tiny_patch16_224", pretrained=False, size=64)
    assert made(Inputs(torch.randn(2, 3, 64, 64))).pooled.shape == (2, 192)
    assert made.info.source.options == {"size": 64}


def test_errors_say_what_to_do(monkeypatch, tmp_path) -> None:
    with pytest.raises(UsageError) as error:
        timm("resnet1888")
    assert "did you mean" in error.value.hint
    monkeypatch.setenv("GRAFT_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ResourceError) as missing:
        timm("mobilenetv3_small_050")
    assert "bundled:" in missing.value.hint
