"""Whatever is frozen runs once: kept rows equal a direct forward pass, and what changes them changes the key."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import torch
from PIL import Image
from torch import Tensor

from graft import augment
from graft.backbones.toy import toy
from graft.cache import Cache
from graft.engine import CHECKED
from graft.features import Feed
from graft.types import Backbone, Dataset, Raw, Sample

CPU = torch.device("cpu")
LAST = 4  # toy has four stages; at the last boundary the pooled features are kept


class Pictures:
    """N images of random pixels; counts how often each is decoded."""

    def __init__(self, n: int = 20, seed: int = 0) -> None:
        self.pixels = np.random.default_rng(seed).integers(0, 256, (n, 16, 16, 3), np.uint8)
        self.loads: Counter[int] = Counter()

    def load(self, sample: Sample) -> Raw:
        self.loads[sample.source] += 1
        return Image.fromarray(self.pixels[sample.source])

    def read_bytes(self, sample: Sample) -> bytes:
        return bytes(self.pixels[sample.source].tobytes())

    def dataset(self) -> Dataset:
        samples = tuple(
            Sample(f"{i}.png", i, str(i % 3), digest=hashlib.sha256(p.tobytes()).hexdigest())
            for i, p in enumerate(self.pixels)
        )
        return Dataset("pictures", "image", samples, ("0", "1", "2"), self.load, self.read_bytes)


def feed(dataset: Dataset, backbone: Backbone, **options: Any) -> Feed:
    backbone.eval()
    return Feed(dataset, backbone, device=CPU, **options)


def direct(dataset: Dataset, backbone: Backbone) -> Tensor:
    """(N, D): the forward pass that nothing clever stands between."""
    backbone.eval()
    with torch.no_grad():
        return backbone(backbone.prepare(dataset.load(s) for s in dataset.samples)).pooled


def keys(cache: Cache) -> set[str]:
    return {p.name for p in cache.folder.iterdir()} if cache.folder.exists() else set()


# ---------------------------------------------------------------------------------------------------------- equality


def test_pooled_equals_a_direct_forward(tmp_path: Path) -> None:
    data, backbone = Pictures().dataset(), toy()
    expected = direct(data, backbone)
    for _ in range(2):  # made, then read from disk
        assert torch.allclose(feed(data, backbone, cache=Cache(tmp_path)).pooled(), expected, atol=1e-6)


@pytest.mark.parametrize("boundary", range(LAST + 1))
@pytest.mark.parametrize("memory", ["1", "0"])
def test_batches_at_every_boundary(boundary: int, memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no memory to keep rows in, the prefix runs again, and gives the same."""
    monkeypatch.setenv("GRAFT_MEMORY", memory)
    data, backbone = Pictures().dataset(), toy()
    made, rows = feed(data, backbone), torch.tensor([7, 3, 3, 19])
    made.open(boundary)
    with torch.no_grad():
        features = made.features(made.batch(rows, boundary), boundary)
    assert torch.allclose(features.pooled, direct(data, backbone)[rows], atol=1e-6)


def test_kept_rows_are_decoded_once() -> None:
    pictures = Pictures()
    made = feed(pictures.dataset(), toy())
    made.open(LAST)
    for epoch in range(3):
        made.batch(torch.arange(20), LAST, epoch)
    assert max((pictures.loads - Counter({0: 1})).values()) == 1, "the first may be read twice, to see its size"


def test_a_warm_cache_decodes_at_most_one(tmp_path: Path) -> None:
    feed(Pictures().dataset(), toy(), cache=Cache(tmp_path)).pooled()
    pictures = Pictures()
    feed(pictures.dataset(), toy(), cache=Cache(tmp_path)).pooled()
    assert pictures.loads.total() <= 1, "all were decoded for rows that lie on the disk"


def test_a_warm_cache_and_then_the_pixels(tmp_path: Path) -> None:
    """Baselines read kept rows under inference_mode; training then needs the images themselves."""
    data, backbone = Pictures().dataset(), toy()
    feed(data, backbone, cache=Cache(tmp_path)).pooled()
    made = feed(data, backbone, cache=Cache(tmp_path))
    with torch.inference_mode():
        made.pooled()
    made.open(0)
    inputs = made.batch(torch.tensor([5, 9]), 0)
    with torch.no_grad():
        assert torch.allclose(made.features(inputs, 0).pooled, direct(data, backbone)[[5, 9]], atol=1e-6)


