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
from graft.backbones import _images
from graft.backbones._images import Images, images
from graft.device import seed_of
from graft.errors import UsageError
from graft.types import Augment


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def canvas(side: int = 24, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------------------------ preprocessing


@pytest.mark.parametrize(("width", "height"), [(40, 40), (41, 57), (57, 41), (100, 33), (33, 100), (20, 20), (31, 90)])
@pytest.mark.parametrize(("size", "resize"), [(24, 32), (24, 24), (25, 32), (24, 33)])
@pytest.mark.parametrize("how", ["bilinear", "bicubic", "nearest", "lanczos"])
def test_images_equal_torchvision(width: int, height: int, size: int, resize: int, how: str) -> None:
    """Of tensors of bytes where torch resizes them, of pictures where Pillow does."""
    mean, std, mode = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), v2.InterpolationMode(how)
    first = [v2.PILToTensor()] if how in ("bilinear", "bicubic") else []
    reference = v2.Compose([
        *first, v2.Resize(resize, interpolation=mode, antialias=True), v2.CenterCrop(size), v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std),
    ])  # fmt: skip
    ours = Images(size, resize, mean, std, how)
    image = picture(width, height)
    prepared = ours.batch(ours.sample(image).unsqueeze(0)).x
    assert float((prepared[0] - reference(image)).abs().max()) < 1e-6
    assert prepared.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("how", ["bilinear", "bicubic"])
@pytest.mark.parametrize("resize", [72, 256])
def test_bytes_are_resized_as_near_to_the_exact_result_as_pillow_does(how: str, resize: int) -> None:
    """Both round twice; a few values in a thousand go the other way. Noise is the worst case of a picture."""
    image, mode = picture(320, 213), getattr(Image.Resampling, how.upper())
    exact = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].double()
    ours = Images(resize, resize, interpolation=how).sample(image)
    width, left = int(resize * 320 / 213), round((int(resize * 320 / 213) - resize) / 2)
    box = (left, 0, left + resize, resize)
    theirs = torch.from_numpy(np.array(image.resize((width, resize), mode).crop(box))).permute(2, 0, 1)
    exact = torch.nn.functional.interpolate(exact, (resize, width), mode=how, antialias=True)[0].clamp(0, 255)
    mine, pillow = ((made - exact[..., left : left + resize]).abs().mean() for made in (ours, theirs))
    apart = (ours.int() - theirs.int()).abs()
    assert int(apart.max()) <= 2 and float((apart > 0).float().mean()) < 0.01
    assert abs(float(mine - pillow)) < 0.001


def test_other_modes_and_jpegs_give_the_same_canvas() -> None:
    """No copy is made of what is RGB already, and the picture stays as it was."""
    image = picture(50, 40)
    before, ours = np.array(image), Images(16, 20)
    assert torch.equal(ours.sample(image), ours.sample(image.convert("RGBA")))
    assert (np.array(image) == before).all()
    kept = ours.sample(picture(20, 20, 3))  # no resize at all
    assert (kept.permute(1, 2, 0).numpy() == np.array(picture(20, 20, 3))).all()


def test_a_large_picture_is_resized_without_a_copy_of_it() -> None:
    image = picture(2100, 2000)
    tracemalloc.start()
    ours = Images(64, 72).sample(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6
    expected = v2.functional.pil_to_tensor(v2.functional.center_crop(v2.functional.resize(image, [72]), [72, 72]))
    assert torch.equal(ours, expected)


@pytest.mark.parametrize("how", ["bilinear", "bicubic"])
def test_pictures_above_a_million_pixels_are_resized_by_pillow(how: str) -> None:
    image, mode = picture(1400, 1000), v2.InterpolationMode(how)
    expected = v2.functional.center_crop(v2.functional.resize(image, [64], interpolation=mode), [56, 56])
    ours = Images(56, 64, interpolation=how)
    assert torch.equal(ours.centre(ours.sample(image)), v2.functional.pil_to_tensor(expected))


@pytest.mark.parametrize("size", [7, 16, 33])
def test_normalising_is_that_of_the_formula(size: int) -> None:
    ours = Images(size, size + 5, (0.1, 0.2, 0.3), (1.0, 0.2, 0.03))
    canvas = torch.randint(0, 256, (3, 3, size + 5, size + 5), dtype=torch.uint8)
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (ours.mean, ours.std))
    expected = (ours.centre(canvas).double() / 255 - mean) / std
    for layout in (canvas, canvas.contiguous(memory_format=torch.channels_last)):
        assert float((ours.batch(layout).x - expected).abs().max()) < 4e-6  # of 33 at most
        assert torch.equal(ours.batch(layout).x, ours.batch(canvas).x)


def test_a_batch_equals_its_samples() -> None:
    ours = Images(16, 20)
    samples = torch.stack([ours.sample(picture(30 + i, 40, i)) for i in range(5)])
    assert samples.dtype == torch.uint8 and samples.shape == (5, 3, 20, 20)
    assert torch.equal(ours.batch(samples).x, torch.cat([ours.batch(s.unsqueeze(0)).x for s in samples]))


def test_squash_keeps_the_whole_picture() -> None:
    reference = v2.Compose([v2.PILToTensor(), v2.Resize([16, 16], antialias=True)])
    image = picture(50, 20)
    assert torch.equal(Images(16, 16, squash=True).sample(image), reference(image))


