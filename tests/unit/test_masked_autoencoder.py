"""Hidden patches: which are hidden and what is told of them, the decoder, figures by hand, and a trunk that paints."""

from __future__ import annotations

import json
import math
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
from graft.errors import DataError, ResourceError, UsageError
from graft.nn.painter import Painter
from graft.recipe import Recipe
from graft.spec import Spec
from graft.tasks.masked_autoencoder import masked_autoencoder
from graft.types import Backbone, Batch, Dataset, Features, Info, Inputs, Model, Predictions, Sample
from graft.views.patches import Patches, told

torch.set_num_threads(1)


def pictures(count: int = 3, side: int = 36) -> Tensor:
    return torch.randint(0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def told_by_the_authors(images: Tensor, p: int) -> Tensor:
    """(N, 3, H, H) -> (N, P, p, p, 3): patchify and norm_pix_loss, as models_mae.py of the published code has them."""
    count, lines = len(images), images.shape[2] // p
    patches = torch.einsum("nchpwq->nhwpqc", images.reshape(count, 3, lines, p, lines, p))
    target = patches.reshape(count, lines**2, p * p * 3)
    target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6) ** 0.5
    return target.reshape(count, lines**2, p, p, 3)


# ------------------------------------------------------------------------------------------------------------ the view


def test_what_is_told_of_patches_is_that_of_the_authors() -> None:
    images = pictures(2, 32) / 255
    expected = told_by_the_authors(images, 8).permute(0, 1, 4, 2, 3).flatten(2)  # here colour by colour
    assert torch.allclose(told(images, 8), expected, atol=1e-5)
    assert told(torch.full((1, 3, 16, 16), 0.3), 8).abs().max() < 1e-3, "a patch of one colour has no differences"


def test_a_share_of_the_patches_is_hidden_and_shows_the_mean_of_the_others() -> None:
    samples = pictures()
    made = Patches(scale=1, flip=False)(samples, 32, [1, 2, 3])
    assert made.x.shape == (3, 3, 32, 32) and made.x.dtype is torch.uint8
    assert made.truth is not None and made.truth.shape == (3, 64, 3 * 4 * 4)
    hidden = ~made.truth.isnan().any(-1)
    assert torch.equal(hidden, ~made.truth.isnan().all(-1)) and hidden.sum(1).tolist() == [48, 48, 48]
    for x, marks in zip(made.x, hidden.view(3, 8, 8), strict=True):
        pixels = marks.repeat_interleave(4, 0).repeat_interleave(4, 1)
        assert (x[:, pixels] == x[:, ~pixels].float().mean(1, keepdim=True).round()).all()


def test_what_is_seen_and_told_are_parts_of_one_crop() -> None:
    samples, view = pictures(), Patches(scale=0.3)
    made = view(samples, 32, [1, 2, 3])
    rest = Patches(share=0.01, scale=0.3)(samples, 32, [1, 2, 3])  # the same crops, one patch hidden
    assert made.truth is not None and rest.truth is not None
    both = (~made.truth.isnan() & rest.truth.isnan()).any(-1)
    known = told(rest.x / 255, 4)
    assert both.sum() > 100 and torch.allclose(made.truth[both], known[both], atol=1e-5)
    seen = made.truth.isnan().all(-1) & rest.truth.isnan().all(-1)
    assert torch.equal(told(made.x / 255, 4)[seen], known[seen])


@pytest.mark.parametrize(("size", "grid", "lines", "side"), [(32, 8, 8, 4), (30, 8, 8, 4), (20, 8, 7, 3),
                                                             (224, 14, 14, 16), (3, 8, 3, 1)])  # fmt: skip
def test_grids_that_do_not_divide_the_side(size: int, grid: int, lines: int, side: int) -> None:
    made = Patches(grid=grid)(pictures(2, size), size, [5, 6])
    assert made.truth is not None and made.truth.shape == (2, lines**2, 3 * side**2)
    there = torch.zeros(lines * side, lines * side, dtype=torch.bool)
    there[:size, :size] = True
    there = there.view(lines, side, lines, side).transpose(1, 2).reshape(lines**2, 1, side**2)
    known = ~made.truth.isnan()
    hidden = known.any(-1)
    assert hidden.sum(1).tolist() == [round(0.75 * lines**2)] * 2
    assert torch.equal(known, hidden[..., None] & there.expand(-1, 3, -1).flatten(1))


