"""Copies with their edges cut off, or mirrored: found where they were planted, and not among alike pictures."""

import io
import random

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageOps

from graft.data import _copies, _crops
from graft.data._audit import audit
from graft.data._registration import register
from graft.data._split import split
from graft.data.csv import csv
from graft.data.digits import digits
from graft.data.folder import folder


def texture(seed, size=(120, 96)):
    """Noise whose amplitudes fall with the frequency, in three channels that agree in part: as photographs have it."""
    rng = np.random.default_rng(seed)
    height, width = size[1], size[0]
    frequency = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width) * width)
    noise = np.fft.rfft2(rng.standard_normal((3, height, width))) / np.maximum(frequency, 1) ** 1.2
    planes = np.fft.irfft2(noise, (height, width))
    planes = planes + 1.5 * planes[:1]
    planes = (planes - planes.mean((1, 2), keepdims=True)) / planes.std((1, 2), keepdims=True)
    return Image.fromarray((128 + 45 * planes).clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def cropped(image, share, chance, back):
    width, height = round(image.width * share), round(image.height * share)
    left, upper = chance.randint(0, image.width - width), chance.randint(0, image.height - height)
    cut = image.crop((left, upper, left + width, upper + height))
    return cut.resize(image.size, Image.Resampling.BICUBIC) if back else cut


def coded(image, quality):
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return Image.open(io.BytesIO(out.getvalue())).convert("RGB")


def found(images):
    thumbs = np.stack([_copies.thumb(image) for image in images])
    return _crops.copies(thumbs, [min(image.size) for image in images], images.__getitem__)


@pytest.mark.parametrize("share, back, quality", [(0.95, False, 0), (0.95, True, 0), (0.975, True, 80)])
def test_crops_are_found_and_named(share, back, quality):
    chance, images = random.Random(0), [texture(i) for i in range(60)]
    cut = [cropped(image, share, chance, back) for image in images]
    copies = found(images + [coded(image, quality) if quality else image for image in cut])
    assert {(copy.a, copy.b) for copy in copies} <= {(i, i + 60) for i in range(60)} and len(copies) >= 57
    named = [copy for copy in copies if copy.second == "a crop"]
    assert all(copy.first == "the whole" for copy in named) and (share > 0.95 or len(named) >= 30)


def test_mirrored_pictures_are_found_and_named():
    images = [texture(i) for i in range(60)]
    copies = found(images + [coded(ImageOps.mirror(image), 75) for image in images])
    assert {(copy.a, copy.b) for copy in copies} == {(i, i + 60) for i in range(60)}
    assert {copy.second for copy in copies} == {"a mirror image"}


def test_small_pictures_keep_their_copies():
    """As those of CIFAR-10: 32 pixels, of which a crop has 30."""
    chance, images = random.Random(0), [texture(i, (32, 32)) for i in range(60)]
    planted = [cropped(image, 0.95, chance, i % 2) for i, image in enumerate(images)]
    planted += [image.resize((16, 16), Image.Resampling.BICUBIC) for image in images]
    copies = found(images + planted)
    sets = _copies.Sets(180, [(copy.a, copy.b) for copy in copies])
    for first in (60, 120):
        assert sum(sets.root(i) == sets.root(first + i) for i in range(60)) >= 56
    assert all(copy.a % 60 == copy.b % 60 for copy in copies)


def strokes(seed):
    """A slanted line on an empty ground, as a handwritten 1."""
    chance, image = random.Random(seed), Image.new("RGB", (28, 28))
    x, lean = chance.uniform(12, 16), chance.uniform(-4, 4)
    ImageDraw.Draw(image).line((x - lean, 4, x + lean, 23), fill="white", width=chance.choice((2, 3)))
    return image


def test_strokes_that_only_need_to_be_moved_are_not_copies():
    images = [strokes(seed) for seed in range(200)]
    first = {image.tobytes(): image for image in images}  # the audit has joined exact copies before
    assert found(list(first.values())) == [] and len(first) > 100
    assert not [sample for sample in audit(digits()).samples if sample.group]


def test_symmetric_and_flat_pictures_are_not_mirrored_ones():
    flat = [Image.new("RGB", (64, 64), (i, 2 * i, 255 - i)) for i in range(40)]
    discs = []
    for i in range(40):
        image = Image.new("RGB", (64, 64), "white")
        ImageDraw.Draw(image).ellipse((8 + i % 7, 9, 40 + i % 11, 30 + i), fill=(20, 90, 30 + i))
        discs.append(image)
    assert found(flat + discs) == []


def test_every_pair_of_signatures_that_agree_is_a_candidate():
    """Against all pairs, by hand; also where the rows fall into several blocks."""
    thumbs = np.stack([_copies.thumb(texture(i % 40, (40, 32))) for i in range(60)])
    thumbs[50:] = thumbs[50:, :, ::-1]
    even, odd = _crops.signatures(thumbs)
    assert np.allclose((even**2).sum(1) + (odd**2).sum(1), 1, atol=1e-5)
    turned = _crops.signatures(thumbs[:, :, ::-1])
    assert np.allclose(turned[0], even, atol=1e-4) and np.allclose(turned[1], -odd, atol=1e-4)
    rows, _crops._ROWS, _crops._COLUMNS = (_crops._ROWS, _crops._COLUMNS), 7, 16
    try:
        pairs, mirrored = _crops.candidates(even, odd)
    finally:
        _crops._ROWS, _crops._COLUMNS = rows
    same, other = even @ even.T, odd @ odd.T
    brute = {(i, j, False) for i, j in np.argwhere(np.triu(same + other >= 0.8, 1)).tolist()}
    brute |= {(i, j, True) for i, j in np.argwhere(np.triu((same - other >= 0.92) & (other < 0), 1)).tolist()}
    assert {(*pair, turn) for pair, turn in zip(pairs.tolist(), mirrored.tolist(), strict=True)} == brute
    assert {(i, i + 40, i >= 10) for i in range(20)} <= brute


@pytest.mark.parametrize("window", [(0.95, 0.95, 0.05, -0.03), (1.0, 1.0, 0.0, 0.0), (0.97, 0.96, 0.0, 0.03)])
def test_registration_finds_the_window(window):
    """The window is cut out by Pillow."""
    image = texture(1, (240, 240)).convert("L")
    width, height, x, y = window
    box = [120 * (1 + at + side * half) for side in (-1, 1) for at, half in ((x, width), (y, height))]
    seen = image.transform((240, 240), Image.Transform.EXTENT, box, Image.Resampling.BICUBIC)
    small = [
        torch.from_numpy(np.array(p.resize((24, 24), Image.Resampling.BILINEAR), np.float32)) for p in (seen, image)
    ]
    agree, found = register(0.5 * small[0][None] + 20, small[1][None])
    assert agree.item() > 0.98 and np.allclose(found[0].numpy(), window, atol=0.012)


def test_the_window_of_no_crop_is_refused():
    windows = np.array([[0.95, 0.95, 0.05, 0], [1, 1, 0.06, 0], [0.95, 1.03, 0, 0], [0.86, 0.86, 0, 0]], np.float32)
    assert _crops._of_a_crop(windows).tolist() == [True, False, False, False]


def test_copies_join_groups_and_leaks_say_what_they_are_of(tmp_path):
    chance, lines = random.Random(0), ["path,label,split"]
    for i in range(12):
        image = texture(i)
        changes = (lambda x: x, lambda x: cropped(x, 0.95, chance, True), ImageOps.mirror, None)
        for part, planted in (("train", image), ("test", changes[i % 4] and changes[i % 4](image))):
            if planted is not None:
                planted.save(tmp_path / f"{part}{i}.png")
                lines.append(f"{part}{i}.png,{'ab'[(i // 4 + (part == 'test')) % 2]},{part}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    dataset = audit(csv(str(tmp_path / "t.csv")))
    issues = {issue.code: dict(zip(issue.keys, issue.details, strict=True)) for issue in dataset.issues}
    assert issues["leak"]["train0.png"] == "a copy of test0.png"
    assert issues["leak"]["train2.png"] == "a mirror image of test2.png" and len(issues["leak"]) == 9
    assert issues["leak"]["train1.png"] in ("the whole of test1.png", "a copy of test1.png")
    assert issues["conflicting-labels"]["test0.png"] == "b, but a in train0.png"
    assert issues["conflicting-near-copies"]["train2.png"] == "a, but b in test2.png"
    assert len(issues["conflicting-near-copies"]) == 12 and len(issues["near-copies"]) == 12
    again = [issue for issue in split(dataset).issues if issue.code == "leak"]
    assert [dict(zip(issue.keys, issue.details, strict=True)) for issue in again] == [issues["leak"]]


def test_real_photographs(data):
    """CIFAR-10 itself holds copies: at most one in 500 of its test part."""
    chance = random.Random(0)
    files = sorted((data / "hymenoptera" / "train").glob("*/*.jpg"))[::3]
    images = [Image.open(file).convert("RGB") for file in files]
    planted = [ImageOps.mirror(i) if k % 2 else cropped(i, 0.95, chance, k % 4) for k, i in enumerate(images)]
    copies = found(images + planted)
    assert all(copy.b - copy.a == len(images) for copy in copies) and len(copies) >= 0.9 * len(images)
    clean = audit(folder(str(data / "cifar10_png" / "test")))
    assert sum(sample.group is not None for sample in clean.samples) <= 0.002 * len(clean)
