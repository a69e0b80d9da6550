"""Quarter turns: which they are, figures by hand, and a trunk that learns which way is up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import graft
from graft.device import seed_of
from graft.errors import DataError, ResourceError, UsageError
from graft.intervals import wilson
from graft.spec import Spec
from graft.tasks.rotation import rotation
from graft.types import Batch, Dataset, Features, Info, Inputs, Predictions, Sample
from graft.views.turns import Turns

torch.set_num_threads(1)
INFO = Info(Spec("toy"), "image", 8)


def pictures(count: int = 3, side: int = 18) -> Tensor:
    return torch.randint(0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def turned_by_the_authors(image: np.ndarray, quarters: int) -> np.ndarray:
    """(H, W, 3), as dataloader.py of the published code defines it."""
    if quarters == 1:
        return np.flipud(np.transpose(image, (1, 0, 2)))
    if quarters == 2:
        return np.fliplr(np.flipud(image))
    return np.transpose(np.flipud(image), (1, 0, 2)) if quarters == 3 else image


# ------------------------------------------------------------------------------------------------------------ the view


def test_turns_are_those_of_the_authors() -> None:
    samples = pictures()
    made = Turns(scale=1, flip=False)(samples, 18, [1, 2, 3])
    assert made.x.shape == (12, 3, 18, 18) and made.x.dtype is torch.uint8 and made.truth is not None
    assert made.truth.tolist() == [0, 1, 2, 3] * 3
    upright = made.x[::4]
    for i, quarters in enumerate(made.truth.tolist()):
        expected = turned_by_the_authors(upright[i // 4].permute(1, 2, 0).numpy(), quarters)
        assert np.array_equal(made.x[i].permute(1, 2, 0).numpy(), expected)


def test_views_are_crops_that_the_seed_decides() -> None:
    view, samples, seeds = Turns(), pictures(), [seed_of("a", i) for i in range(3)]
    whole = view(samples, 16, seeds).x
    assert torch.equal(whole, view(samples, 16, seeds).x)
    for i in range(3):
        assert torch.equal(view(samples[i : i + 1], 16, seeds[i : i + 1]).x, whole[4 * i : 4 * i + 4]), "no neighbours"
    assert len({view(samples[:1], 16, [seed]).x.numpy().tobytes() for seed in range(20)}) > 15
    assert repr(view) == "Turns(scale=0.5, flip=True)"


# ------------------------------------------------------------------------------------------------------------ the task


def case(count: int = 5) -> tuple[nn.Module, Features]:
    torch.manual_seed(0)
    pooled, truth = torch.randn(4 * count, 8), torch.arange(4).repeat(count)
    return rotation().head(INFO).requires_grad_(False), Features(pooled, truth=truth)


def batch(count: int) -> Batch:
    return Batch(Inputs(torch.empty(0)), torch.zeros(count, dtype=torch.long), torch.arange(count))


def test_the_loss_is_the_mean_cross_entropy_of_the_four() -> None:
    task, (head, features) = rotation(), case()
    probabilities = head(features.pooled).double().softmax(1).view(5, 4, 4)
    losses = -probabilities.diagonal(dim1=1, dim2=2).log()
    assert float(task.loss(head, features, batch(5))) == pytest.approx(float(losses.mean()), rel=1e-6)
    made = task.predict(head, features).values
    right = (probabilities.argmax(2) == torch.arange(4)).sum(1)
    assert torch.allclose(made, torch.stack([losses.sum(1), right, torch.full((5,), 4)], 1).float(), rtol=1e-5)
    assert task.score(Predictions(made), torch.zeros(5))["loss"] == pytest.approx(float(losses.mean()), rel=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert task.loss(head, features, batch(5)).dtype is task.predict(head, features).values.dtype is torch.float32


def test_a_guess_in_the_dark_is_one_of_four() -> None:
    task, (_, features) = rotation(), case()
    dark = nn.Linear(8, 4)
    for parameter in dark.parameters():
        nn.init.zeros_(parameter)
    score = task.score(task.predict(dark, features), torch.zeros(5))
    assert score == pytest.approx({"accuracy": 0.25, "loss": float(np.log(4))})


def test_figures_are_over_samples() -> None:
    task, targets = rotation(), torch.zeros(4)
    said = Predictions(torch.tensor([[1.0, 4, 4], [2.0, 3, 4], [8.0, 1, 4], [5.0, 2, 4]]))
    score, measures = task.score(said, targets), task.measure(said, targets)
    assert score == pytest.approx({"accuracy": 10 / 16, "loss": 1.0})
    assert measures["accuracy"] == wilson(2.5, 4), "four samples, not sixteen turns"
    assert all(m.low <= m.value == pytest.approx(score[name]) and m.value <= m.high for name, m in measures.items())
    assert task.each(said, targets).tolist() == [1, 0.75, 0.25, 0.5]
    counts = {"samples": 4, "guesses": 16, "right": 10, "chance": 0.25}
    assert task.report(said, targets) == {**counts, "figures": score}
    assert task.baselines(said.values, targets, said.values) == {}
    json.dumps([score, measures, task.report(said, targets)], allow_nan=False)


def test_the_interval_over_samples_covers() -> None:
    """Also where the four guesses of a sample are all right or all wrong, as those of nobody's cat."""
    task, draw, held = rotation(), np.random.default_rng(0), []
    for _ in range(300):
        easy = draw.random(60) < 0.7
        right = np.where(draw.random(60) < 0.5, 4 * easy, draw.binomial(4, 0.7, 60))
        columns = np.stack([np.ones(60), right, np.full(60, 4)], 1)
        found = task.measure(Predictions(torch.from_numpy(columns).float()), torch.zeros(60))["accuracy"]
        held.append(found.low <= 0.7 <= found.high)
    assert np.mean(held) > 0.94