def test_the_seed_decides() -> None:
    view, samples, seeds = Patches(), pictures(), [seed_of("d", i) for i in range(3)]
    whole = view(samples, 32, seeds)
    assert whole.truth is not None
    for i in range(3):
        alone = view(samples[i : i + 1], 32, seeds[i : i + 1])
        assert alone.truth is not None and torch.equal(alone.x, whole.x[i : i + 1])
        assert torch.equal(alone.truth.nan_to_num(9), whole.truth[i : i + 1].nan_to_num(9))
    marks = view(samples[:1].expand(1000, -1, -1, -1), 32, range(1000)).truth
    assert marks is not None
    each = (~marks.isnan().all(-1)).float().mean(0)
    assert float(each.min()) > 0.68 and float(each.max()) < 0.82, "every patch is hidden now and then"
    assert repr(view) == "Patches(share=0.75, grid=8, scale=0.2, flip=True)"


# ------------------------------------------------------------------------------------------------------------ the task


@pytest.mark.parametrize(("side", "grid"), [(2, 8), (4, 8), (3, 8), (8, 8), (14, 8), (1, 2)])
def test_the_decoder_says_the_values_of_every_patch(side: int, grid: int) -> None:
    painter = Painter(channels=5, side=side, grid=grid, values=12, width=6)
    assert painter(torch.randn(2, 5, side, side)).shape == (2, grid**2, 12)


def test_the_decoder_puts_patches_where_their_places_are() -> None:
    """A change of one place changes its patches and, by one convolution, those around them."""
    torch.manual_seed(0)
    painter, maps = Painter(5, 4, 8, 3, 6), torch.randn(1, 5, 4, 4)
    other = maps.clone()
    other[:, 0, 1, 3] += 3
    moved = (painter(maps) != painter(other)).any(-1).view(8, 8)
    assert moved[2:4, 6:8].all() and not moved[:1].any() and not moved[5:].any() and not moved[:, :5].any()


def case(count: int = 4) -> tuple[nn.Module, Features]:
    """The head of a toy trunk, and what it gets to see."""
    torch.manual_seed(0)
    model = build.model(Recipe("some"), build.backbone("toy(size=16, dim=6)"), masked_autoencoder(width=8))
    inputs = model.backbone.preprocess.batch(pictures(count, 16), masked_autoencoder().view, range(count))
    with torch.no_grad():
        features = model.backbone.eval()(inputs)
    return model.head.requires_grad_(False), features._replace(truth=inputs.truth)


def batch(count: int) -> Batch:
    return Batch(Inputs(torch.empty(0)), torch.zeros(count, dtype=torch.long), torch.arange(count))