def test_new_weights_are_noticed_by_open() -> None:
    data, backbone = Pictures().dataset(), toy()
    made = feed(data, backbone)
    made.pooled()
    with torch.no_grad():
        next(backbone.parameters()).add_(0.5)
    assert torch.allclose(made.pooled(), direct(data, backbone), atol=1e-6)


# --------------------------------------------------------------------------------------------------------- the address


def test_one_key_for_the_same_thing(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for _ in range(2):
        feed(Pictures().dataset(), toy(), cache=cache).pooled()
    assert len(keys(cache)) == 1


def run_at(cache: Cache, backbone: Backbone, boundary: int = LAST, epoch: int = 0, **options: Any) -> None:
    made = feed(Pictures().dataset(), backbone, cache=cache, **options)
    made.open(boundary)
    made.batch(torch.arange(20), boundary, epoch)


def test_whatever_changes_the_rows_changes_the_key(tmp_path: Path) -> None:
    cache, plain = Cache(tmp_path), toy()
    other_weights, other_buffers, other_pixels = toy(pretrained=False), toy(), toy()
    other_buffers.stages[0][1].running_mean.add_(0.1)  # type: ignore[index]
    other_pixels.preprocess = replace(other_pixels.preprocess, mean=(0.5, 0.5, 0.5))  # type: ignore[type-var]
    views = {"augment": augment.build("basic"), "views": 2}
    seen = 0
    for change in (
        lambda: run_at(cache, plain),
        lambda: run_at(cache, other_weights),
        lambda: run_at(cache, other_buffers),
        lambda: run_at(cache, other_pixels),
        lambda: run_at(cache, plain, boundary=2),
        lambda: run_at(cache, plain, dtype=torch.bfloat16),
        lambda: run_at(cache, plain, needs="maps"),
        lambda: run_at(cache, plain, **views),
        lambda: run_at(cache, plain, epoch=1, **views),
        lambda: run_at(cache, plain, seed=1, **views),
        lambda: run_at(cache, plain, augment=augment.build("basic(flip=False)"), views=2),
    ):
        change()
        assert len(keys(cache)) == seen + 1, f"change {seen} was not noticed"
        seen += 1
    run_at(cache, plain, epoch=2, **views)  # takes turns: the view of epoch 0 again
    assert len(keys(cache)) == seen


def test_weights_behind_the_boundary_do_not_matter(tmp_path: Path) -> None:
    cache, backbone = Cache(tmp_path), toy()
    run_at(cache, backbone, boundary=2)
    with torch.no_grad():
        next(backbone.stages[2].parameters()).add_(1)
    run_at(cache, backbone, boundary=2)
    assert len(keys(cache)) == 1


def test_other_bytes_are_another_row(tmp_path: Path) -> None:
    cache, before, after = Cache(tmp_path), Pictures(), Pictures()
    feed(before.dataset(), toy(), cache=cache).pooled()
    after.pixels[5] = 255 - after.pixels[5]
    data, backbone = after.dataset(), toy()
    assert torch.allclose(feed(data, backbone, cache=cache).pooled(), direct(data, backbone), atol=1e-6)
    assert len(keys(cache)) == 1, "the other rows were of use"


def test_names_and_order_do_not_matter(tmp_path: Path) -> None:
    cache, data, backbone = Cache(tmp_path), Pictures().dataset(), toy()
    first = feed(data, backbone, cache=cache).pooled()
    turned = data.replace(samples=tuple(replace(s, key=f"renamed/{s.key}") for s in reversed(data.samples)))
    assert torch.equal(feed(turned, backbone, cache=cache).pooled(), first.flip(0))


# ------------------------------------------------------------------------------------------------------ damaged, pruned


@pytest.mark.parametrize("cut", [True, False])
def test_a_damaged_file_is_made_again(cut: bool, tmp_path: Path) -> None:
    cache, data, backbone = Cache(tmp_path), Pictures().dataset(), toy()
    first = feed(data, backbone, cache=cache).pooled()
    (file,) = tmp_path.glob("*/*.safetensors")
    content = bytearray(file.read_bytes())
    content[-3] ^= 16
    file.write_bytes(content[:-40] if cut else content)
    assert torch.equal(feed(data, backbone, cache=cache).pooled(), first)
    (again,) = tmp_path.glob("*/*.safetensors")
    assert hashlib.sha256(again.read_bytes()).hexdigest() == again.stem


def test_the_oldest_keys_are_dropped(tmp_path: Path) -> None:
    cache = Cache(tmp_path, budget=2500)
    for i in range(4):
        cache.add(f"key{i}", ["a"], torch.rand(1, 250))  # about 1,100 bytes each
        os.utime(tmp_path / f"key{i}", (i, i))
    assert keys(cache) == {"key2", "key3"}


def _fsync(handle: int) -> None:
    raise OSError(28, "No space left on device")


def _save(*arguments: object) -> None:
    raise safetensors.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("failing", ["os.fsync", "safetensors.torch.save_file"])
def test_a_cache_that_cannot_be_written_is_only_slow(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failing, {"os.fsync": _fsync, "safetensors.torch.save_file": _save}[failing])
    data, backbone = Pictures().dataset(), toy()
    assert torch.allclose(feed(data, backbone, cache=Cache(tmp_path)).pooled(), direct(data, backbone), atol=1e-6)


# --------------------------------------------------------------------------------------------------------------- views


def test_a_view_depends_on_seed_epoch_and_content_alone() -> None:
    data, backbone = Pictures().dataset(), toy()
    made = feed(data, backbone, augment=augment.build("trivial"), seed=3)
    made.open(0)
    rows = torch.tensor([4, 11, 2])
    together = made.batch(rows, 0, epoch=2).x
    alone = torch.cat([made.batch(rows[i : i + 1], 0, epoch=2).x for i in range(3)])
    assert torch.equal(together, alone)
    turned = data.replace(samples=tuple(replace(s, key=f"x{s.key}") for s in reversed(data.samples)))
    other = feed(turned, backbone, augment=augment.build("trivial"), seed=3)
    assert torch.equal(other.batch(19 - rows, 0, epoch=2).x, together), "order or names changed the view"
    assert not torch.equal(made.batch(rows, 0, epoch=3).x, together)
    assert not torch.equal(feed(data, backbone, augment=augment.build("trivial"), seed=4).batch(rows, 0, 2).x, together)


def test_without_augmentation_every_epoch_is_the_same() -> None:
    made = feed(Pictures().dataset(), toy())
    made.open(0)
    assert torch.equal(made.batch(torch.arange(5), 0, 0).x, made.batch(torch.arange(5), 0, 7).x)


def test_a_frozen_prefix_takes_turns_at_its_views() -> None:
    data, backbone = Pictures().dataset(), toy()
    made, rows = feed(data, backbone, augment=augment.build("basic"), views=2), torch.arange(20)
    made.open(LAST)
    first, second, third = (made.batch(rows, LAST, epoch).x for epoch in range(3))
    assert torch.equal(first, third) and not torch.equal(first, second)
    plain = feed(data, backbone, augment=augment.build("basic"), views=0)
    plain.open(LAST)
    assert torch.allclose(plain.batch(rows, LAST, 1).x, direct(data, backbone), atol=1e-6)


def test_targets() -> None:
    data = Pictures(4).dataset()
    samples = (*data.samples[:3], replace(data.samples[3], label=None))
    assert feed(data.replace(samples=samples), toy()).targets.tolist() == [0, 1, 2, -1]


def test_what_was_made_before_a_stop_is_found_again(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    pictures, backbone = Pictures(100), toy()
    with pytest.raises(KeyboardInterrupt):
        feed(pictures.dataset(), backbone, cache=Cache(tmp_path), tell=stop).pooled()
    again = Pictures(100)
    made = feed(again.dataset(), backbone, cache=Cache(tmp_path)).pooled()
    assert again.loads.total() <= 100 - 64 + CHECKED and torch.allclose(
        made, direct(pictures.dataset(), backbone), atol=1e-6
    )
