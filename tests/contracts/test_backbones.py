"""What every backbone promises, whatever its source: discovered from the registry."""

import json
from functools import partial
from inspect import signature

import numpy as np
import pytest
import torch
from PIL import Image

from graft.errors import MissingExtra
from graft.registry import find, names
from graft.spec import parse
from graft.types import Backbone, Inputs, Sound, Text

torch.set_num_threads(1)

EXAMPLES = {  # a small one of each source that needs a name; sources without one are run as they are
    "torchvision": "torchvision:mobilenet_v3_small(size=64)",
    "timm": "timm:vit_tiny_patch16_224(size=64)",
    "local": "local(arch='resnet_cifar(depth=8)')",
    "transformers": None,  # needs a folder: tests/unit/test_backbones_transformers.py, test_backbones_text.py
    "bundled": "bundled:tiny64",
    "trained": None,  # needs a run folder
    "vectors": "vectors:{folder}/vectors.txt",
    "lstm": "lstm(dim=12, hidden=8)",
    "spectrogram": "spectrogram(trunk='toy')",
    "cnn_tdnn": "cnn_tdnn(dim=16, widths=(4, 8), blocks=1)",
}
SPECS = [spec for spec in (EXAMPLES.get(name, name) for name in sorted(names("backbone"))) if spec is not None]
TEXTS = (Text("The film was good, and long. " * 3), Text("Bad!"), Text("Was it good?", "The film was not good."))


def _sound(seconds: float, rate: int) -> Sound:
    wave = np.random.default_rng(int(100 * seconds)).standard_normal(int(seconds * rate)).astype(np.float32)
    return Sound(rate, len(wave), 1, lambda start, stop: wave[start:stop])


SOUNDS = (_sound(0.3, 8000), _sound(1.7, 44_100), _sound(0.62, 16_000))


def build(text: str) -> Backbone:
    """Sources that are made from the training texts get some."""
    spec = parse(text).with_options(pretrained=False)
    torch.manual_seed(0)
    source = find("backbone", spec.name)
    try:
        return spec.bind(partial(source, corpus=lambda: TEXTS) if "corpus" in signature(source).parameters else source)
    except MissingExtra as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module", params=SPECS)
def backbone(request, tmp_path_factory) -> Backbone:
    folder = tmp_path_factory.mktemp("weights")
    (folder / "vectors.txt").write_text("the 1 2 3\ngood 4 5 6\nfilm 7 8 9\nbad 3 2 1\n")
    return build(request.param.format(folder=folder))


def _inputs(backbone) -> Inputs:
    """Three samples; texts and sounds are of unequal lengths."""
    torch.manual_seed(1)
    if backbone.info.modality == "audio":
        return backbone.prepare(SOUNDS)
    if backbone.info.modality == "text":
        return backbone.prepare(TEXTS)
    return backbone.prepare(Image.effect_noise((90 + 10 * i, 80), 50).convert("RGB") for i in range(3))


def _row(inputs: Inputs, row: int) -> Inputs:
    return Inputs(*(None if part is None else part[row : row + 1] for part in inputs))


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
    alone = torch.cat([backbone(_row(x, i)).pooled for i in range(3)])
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
    """A table of words is no head, but what one is tied to."""
    assert backbone.heads.keys() <= {"words"} and backbone.info.sha256 == ""


def test_what_info_holds_rebuilds_it_without_its_files(backbone, tmp_path, monkeypatch) -> None:
    """As a run folder does: config, weights and preprocessing, all through JSON and safetensors."""
    config = json.loads(json.dumps(backbone.info.config))
    if not config:
        pytest.skip("its source says it all")
    monkeypatch.chdir(tmp_path)
    spec = parse(str(backbone.info.source).replace("/", "/gone/", 1)).with_options(pretrained=False, config=config)
    again = spec.bind(find("backbone", spec.name))
    again.load_state_dict(backbone.state_dict())
    x = _inputs(backbone)
    torch.testing.assert_close(again.eval()(x).pooled, backbone.eval()(x).pooled)
    assert again.info.dim == backbone.info.dim and again.info.config == config


def test_views_of_a_text_belong_together(backbone) -> None:
    if backbone.info.modality != "text":
        pytest.skip("images are of one size")
    assert backbone.preprocess.ragged
    samples = [backbone.preprocess.sample(text) for text in TEXTS]
    x = backbone.preprocess.batch(samples)
    assert [int(count) for count in x.mask.sum(1)] == [len(sample) for sample in samples]
    features = backbone.eval()(x)
    if features.tokens is not None:
        assert features.tokens.shape == (*x.mask.shape, backbone.info.dim) and features.places.shape[:2] == x.mask.shape
        assert torch.equal(features.mask, x.mask)
    assert backbone.preprocess.sample(Text("")).ndim == 2 and len(backbone.preprocess.sample(Text(""))) >= 1


def test_positions_of_a_sound_are_those_of_its_batch(backbone) -> None:
    if backbone.info.modality != "audio":
        pytest.skip("no sounds")
    preprocess = backbone.preprocess
    samples = [preprocess.sample(sound) for sound in SOUNDS]
    x = preprocess.batch(samples)
    positions = [preprocess.positions(sample) for sample in samples]
    assert x.x.shape[:2] == x.mask.shape and x.mask.sum(1).tolist() == positions and max(positions) == x.mask.shape[1]
    hidden = backbone.eval().encode(x)
    assert hidden.x.shape[:2] == x.mask.shape, "every stage keeps the positions"


def test_a_batch_with_a_longer_sample_changes_nothing(backbone) -> None:
    several = {"text": TEXTS, "audio": SOUNDS}.get(backbone.info.modality, ())
    if not several:
        pytest.skip("images are of one size")
    together = backbone.eval()(_inputs(backbone)).pooled
    alone = torch.cat([backbone(backbone.prepare([one])).pooled for one in several])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)