def test_sums_of_each_picture_by_hand() -> None:
    task, (head, features) = masked_autoencoder(), case()
    made, said = task.predict(head, features).values, head(features)
    assert features.truth is not None
    for i in range(4):
        known, truth = ~features.truth[i].isnan(), features.truth[i].double()
        expected = [(said[i] - truth)[known].square().sum(), truth[known].square().sum(), known.sum()]
        assert made[i].tolist() == pytest.approx([float(value) for value in expected], rel=1e-4)
    loss = task.loss(head, features, batch(4))
    assert float(loss) == pytest.approx(task.score(Predictions(made), torch.zeros(4))["loss"], rel=1e-5)
    per_patch = (said - features.truth).square().mean(-1)  # as the authors: the mean of patches, of the hidden ones
    assert float(loss) == pytest.approx(float(per_patch[~per_patch.isnan()].mean()), rel=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert task.loss(head, features, batch(4)).dtype is task.predict(head, features).values.dtype is torch.float32


def test_who_says_nothing_explains_nothing_and_who_knows_all_everything() -> None:
    task, (head, features) = masked_autoencoder(), case()
    assert features.truth is not None
    nothing = lambda features: torch.zeros_like(features.truth)  # noqa: E731
    assert task.score(task.predict(nothing, features), torch.zeros(4))["explained"] == pytest.approx(0, abs=1e-6)  # type: ignore[arg-type]
    all_of_it = lambda features: features.truth.nan_to_num(5)  # noqa: E731
    assert task.score(task.predict(all_of_it, features), torch.zeros(4)) == {"explained": 1.0, "loss": 0.0}  # type: ignore[arg-type]
    head.requires_grad_(True)
    task.loss(head, features, batch(4)).backward()
    assert all(p.grad is not None and p.grad.any() and p.grad.isfinite().all() for p in head.parameters())


def test_figures() -> None:
    task, values = masked_autoencoder(), torch.tensor([[4.0, 10, 8], [3.0, 2, 4], [0.0, 0, 0], [1.0, 4, 4]])
    said, targets = Predictions(values), torch.zeros(4)
    score, measures = task.score(said, targets), task.measure(said, targets)
    assert score == pytest.approx({"explained": 1 - 8 / 16, "loss": 8 / 16})
    assert all(m.low <= m.value == score[name] <= m.high and m.method for name, m in measures.items())
    assert float(task.each(said, targets).mean()) == pytest.approx(score["explained"], abs=1e-12)
    assert task.report(said, targets)["hidden"] == 16 and task.baselines(values, targets, values) == {}
    samples = tuple(Sample(str(i), i) for i in range(4))
    dataset = Dataset("some", "image", samples, (), lambda s: None, lambda s: b"", kind="none")
    assert task.rows(said, dataset)[0] == {"label": 0.6, "hidden": 8, "loss": 0.5} and len(task.targets(dataset)) == 4
    json.dumps([score, measures, task.report(said, targets)], allow_nan=False)


def test_pictures_of_which_nothing_was_hidden_are_refused() -> None:
    task, (head, features) = masked_autoencoder(), case()
    plain = features._replace(truth=None)
    for refused in (lambda: task.loss(head, plain, batch(4)), lambda: task.predict(head, plain)):
        with pytest.raises(UsageError, match="stand still"):
            refused()
    with pytest.raises(DataError, match="nothing is hidden"):
        task.score(Predictions(torch.zeros(3, 3)), torch.zeros(3))
    with pytest.raises(DataError, match="do not belong"):
        task.score(Predictions(torch.ones(3, 2)), torch.zeros(3))
    with pytest.raises(ResourceError, match="diverged"):
        task.score(Predictions(torch.full((3, 3), math.nan)), torch.zeros(3))


def test_trunks_without_places_are_refused() -> None:
    trunk = Backbone(Info(Spec("blind"), "image", 6), [nn.AdaptiveAvgPool2d(1), nn.Flatten()], Images(32, 36),
                     lambda inputs: Features(inputs.x))  # fmt: skip
    with pytest.raises(UsageError, match="blind says nothing of single places") as caught:
        build.model(Recipe("some"), trunk, masked_autoencoder())
    assert caught.value.hint


def test_a_transformer_is_asked_by_its_tokens() -> None:
    """(B, 1 + 16, D): the token of the class stands for no place."""
    trunk = build.backbone("timm:vit_tiny_patch16_224(pretrained=False, size=64)")
    task = masked_autoencoder(width=8)
    model = build.model(Recipe("some"), trunk, task)
    assert model.head.painter.times == 2  # type: ignore[union-attr]
    inputs = trunk.preprocess.batch(pictures(2, 71), task.view, [0, 1])
    features = trunk(inputs)._replace(truth=inputs.truth)
    assert features.tokens is not None and features.tokens.shape[:2] == (2, 17) and not features.maps
    loss = task.loss(model.head, features, batch(2))
    loss.backward()
    assert 0.5 < float(loss.detach()) < 2 and all(p.grad is not None for p in model.parameters())


def test_the_seed_of_the_run_makes_the_decoder() -> None:
    def made(seed: int) -> Model:
        return build.model(Recipe("some", seed=seed), build.backbone("toy"), masked_autoencoder())

    weights = [made(seed).head.painter.spread.weight for seed in (0, 0, 1)]  # type: ignore[union-attr]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"share": 0}, {"share": 1.0}, {"grid": 1}, {"width": 0}, {"scale": 0}])
def test_wrong_options(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        masked_autoencoder(**options)
    assert masked_autoencoder(share=0.5, grid=4).view == Patches(0.5, 4)


# -------------------------------------------------------------------------------------------------------- a whole run


def stripes(root: Path, count: int = 60) -> Path:
    """Waves of a random direction: what is hidden goes on as what is seen."""
    draw = np.random.default_rng(0)
    root.mkdir()
    for i in range(count):
        y, x = np.mgrid[:16, :16]
        angle, phase = draw.random(2) * 2 * np.pi
        wave = np.sin(0.8 * (x * np.cos(angle) + y * np.sin(angle)) + phase)
        image = 128 + 80 * wave[..., None] * draw.uniform(0.5, 1.2, 3)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(root / f"{i}.png")
    return root


def test_a_trunk_learns_to_paint_what_is_hidden(tmp_path: Path) -> None:
    data, out = stripes(tmp_path / "stripes"), tmp_path / "run"
    found = graft.pretrain(str(data), task="masked_autoencoder(share=0.5, grid=4, width=32, scale=0.8)", valid=0.25,
                           backbone="toy(pretrained=False)", strategy="full(epochs=8, lr=1e-2, head_lr=1e-2)",
                           batch_size=16, out=str(out))  # fmt: skip
    assert found["valid"]["explained"]["low"] > 0.05
    rows, _ = graft.predict(out, str(data))
    assert len(rows) == 60 and all(row["hidden"] == 8 * 48 for row in rows)
