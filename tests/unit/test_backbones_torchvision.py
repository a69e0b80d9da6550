"""The cut of torchvision's models: stages in order, then the head, are the whole model."""

import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms.v2.functional import center_crop

from graft.backbones._torchvision import model_names, network
from graft.backbones.torchvision import torchvision
from graft.errors import ResourceError, UsageError
from graft.types import Inputs

torch.set_num_threads(1)

FAST = {"alexnet": 96, "vgg16": 48, "resnet18": 64, "resnet50": 64, "inception_v3": 96, "densenet121": 64,
        "mobilenet_v3_small": 64, "efficientnet_b0": 64, "convnext_tiny": 64, "swin_t": 64,
        "vit_b_16": 224}  # fmt: skip
OTHERS = {"googlenet": 64, "mobilenet_v2": 64, "mnasnet0_5": 64, "regnet_y_400mf": 64, "shufflenet_v2_x0_5": 64,
          "squeezenet1_1": 64, "swin_v2_t": 64, "maxvit_t": 224}  # fmt: skip
WITHOUT_EXACT_HEAD = ("alexnet", "vgg16", "squeezenet1_1")


@pytest.mark.parametrize("name", [*FAST, *OTHERS])
def test_stages_then_head_are_the_model(name: str) -> None:
    torch.manual_seed(0)
    net = network(name)
    with torch.no_grad():
        for parameter in net.model.parameters():
            if not parameter.any():  # a head of zeros would agree with anything
                parameter.normal_(0, 0.02)
        size = (FAST | OTHERS)[name]
        image, cut = torch.randn(1, 3, size, size), net.cut(net.model)
        x = image
        for stage in cut.stages:
            x = stage(x)
        pooled = cut.readout(Inputs(x)).pooled
        assert pooled.shape == (1, cut.dim)
        assert len(cut.stages) >= 3
        if name in WITHOUT_EXACT_HEAD:
            assert cut.head is None
            torch.testing.assert_close(x, net.model.features(image))
        else:
            assert cut.head is not None
            torch.testing.assert_close(cut.head(pooled), net.model(image))


@pytest.mark.parametrize("name", ["resnet18", "convnext_tiny", "vit_b_32", "alexnet"])
def test_trunk_and_head_share_nothing_and_lose_nothing(name: str) -> None:
    net = network(name)
    trunk = sum(p.numel() for p in nn.ModuleList(net.cut(net.model).stages).parameters())
    kept = sum(p.numel() for key, p in net.model.named_parameters() if not key.startswith(net.head_names))
    assert trunk == kept


def test_random_weights_touch_neither_network_nor_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graft.backbones._weights.download", lambda url: pytest.fail("a download"))
    made = torchvision("resnet18", pretrained=False)
    assert str(made.info.source) == "torchvision:resnet18" and made.info.sha256 == ""
    assert made.heads == {} and made.info.dim == 512
    assert made.info.parameters == sum(p.numel() for p in made.stages.parameters())


def test_preprocessing_is_that_of_the_published_weights() -> None:
    from torchvision.models import ResNet18_Weights

    made = torchvision("resnet18", pretrained=False)
    image = Image.effect_noise((300, 260), 60).convert("RGB")
    ours, theirs = made.prepare([image]).x[0], ResNet18_Weights.DEFAULT.transforms()(image)
    assert (ours - theirs).abs().max() < 0.03  # one grey level is 0.017: they resize, and so do we


def test_inception_renormalises_in_the_preprocessing_instead_of_in_the_model() -> None:
    from torchvision.models import Inception_V3_Weights, inception_v3

    preprocess = torchvision("inception_v3", pretrained=False).preprocess
    record = preprocess.json()
    assert (record["size"], record["resize"], record["mean"]) == (299, 342, (0.5,) * 3)
    pixels = torch.randint(0, 256, (1, 3, 342, 342), dtype=torch.uint8)
    model = inception_v3(weights=None, init_weights=False, transform_input=True)
    weights = Inception_V3_Weights.DEFAULT.transforms()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (weights.mean, weights.std))
    outer = (center_crop(pixels, [299]).float() / 255 - mean) / std
    torch.testing.assert_close(preprocess.batch(pixels).x, model._transform_input(outer), atol=1e-5, rtol=1e-4)


def test_size_scales_the_canvas_and_is_part_of_the_source() -> None:
    made = torchvision("resnet18", size=112, pretrained=False)
    assert (made.preprocess.json()["size"], made.preprocess.json()["resize"]) == (112, 128)
    assert str(made.info.source) == "torchvision:resnet18(size=112)"


def test_errors_say_what_to_do() -> None:
    with pytest.raises(UsageError) as error:
        torchvision("resnet19")
    assert "did you mean" in error.value.hint
    with pytest.raises(UsageError) as error:
        torchvision("vit_b_16", size=160, pretrained=False)
    assert error.value.hint == "size=224"
    with pytest.raises(UsageError):
        torchvision("inception_v3", size=32, pretrained=False)
    with pytest.raises(UsageError):
        torchvision("resnet18", weights="IMAGENET22K", pretrained=False)


def test_offline_without_cache_names_the_choices(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("GRAFT_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ResourceError) as error:
        torchvision("shufflenet_v2_x0_5")
    for choice in ("bundled:", "local:", "toy", "pretrained=False"):
        assert choice in error.value.hint


@pytest.mark.parametrize("name", ["mnasnet0_5", "densenet121", "inception_v3"])
def test_a_cached_file_is_loaded_and_named_by_its_content(monkeypatch, tmp_path, name: str) -> None:
    """The cache holds a file as torchvision publishes it: old names, auxiliary heads and all."""
    import torchvision as library

    monkeypatch.setenv("GRAFT_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    options = {"init_weights": False} if name == "inception_v3" else {}
    model = library.models.get_model(name, weights=None, **options)
    state = model.state_dict()
    if name == "densenet121":
        state = {key.replace("norm1", "norm.1").replace("conv2", "conv.2"): value for key, value in state.items()}
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(state, folder / library.models.get_model_weights(name).DEFAULT.url.rpartition("/")[2])
    made = torchvision(name)
    again = torchvision(name, pretrained=False)
    assert list(made.state_dict()) == list(again.state_dict())
    assert len(made.info.sha256) == 64 and "ImageNet" in made.info.pretrained_on
    made.eval(), model.eval()
    x = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(made.heads["classes"](made(Inputs(x)).pooled), model(x))


@pytest.mark.slow
@pytest.mark.parametrize("name", model_names())
def test_every_model_builds(name: str) -> None:
    net = network(name)
    cut = net.cut(net.model)
    fixed = type(net.model).__name__ in ("VisionTransformer", "MaxVit")
    size = net.preprocess.size if fixed else 96
    with torch.inference_mode():
        x = torch.randn(2, 3, size, size)
        for stage in cut.stages:
            x = stage(x)
        assert cut.readout(Inputs(x)).pooled.shape == (2, cut.dim)
