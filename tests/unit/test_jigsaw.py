"""Puzzles of nine tiles: the permutations, what a tile shows, figures, and a trunk that learns to solve them."""

from __future__ import annotations

from itertools import permutations as every
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import graft
from graft import build
from graft.backbones._images import Images
from graft.device import seed_of
from graft.errors import UsageError
from graft.intervals import wilson
from graft.recipe import Recipe
from graft.spec import Spec
from graft.tasks.jigsaw import jigsaw
from graft.types import Backbone, Batch, Features, Info, Inputs, Predictions
from graft.views.tiles import DEVIATION, MEAN, Tiles, permutations, tile_of

torch.set_num_threads(1)
INFO = Info(Spec("toy"), "image", 6)


def pictures(count: int = 3, side: int = 72) -> Tensor:
    return torch.randint(0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


# ---------------------------------------------------------------------------------------------------- the permutations


def algorithm_1(count: int, of: int) -> list[tuple[int, ...]]:
    """As the paper states it: of those that are left, the one with the largest sum of distances to those chosen."""
    left = list(every(range(of)))
    chosen = [left.pop(0)]
    while len(chosen) < count:
        sums = [sum(a != b for one in chosen for a, b in zip(one, other, strict=True)) for other in left]
        chosen.append(left.pop(int(np.argmax(sums))))
    return chosen


@pytest.mark.parametrize(("count", "of"), [(2, 3), (6, 3), (24, 4), (40, 5)])
def test_the_greedy_choice_is_that_of_algorithm_1(count: int, of: int) -> None:
    assert [tuple(one) for one in permutations(count, of).tolist()] == algorithm_1(count, of)


def test_permutations_of_nine_tiles_are_far_from_each_other() -> None:
    made = permutations(100)
    assert made.shape == (100, 9) and (np.sort(made, 1) == np.arange(9)).all() and made[0].tolist() == list(range(9))
    apart = (made[:, None] != made).sum(-1)[~np.eye(100, dtype=bool)]
    assert apart.min() >= 2 and apart.mean() == pytest.approx(8.08, abs=0.005)
    assert np.array_equal(permutations(9), permutations(100)[:9]), "fewer are the first of more"
    first = (permutations(9)[:, None] != permutations(9)).sum(-1)
    assert (first[~np.eye(9, dtype=bool)] == 9).all(), "as long as there are some, each tile is elsewhere"
    drawn = np.random.default_rng(0).permuted(np.tile(np.arange(9), (100, 1)), axis=1)
    assert apart.mean() > (drawn[:, None] != drawn).sum(-1)[~np.eye(100, dtype=bool)].mean()


def test_permutations_are_always_the_same() -> None:
    made = permutations(30).copy()
    permutations.cache_clear()
    assert np.array_equal(permutations(30), made)


# ------------------------------------------------------------------------------------------------------------ the view


def normalised(tile: Tensor) -> Tensor:
    """(3, t, t) bytes as a tile is shown."""
    values = tile.double()
    deviation = values.var((1, 2), correction=0, keepdim=True).sqrt()
    return (MEAN + DEVIATION * (values - values.mean((1, 2), keepdim=True)) / deviation).round().clamp(0, 255)


def test_each_tile_lies_somewhere_in_its_own_cell() -> None:
    samples, seeds = pictures(), [seed_of("b", i) for i in range(3)]
    made = Tiles(grey=0, flip=False)(samples, 64, seeds)
    assert made.x.shape == (27, 3, 20, 20) and made.x.dtype is torch.uint8 and made.truth is not None
    places = set()
    for i, (shown, order) in enumerate(zip(made.x, made.truth.tolist(), strict=True)):
        row, column = divmod(int(permutations(100)[order][i % 9]), 3)
        cell = samples[i // 9, :, 24 * row : 24 * row + 24, 24 * column : 24 * column + 24]
        found = [(y, x) for y in range(5) for x in range(5)
                 if (normalised(cell[:, y : y + 20, x : x + 20]) - shown).abs().max() <= 1]  # fmt: skip
        assert len(found) == 1
        places |= set(found)
    assert len(places) > 10 and (made.truth.view(3, 9) == made.truth[::9, None]).all()


def test_tiles_do_not_tell_their_brightness_or_contrast() -> None:
    bright = (pictures() // 8 + 200).to(torch.uint8)
    made = Tiles(grey=0)(bright, 64, [0, 1, 2]).x.float()
    assert torch.allclose(made.mean((2, 3)), torch.full((27, 3), MEAN), atol=0.5)
    assert torch.allclose(made.std((2, 3), correction=0), torch.full((27, 3), DEVIATION), atol=0.5)
    assert (Tiles()(torch.full((1, 3, 72, 72), 7, dtype=torch.uint8), 64, [0]).x == MEAN).all()


def test_three_of_ten_pictures_are_grey_and_half_are_mirrored() -> None:
    made = Tiles()(pictures(1).expand(600, -1, -1, -1), 64, range(600)).x.unflatten(0, (600, 9))
    grey = (made[:, :, 0] == made[:, :, 1]).flatten(1).all(1)
    assert float(grey.float().mean()) == pytest.approx(0.3, abs=0.05)
    slope = torch.arange(72, dtype=torch.uint8).expand(600, 3, 72, 72)
    rising = Tiles(grey=0)(slope, 64, range(600)).x.float().unflatten(0, (600, 9)).diff(dim=-1).mean((1, 2, 3, 4)) > 0
    assert float(rising.float().mean()) == pytest.approx(0.5, abs=0.06)


def test_the_seed_decides() -> None:
    view, samples, seeds = Tiles(), pictures(), [seed_of("c", i) for i in range(3)]
    whole = view(samples, 64, seeds)
    assert whole.truth is not None
    for i in range(3):
        alone = view(samples[i : i + 1], 64, seeds[i : i + 1])
        assert torch.equal(alone.x, whole.x[9 * i : 9 * i + 9]) and alone.truth is not None
        assert torch.equal(alone.truth, whole.truth[9 * i : 9 * i + 9])
    orders = Tiles(count=10)(pictures(1, 24).expand(600, -1, -1, -1), 64, range(600)).truth
    assert orders is not None and torch.bincount(orders[::9]).min() > 35
    assert repr(view) == "Tiles(count=100, grey=0.3, flip=True, tile=None)"


@pytest.mark.parametrize(("canvas", "asked", "side"), [(72, None, 20), (256, None, 72), (54, None, 16), (16, None, 16),
                                                       (72, 64, 64), (256, 32, 32)])  # fmt: skip
def test_tiles_are_as_large_as_they_are_cut_or_as_trunks_need(canvas: int, asked: int | None, side: int) -> None:
    assert Tiles(tile=asked)(pictures(1, canvas), 64, [0]).x.shape == (9, 3, side, side)
    assert tile_of(75) == 64


# ------------------------------------------------------------------------------------------------------------ the task


def case(count: int = 4, permutations: int = 5) -> tuple[Any, Features]:
    torch.manual_seed(0)
    head = jigsaw(permutations=permutations, width=3).head(INFO).eval().requires_grad_(False)
    truth = torch.randint(permutations, (count,)).repeat_interleave(9)
    return head, Features(torch.randn(9 * count, 6), truth=truth)


def batch(count: int) -> Batch:
    return Batch(Inputs(torch.empty(0)), torch.zeros(count, dtype=torch.long), torch.arange(count))


def test_the_head_sees_the_nine_side_by_side() -> None:
    head, features = case()
    rows = [torch.cat([head.each(tile) for tile in nine]) for nine in features.pooled.view(4, 9, 6)]
    assert torch.allclose(head(features.pooled), torch.stack([head.whole(row) for row in rows]), atol=1e-6)
    swapped = features.pooled.view(4, 9, 6).flip(1).flatten(0, 1)
    assert not torch.allclose(head(features.pooled), head(swapped), atol=1e-3), "their order is what is asked for"


def test_the_loss_and_the_figures_are_of_one_guess_for_each_sample() -> None:
    task, (head, features) = jigsaw(permutations=5), case()
    assert features.truth is not None
    truth, logits = features.truth[::9], head(features.pooled).double()
    losses = -logits.log_softmax(1)[torch.arange(4), truth]
    assert float(task.loss(head, features, batch(4))) == pytest.approx(float(losses.mean()), rel=1e-6)
    made = task.predict(head, features)
    assert torch.allclose(made.values[:, 0], losses.float(), rtol=1e-5) and (made.values[:, 2] == 1).all()
    right = int((logits.argmax(1) == truth).sum())
    assert task.score(made, torch.zeros(4))["accuracy"] == right / 4
    assert task.measure(made, torch.zeros(4))["accuracy"] == wilson(right, 4)
    assert task.report(made, torch.zeros(4))["chance"] == 1 / 5
    again = task.measure(Predictions(torch.tensor([[0.0, 1, 1]] * 20)), torch.zeros(20))["accuracy"]
    assert again.value == again.high == 1 and again.low < 0.9, "no figure without an interval"


def test_pictures_that_were_not_cut_are_refused() -> None:
    task, (head, features) = jigsaw(permutations=5), case()
    plain = Features(features.pooled[:4])
    for refused in (lambda: task.loss(head, plain, batch(4)), lambda: task.predict(head, plain)):
        with pytest.raises(UsageError, match="stand still"):
            refused()


def test_a_trunk_of_fixed_size_is_refused_and_takes_larger_tiles() -> None:
    stages = [nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 6))]
    info = Info(Spec("fixed"), "image", 6)
    trunk = Backbone(info, stages, Images(32, 36), lambda inputs: Features(inputs.x))
    with pytest.raises(UsageError, match="fixed cannot look at the tiles") as caught:
        build.model(Recipe("some"), trunk, jigsaw())
    assert "jigsaw(tile=32)" in caught.value.hint
    build.model(Recipe("some"), trunk, jigsaw(tile=32))


@pytest.mark.parametrize("options", [{"permutations": 1}, {"permutations": 2000}, {"grey": 2.0}, {"width": 0},
                                     {"tile": 0}, {"tile": 7}, {"head": "mlp(hidden=0)"}])  # fmt: skip
def test_wrong_options(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        jigsaw(**options)


# -------------------------------------------------------------------------------------------------------- a whole run


def windows(root: Path, count: int = 64) -> Path:
    """A cross on a ground of noise: each tile has edges of its own."""
    draw = np.random.default_rng(0)
    root.mkdir()
    for i in range(count):
        image = draw.normal(draw.integers(60, 120), 12, (32, 32, 3))
        row, column = draw.integers(13, 19, 2)
        image[row - 3 : row + 3] += 90
        image[:, column - 3 : column + 3] += 90
        image[:7, :7] -= 60
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(root / f"{i}.png")
    return root


def test_a_trunk_learns_to_solve_puzzles(tmp_path: Path) -> None:
    data, out = windows(tmp_path / "windows"), tmp_path / "run"
    found = graft.pretrain(str(data), task="jigsaw(permutations=4, width=32, flip=False, head='mlp(hidden=64)')",
                           backbone="toy(size=32, pretrained=False)", batch_size=16, valid=0.25, out=str(out),
                           strategy="full(epochs=6, lr=1e-2, head_lr=1e-2)")  # fmt: skip
    assert found["valid"]["accuracy"]["low"] > 0.25
    rows, _ = graft.predict(out, str(data))
    assert len(rows) == 64 and {row["label"] for row in rows} <= {"0 of 1", "1 of 1"}
