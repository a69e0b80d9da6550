"""Pixels: torchvision's in prediction, a pure function of the seed in training, and sums that fit when mixed."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from graft import augment
from graft.backbones._images import Images, images
from graft.device import seed_of
from graft.errors import UsageError


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def canvas(side: int = 24, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------------------------ preprocessing


@pytest.mark.parametrize(("width", "height"), [(40, 40), (41, 57), (57, 41), (100, 33), (33, 100), (20, 20), (31, 90)])
@pytest.mark.parametrize(("size", "resize"), [(24, 32), (24, 24), (25, 32), (24, 33)])
@pytest.mark.parametrize("how", ["bilinear", "bicubic"])
def test_images_equal_torchvision(width: int, height: int, size: int, resize: int, how: str) -> None:
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    reference = v2.Compose([
        v2.Resize(resize, interpolation=v2.InterpolationMode(how), antialias=True), v2.CenterCrop(size), v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std),
    ])  # fmt: skip
    ours = Images(size, resize, mean, std, how)
    image = picture(width, height)
    prepared = ours.batch(ours.sample(image).unsqueeze(0)).x[0]
    assert float((prepared - reference(image)).abs().max()) < 1e-6


def test_a_batch_equals_its_samples() -> None:
    ours = Images(16, 20)
    samples = torch.stack([ours.sample(picture(30 + i, 40, i)) for i in range(5)])
    assert samples.dtype == torch.uint8 and samples.shape == (5, 3, 20, 20)
    assert torch.equal(ours.batch(samples).x, torch.cat([ours.batch(s.unsqueeze(0)).x for s in samples]))


def test_squash_keeps_the_whole_picture() -> None:
    reference = v2.Compose([v2.Resize([16, 16], antialias=True), v2.PILToTensor()])
    image = picture(50, 20)
    assert torch.equal(Images(16, 16, squash=True).sample(image), reference(image))


@pytest.mark.parametrize(("width", "height"), [(1, 65000), (65000, 1), (2, 20001), (20001, 2), (900, 40000)])
@pytest.mark.parametrize("squash", [False, True])
def test_a_very_long_picture_costs_what_others_cost(width: int, height: int, squash: bool, monkeypatch) -> None:
    """Resized whole, the first would be 72 x 4,680,000 pixels: a gigabyte."""
    image, seen = Image.new("RGB", (width, height), (10, 200, 30)), []
    resize = Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda *a, **b: seen.append(resize(*a, **b)) or seen[-1])
    tracemalloc.start()
    start = time.perf_counter()
    sample = Images(64, 72, squash=squash).sample(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sample.shape == (3, 72, 72) and sample.dtype == torch.uint8
    assert torch.equal(sample, torch.tensor([10, 200, 30], dtype=torch.uint8).view(3, 1, 1).expand(3, 72, 72))
    assert time.perf_counter() - start < 2 and peak < 20e6
    assert len(seen) == 1 and seen[0].width * seen[0].height <= 10 * 72 * 72


@pytest.mark.parametrize("length", [81, 160, 161, 400, 1001])
@pytest.mark.parametrize("short", [7, 10, 90])
@pytest.mark.parametrize("turned", [False, True])
def test_a_very_long_picture_shows_the_same_middle(length: int, short: int, turned: bool) -> None:
    """Of a smooth picture, to half a pixel of the result: the longer side is rounded when it is resized whole."""
    length = max(length, 9 * short)
    y, x = np.mgrid[:short, :length].astype(float)
    wave = 127 + 60 * np.cos((x - length / 2) / short) + 60 * np.cos(y / short)
    pixels = np.stack([wave, 255 - wave, wave]).astype(np.uint8).transpose(1, 2, 0)
    image = Image.fromarray(np.ascontiguousarray(pixels.swapaxes(0, 1) if turned else pixels))
    reference = v2.Compose([v2.Resize(72, antialias=True), v2.CenterCrop(64), v2.PILToTensor()])
    ours = Images(64, 72)
    error = (ours.centre(ours.sample(image)).int() - reference(image).int()).abs()
    assert int(error.max()) <= 2


def test_preprocessing_is_json_both_ways() -> None:
    ours = Images(16, 20, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0), "bicubic", True)
    assert images(ours.json()) == ours


# ------------------------------------------------------------------------------------------------------- augmentation

TEXTS = ["basic", "basic(rotate=20, colour=0.4)", "trivial", "basic(scale=1.0, flip=False)"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_view_is_a_function_of_the_seed(text: str) -> None:
    view = augment.build(text)
    assert view is not None
    torch.manual_seed(1)
    before, first = torch.get_rng_state(), view(canvas(), 16, 5)
    assert torch.equal(before, torch.get_rng_state()), "the global generator moved"
    torch.manual_seed(2)
    view(canvas(seed=9), 16, 6)
    assert torch.equal(first, view(canvas(), 16, 5))
    assert first.shape == (3, 16, 16) and first.dtype == torch.uint8
    assert len({view(canvas(), 16, seed).numpy().tobytes() for seed in range(8)}) > 4 or "scale=1.0" in text


def test_flip_alone_mirrors_half_of_the_time() -> None:
    """The whole canvas of a constant row shows nothing but the mirror image."""
    ramp = torch.arange(0, 160, 10, dtype=torch.uint8).expand(3, 16, 16)
    view = augment.build("basic(scale=0.35, flip=True)")
    assert view is not None
    mirrored = sum(bool(v[0, 0, 0] > v[0, 0, -1]) for v in (view(ramp, 16, seed) for seed in range(400)))
    assert 160 < mirrored < 240


@pytest.mark.parametrize("scale", [0.2, 0.6, 1.0])
def test_crops_cover_what_scale_says(scale: float) -> None:
    from random import Random

    basic = augment.Basic(scale, False, 0.0, 0.0)
    boxes = [basic._box(Random(seed), 100) for seed in range(500)]
    for top, left, height, width in boxes:
        assert 0 <= top <= 100 - height and 0 <= left <= 100 - width
        assert 3 / 4 - 0.05 <= width / height <= 4 / 3 + 0.05 or 100 in (width, height)
    areas = [height * width / 100**2 for _, _, height, width in boxes]
    assert min(areas) >= 0.74 * scale and max(areas) <= 1.0


def test_none_is_none() -> None:
    assert augment.build("none") is None


@pytest.mark.parametrize("text", ["basics", "basic(flp=True)", "none(", "trivial(rotate=3)", "basic(scale='x')",
                                  "basic(flip=1)", "basic(scale=0)", "basic(scale=1.5)", "basic(scale=-0.1)",
                                  "trivial(scale=0.0)", "trivial(scale=2)", "basic(colour=1.0)", "basic(colour=-0.1)",
                                  "basic(rotate=-5)", "basic(rotate=181)", "basic(rotate=1e999)"])  # fmt: skip
def test_wrong_names(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        augment.build(text)
    assert caught.value.hint


def test_the_ends_of_the_ranges_are_in_them() -> None:
    for text in ("basic(scale=1, rotate=180, colour=0.99)", "basic(scale=0.01, rotate=0, colour=0)"):
        view = augment.build(text)
        assert view is not None and all(view(canvas(), 16, seed).shape == (3, 16, 16) for seed in range(20))


# ------------------------------------------------------------------------------------------------------------- mixing

PIXELS = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 1, 2, 3, 0, 1])


@pytest.mark.parametrize("text", ["mixup", "mixup(alpha=0.4)", "cutmix"])
def test_mixed_targets_are_probabilities(text: str) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    mixed, soft = augment.mix(text, PIXELS, TARGETS, 4, 0, "mix", 1)
    assert torch.equal(before, torch.get_rng_state()), "the global generator moved"
    assert mixed.shape == PIXELS.shape and soft.shape == (6, 4)
    assert torch.allclose(soft.sum(1), torch.ones(6)) and (soft >= 0).all()
    again, _ = augment.mix(text, PIXELS, TARGETS, 4, 0, "mix", 1)
    other, _ = augment.mix(text, PIXELS, TARGETS, 4, 0, "mix", 2)
    assert torch.equal(mixed, again) and not torch.equal(mixed, other)


def share(soft: Tensor) -> float:
    """How much of each sample is its own: those whose partner has another label show it."""
    return float(soft[2, 2])


def test_mixup_is_its_formula() -> None:
    mixed, soft = augment.mix("mixup", PIXELS, TARGETS, 4, 0, "x")
    kept, one_hot = share(soft), torch.nn.functional.one_hot(TARGETS, 4).float()
    assert torch.allclose(mixed, kept * PIXELS + (1 - kept) * PIXELS.roll(1, 0), atol=1e-6)
    assert torch.allclose(soft, kept * one_hot + (1 - kept) * one_hot.roll(1, 0), atol=1e-6)


def test_cutmix_pastes_a_box_of_the_share_in_the_targets() -> None:
    for where in range(20):
        mixed, soft = augment.mix("cutmix", PIXELS, TARGETS, 4, 0, where)
        own, foreign = mixed == PIXELS, mixed == PIXELS.roll(1, 0)
        assert (own | foreign).all()
        assert float(own[2, 0].float().mean()) == pytest.approx(share(soft), abs=1e-6)


def test_mixup_works_on_kept_features() -> None:
    features = torch.rand(6, 10)
    mixed, soft = augment.mix("mixup", features, TARGETS, 4, 0)
    assert torch.allclose(mixed, share(soft) * features + (1 - share(soft)) * features.roll(1, 0), atol=1e-6)
    assert torch.equal(augment.mix("cutmix", features, TARGETS, 4, 0)[0], features)


@pytest.mark.parametrize("text", ["mixupp", "mixup(alfa=1)", "mixup(alpha=0)", "cutmix(alpha=-1.0)", "mixup(alpha='a')",
                                  "cutmix(alpha=1e999)", "mixup(num_classes=9)", "mixup:1"])  # fmt: skip
def test_wrong_mixing(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        augment.mix(text, PIXELS, TARGETS, 4, 0)
    assert caught.value.hint


def test_seeds_are_the_same_on_every_machine() -> None:
    assert seed_of(0, "view", 3, "abc") == 4418272155556501993
    assert len({seed_of(0, "a", i) for i in range(1000)}) == 1000
    assert seed_of(1, "2") == seed_of("1", 2), "a key is its text"