@pytest.mark.parametrize(("width", "height"), [(1, 65000), (65000, 1), (2, 20001), (20001, 2), (900, 40000)])
@pytest.mark.parametrize("squash", [False, True])
def test_a_very_long_picture_costs_what_others_cost(width: int, height: int, squash: bool, monkeypatch) -> None:
    """Resized whole, the first would be 72 x 4,680,000 pixels: a gigabyte."""
    image, seen = Image.new("RGB", (width, height), (10, 200, 30)), []
    scaled = _images._scaled
    monkeypatch.setattr(_images, "_scaled", lambda *a: seen.append(scaled(*a)) or seen[-1])
    tracemalloc.start()
    start = time.process_time()
    sample = Images(64, 72, squash=squash).sample(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sample.shape == (3, 72, 72) and sample.dtype == torch.uint8
    assert torch.equal(sample, torch.tensor([10, 200, 30], dtype=torch.uint8).view(3, 1, 1).expand(3, 72, 72))
    assert time.process_time() - start < 2 and peak < 20e6
    assert len(seen) == 1 and seen[0].numel() <= 3 * 10 * 72 * 72


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


def one(view: Augment, picture: torch.Tensor, seed: int) -> torch.Tensor:
    """A view of one picture, 16 pixels wide."""
    return view(picture[None], 16, [seed]).x[0]


TEXTS = ["basic", "basic(rotate=20, colour=0.4)", "trivial", "basic(scale=1.0, flip=False)"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_view_is_a_function_of_the_seed(text: str) -> None:
    view = augment.build(text)
    assert view is not None
    torch.manual_seed(1)
    before, first = torch.get_rng_state(), one(view, canvas(), 5)
    assert torch.equal(before, torch.get_rng_state()), "the global generator moved"
    torch.manual_seed(2)
    one(view, canvas(seed=9), 6)
    assert torch.equal(first, one(view, canvas(), 5))
    assert first.shape == (3, 16, 16) and first.dtype == torch.uint8
    assert len({one(view, canvas(), seed).numpy().tobytes() for seed in range(8)}) > 4 or "scale=1.0" in text


def test_flip_alone_mirrors_half_of_the_time() -> None:
    """The whole canvas of a constant row shows nothing but the mirror image."""
    ramp = torch.arange(0, 160, 10, dtype=torch.uint8).expand(3, 16, 16)
    view = augment.build("basic(scale=0.35, flip=True)")
    assert view is not None
    mirrored = sum(bool(v[0, 0, 0] > v[0, 0, -1]) for v in (one(view, ramp, seed) for seed in range(400)))
    assert 160 < mirrored < 240


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [16, 24, 40])
def test_a_crop_is_resized_as_torchvision_does(layout: torch.memory_format, size: int) -> None:
    from random import Random

    view, sample = augment.Basic(0.35, True, 0.0, 0.0), canvas(31)[None].contiguous(memory_format=layout)
    for made, seed in zip(view(sample.expand(30, -1, -1, -1), size, range(30)).x, range(30), strict=True):
        draw = Random(seed)
        box = augment.box(draw, 31, 0.35)
        expected = v2.functional.resized_crop(sample[0], *box, [size, size], antialias=True)
        expected = v2.functional.horizontal_flip(expected) if draw.random() < 0.5 else expected
        assert torch.equal(made, expected)


def test_steps_come_one_after_the_other_from_one_generator() -> None:
    """Rotation, box, mirror image, colours: saved runs repeat by it."""
    from random import Random

    sample, made = (
        canvas(31),
        augment.Basic(0.35, True, 20.0, 0.4)(canvas(31)[None].expand(9, -1, -1, -1), 16, range(9)).x,
    )
    for seed in range(9):
        draw, turn = Random(seed), v2.functional.rotate
        view = turn(sample, draw.uniform(-20, 20), interpolation=v2.InterpolationMode.BILINEAR)
        view = v2.functional.resized_crop(view, *augment.box(draw, 31, 0.35), [16, 16], antialias=True)
        view = v2.functional.horizontal_flip(view) if draw.random() < 0.5 else view
        for adjust in ("brightness", "contrast", "saturation"):
            view = getattr(v2.functional, f"adjust_{adjust}")(view, draw.uniform(1 - 0.4, 1 + 0.4))
        assert torch.equal(made[seed], view)


def test_a_batch_of_views_is_its_views_whatever_the_layout() -> None:
    ours, view = Images(16, 20), augment.build("basic")
    samples = torch.stack([canvas(20, seed) for seed in range(4)])
    made = ours.batch(samples, view, range(4)).x
    assert made.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(made, ours.batch(samples.contiguous(memory_format=torch.channels_last), view, range(4)).x)
    each = torch.stack([one(view, sample, seed) for seed, sample in enumerate(samples)])
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (ours.mean, ours.std))
    assert torch.allclose(made, (each / 255 - mean) / std, atol=1e-6)


@pytest.mark.parametrize("scale", [0.2, 0.6, 1.0])
def test_crops_cover_what_scale_says(scale: float) -> None:
    from random import Random

    boxes = [augment.box(Random(seed), 100, scale) for seed in range(500)]
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
        assert view is not None and all(one(view, canvas(), seed).shape == (3, 16, 16) for seed in range(20))


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
