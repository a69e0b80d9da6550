"""What every backbone promises, whatever its source: discovered from the registry."""

import pytest
import torch
from PIL import Image

from graft.registry import find, names
from graft.spec import parse
from graft.types import Inputs

torch.set_num_threads(1)

EXAMPLES = {  # a small one of each source that needs a name; sources without one are run as they are
    "torchvision": "torchvision:mobilenet_v3_small(size=64)",
    "timm": "timm:vit_tiny_patch16_224(size=64)",
    "local": "local(arch='resnet_cifar(depth=8)')",
    "transformers": None,  # needs a folder: tests/unit/test_backbones_transformers.py
    "bundled": "bundled:tiny64",
}
SPECS = [spec for spec in (EXAMPLES.get(name, name) for name in sorted(names("backbone"))) if spec is not None]


def build(text: str):
    spec = parse(text).with_options(pretrained=False)
    torch.manual_seed(0)
    return spec.bind(find("backbone", spec.name))


@pytest.fixture(scope="module", params=SPECS)
def backbone(request):
    return build(request.param)


def _inputs(backbone, count: int = 3) -> Inputs:
    torch.manual_seed(1)
    return backbone.prepare(Image.effect_noise((90 + 10 * i, 80), 50).convert("RGB") for i in range(count))


def test_features_have_the_promised_width(backbone) -> None:
    features = backbone.eval()(_inputs(backbone))
    assert features.pooled.shape == (3, backbone.info.dim) and features.pooled.isfinite().all()


def test_the_source_rebuilds_it_offline(backbone, monkeypatch) -> None:
    monkeypatch.setenv("GRAFT_OFFLINE", "1")
    again = build(str(backbone.info.source))
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in backbone.state_dict().items()}
    assert again.preprocess.json() == backbone.preprocess.json() and again.info.dim == backbone.info.dim
    again.load_state_dict(backbone.state_dict())
    x = _inputs(backbone)
    torch.testing.assert_close(again.eval()(x).pooled, backbone.eval()(x).pooled)


def test_a_prefix_can_run_once_and_be_kept(backbone) -> None:
    backbone.eval()
    x = _inputs(backbone)
    for boundary in {0, 1, len(backbone.stages)}:
        kept = backbone.encode(x, stop=boundary)
        torch.testing.assert_close(backbone(kept, start=boundary).pooled, backbone(x).pooled)


def test_each_sample_is_seen_alone_in_eval_mode(backbone) -> None:
    backbone.eval()
    x = _inputs(backbone)
    alone = torch.cat([backbone(Inputs(x.x[i : i + 1])).pooled for i in range(3)])
    torch.testing.assert_close(alone, backbone(x).pooled, rtol=1e-3, atol=1e-4)


def test_evaluation_changes_no_buffer_and_the_input_is_left_alone(backbone) -> None:
    backbone.eval()
    before, x = {k: v.clone() for k, v in backbone.state_dict().items()}, _inputs(backbone)
    pixels = x.x.clone()
    with torch.no_grad():
        backbone(x)
    assert torch.equal(pixels, x.x)
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())


def test_no_parameter_is_in_two_stages_and_the_count_is_right(backbone) -> None:
    named = list(backbone.named_parameters(remove_duplicate=False))
    assert len({id(p) for _, p in named}) == len(named)
    assert backbone.info.parameters == sum(p.numel() for _, p in named)


def test_gradients_reach_every_stage(backbone) -> None:
    if not backbone.info.parameters:
        pytest.skip("nothing to train")
    backbone.train()
    backbone(_inputs(backbone)).pooled.square().sum().backward()
    for stage in backbone.stages:
        params = list(stage.parameters())
        assert not params or any(p.grad is not None for p in params)
    backbone.zero_grad()


def test_random_weights_bring_no_head(backbone) -> None:
    assert backbone.heads == {} and backbone.info.sha256 in ("", None)