def test_rows_say_how_many_were_right() -> None:
    samples = tuple(Sample(str(i), i) for i in range(2))
    dataset = Dataset("some", "image", samples, (), lambda s: None, lambda s: b"", kind="none")
    rows = rotation().rows(Predictions(torch.tensor([[4.0, 3, 4], [0.0, 4, 4]])), dataset)
    assert [row["label"] for row in rows] == ["3 of 4", "4 of 4"]
    assert [row["probability"] for row in rows] == pytest.approx([np.exp(-1), 1])
    assert len(rotation().targets(dataset)) == 2


def test_pictures_that_were_not_turned_are_refused() -> None:
    """A frozen prefix sees them as they are."""
    task, (head, features) = rotation(), case()
    plain = features._replace(truth=None)
    for refused in (
        lambda: task.loss(head, plain, batch(5)),
        lambda: task.predict(head, plain),
        lambda: task.loss(head, features, batch(20)),
    ):
        with pytest.raises(UsageError, match="stand still"):
            refused()
    with pytest.raises(DataError, match="do not belong"):
        task.score(Predictions(torch.ones(3, 2)), torch.zeros(3))
    with pytest.raises(ResourceError, match="diverged"):
        task.score(Predictions(torch.full((3, 3), torch.nan)), torch.zeros(3))


@pytest.mark.parametrize("options", [{"scale": 0}, {"scale": 1.5}, {"head": "linnear"}, {"head": "mlp(dropout=2)"}])
def test_wrong_options(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        rotation(**options)
    assert rotation(scale=0.3, flip=False).view == Turns(0.3, False)


# -------------------------------------------------------------------------------------------------------- a whole run


def skies(root: Path, count: int = 60) -> Path:
    """Bright above, dark below, with noise and a patch of another brightness."""
    draw = np.random.default_rng(0)
    root.mkdir()
    for i in range(count):
        image = np.linspace(200, 60, 16)[:, None, None] + draw.normal(0, 25, (16, 16, 3))
        top, left = draw.integers(0, 12, 2)
        image[top : top + 4, left : left + 4] = draw.integers(0, 256, 3)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(root / f"{i}.png")
    return root


def test_a_trunk_learns_which_way_is_up_and_is_a_trunk_of_another_run(tmp_path: Path, flowers: Path) -> None:
    data, out = skies(tmp_path / "skies"), tmp_path / "run"
    options: dict[str, Any] = {"backbone": "toy(pretrained=False)", "batch_size": 16, "valid": 0.25}
    found = graft.pretrain(str(data), task="rotation", strategy="full(epochs=5, lr=1e-2, head_lr=1e-2)", out=str(out),
                           **options)  # fmt: skip
    assert found["valid"]["accuracy"]["low"] > 0.25 and found["valid"]["accuracy"]["value"] > 0.6
    rows, _ = graft.predict(out, str(data))
    assert len(rows) == 60 and all(row["guesses"] == 4 for row in rows)
    assert graft.evaluate(out, str(data))["scores"]["accuracy"]["value"] > 0.6
    later = graft.fit(str(flowers), backbone=f"trained:{out}", strategy="linear_probe(epochs=2)", controls=False,
                      out=str(tmp_path / "later"))  # fmt: skip
    assert later["valid"]["accuracy"]["value"] >= 0
    for strategy in ("linear_probe", "lp_ft"):
        with pytest.raises(UsageError, match="stand still"):
            graft.pretrain(str(data), task="rotation", strategy=strategy, out=str(tmp_path / strategy), **options)
