"""The tasks of two views: finding the other view, and pretraining from a folder of images to a trunk that is used."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from graft import api, registry, run
from graft.console import Console
from graft.device import seeded
from graft.errors import DataError, Interrupted, ResourceError, UsageError
from graft.nn.teacher import Teacher
from graft.spec import Spec, parse
from graft.tasks import _pairs
from graft.tasks.simclr import nt_xent, simclr
from graft.types import Batch, Dataset, Features, Info, Inputs, Json, Predictions, Sample, Task

torch.set_num_threads(1)
NAMES = ("simclr", "vicreg", "byol")
SMALL = {"simclr": "dim=16, hidden=32", "vicreg": "dim=32, hidden=32", "byol": "dim=16, hidden=32, momentum=0.9"}
TINY: Json = {"backbone": "toy(pretrained=False)", "strategy": "full(epochs=3, lr=5e-3, head_lr=5e-3)",
              "batch_size": 8, "valid": 0.25}  # fmt: skip


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def said(first: Tensor, second: Tensor) -> tuple[Predictions, Tensor]:
    return Predictions(torch.cat([first, second], 1)), torch.zeros(len(first), dtype=torch.long)


def seen(pooled: Tensor) -> Features:
    """Features of two views of each sample, which lie together."""
    return Features(pooled, truth=torch.arange(2).repeat(len(pooled) // 2))


def batch(count: int) -> Batch:
    return Batch(Inputs(torch.empty(0)), torch.zeros(count, dtype=torch.long), torch.arange(count))


def dataset(count: int) -> Dataset:
    samples = tuple(Sample(f"{i}.png", i) for i in range(count))
    return Dataset("case", "image", samples, (), lambda s: None, lambda s: b"", kind="none")


def task_of(name: str) -> Task:
    made: Task = parse(f"{name}({SMALL[name]})").bind(registry.find("task", name))
    return made


# ---------------------------------------------------------------------------------------------------- finding views


def test_own_views_that_are_nearest_are_all_found() -> None:
    task, first = simclr(), noise(20, 64)
    found, targets = said(first, 3 * first + 0.1 * noise(20, 64, seed=1))
    assert task.score(found, targets)["retrieval"] == 1 and task.each(found, targets).tolist() == [1.0] * 20
    assert task.score(*said(first, first.roll(1, 0)))["retrieval"] == 0


def test_collapsed_embeddings_find_one_sample_and_have_no_spread() -> None:
    alike = noise(1, 32).expand(50, 32)
    score = simclr().score(*said(alike, 2 * alike))
    assert score["retrieval"] <= 1 / 50 and score["spread"] == pytest.approx(0, abs=1e-6)
    assert score["loss"] == pytest.approx(math.log(50), rel=1e-5)


def test_views_that_know_nothing_of_one_another_are_guessed() -> None:
    score = simclr().score(*said(noise(300, 128), noise(300, 128, seed=1)))
    assert score["retrieval"] < 0.03 and score["spread"] == pytest.approx(1, abs=0.02)


def test_spread_by_hand() -> None:
    """All on one axis, half on either side: one dimension of four deviates by 1."""
    axis = torch.tensor([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]] * 3)
    assert simclr().score(*said(axis, axis))["spread"] == pytest.approx(1 / 4 * 2)


def test_figures_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = torch.tensor([[1.0, 0], [0, 1], [1, 1]]), torch.tensor([[1.0, 0.2], [1, 0], [1, 0.9]])
    cosines = torch.nn.functional.normalize(first, dim=1) @ torch.nn.functional.normalize(second, dim=1).T
    task, (found, targets) = simclr(), said(first, second)
    assert cosines.argmax(1).tolist() == [1, 2, 2] and task.each(found, targets).tolist() == [0.0, 0.0, 1.0]
    losses = -(cosines / 0.1).log_softmax(1).diagonal()
    assert task.score(found, targets)["loss"] == pytest.approx(float(losses.mean()), rel=1e-5)
    rows = task.rows(found, dataset(3))
    assert [row["label"] for row in rows] == ["1.png", "2.png", "2.png"]
    assert [row["own"] for row in rows] == pytest.approx(cosines.diagonal().tolist())
    whole = task.measure(found, targets)
    monkeypatch.setattr(_pairs, "AT_ONCE", 2)
    assert {name: metric.value for name, metric in task.measure(found, targets).items()} == pytest.approx(
        {name: metric.value for name, metric in whole.items()}
    )


def test_measures_agree_with_scores_and_have_intervals() -> None:
    task, (found, targets) = simclr(), said(noise(40, 8), noise(40, 8) + noise(40, 8, seed=1))
    score, measures, report = task.score(found, targets), task.measure(found, targets), task.report(found, targets)
    assert {name: metric.value for name, metric in measures.items()} == pytest.approx(score)
    assert all(metric.low <= metric.value <= metric.high for metric in measures.values())
    assert measures["retrieval"].method == "wilson" and report["chance"] == 1 / 40
    assert report["right"] / 40 == float(task.each(found, targets).mean()) == score["retrieval"]
    json.dumps([score, measures, report, task.rows(found, dataset(40))], allow_nan=False)
    assert task.baselines(found.values, targets, found.values) == {}


def test_predictions_that_cannot_be_scored_are_refused() -> None:
    task, (found, targets) = simclr(), said(noise(4, 8), noise(4, 8))
    with pytest.raises(DataError, match="do not belong"):
        task.score(found, targets[:3])
    with pytest.raises(DataError, match="no samples"):
        task.score(Predictions(torch.zeros(0, 8)), targets[:0])
    with pytest.raises(ResourceError, match="diverged"):
        task.score(Predictions(found.values / 0), targets)


# ---------------------------------------------------------------------------------------------------- views and head


class Keeps(nn.Module):
    """A head without weights."""

    def forward(self, pooled: Tensor) -> Tensor:
        return pooled


def test_the_views_of_a_sample_lie_together() -> None:
    task, first, second = simclr(), noise(5, 6), noise(5, 6, seed=1)
    pooled = torch.stack([first, second], 1).flatten(0, 1)
    expected = nt_xent(first, second, 0.5)
    torch.testing.assert_close(task.loss(Keeps(), seen(pooled), batch(5)), expected)
    assert torch.equal(task.predict(Keeps(), seen(pooled)).values, torch.cat([first, second], 1))


def test_the_loss_is_of_float32_inside_of_autocast() -> None:
    task, pooled = simclr(), noise(10, 6)
    plain = task.loss(Keeps(), seen(pooled), batch(5))
    with torch.autocast("cpu", torch.bfloat16):
        low = task.loss(Keeps(), seen(pooled), batch(5))
        rounded = task.loss(Keeps(), seen(pooled.bfloat16()), batch(5))
        head = task.head(Info(Spec("toy"), "image", 6))
        assert task.predict(head.eval(), seen(pooled)).values.dtype is torch.float32
    assert torch.equal(plain, low) and rounded.dtype is torch.float32
    assert torch.equal(rounded, task.loss(Keeps(), seen(pooled.bfloat16().float()), batch(5)))


def test_plain_pictures_and_a_single_one_are_refused() -> None:
    """However many there are: an even number of them could be taken for two views of half as many."""
    task, head, four = simclr(), Keeps(), noise(4, 6)
    for refused in (
        lambda: task.loss(head, Features(four), batch(2)),
        lambda: task.loss(head, seen(four), batch(4)),
        lambda: task.predict(head, Features(four)),
        lambda: task.predict(head, Features(noise(5, 6))),
        lambda: task.predict(head, Features(noise(5, 6), truth=torch.zeros(5))),
    ):
        with pytest.raises(UsageError, match="stand still"):
            refused()
    with pytest.raises(UsageError, match="single picture"):
        task.loss(head, seen(noise(2, 6)), batch(1))


@pytest.mark.parametrize("name", ["simclr", "vicreg"])
def test_a_head_learns_to_find_views(name: str) -> None:
    """The first half of the features is the sample, the other half is another one for each view."""
    task, own = task_of(name), noise(48, 8).repeat_interleave(2, 0)
    with seeded(0):
        head = task.head(Info(Spec("toy"), "image", 24))
    optimizer, few = torch.optim.Adam(head.parameters(), lr=3e-3), batch(48)

    def shown(seed: int) -> Features:
        return seen(torch.cat([own, 2 * noise(96, 16, seed=seed)], 1))

    def score() -> float:
        return task.score(task.predict(head.eval(), shown(999)), few.targets)["retrieval"]

    before = score()
    for seed in range(150):
        optimizer.zero_grad()
        task.loss(head.train(), shown(seed), few).backward()
        optimizer.step()
    assert score() > before + 0.3


@pytest.mark.parametrize("name", NAMES)
def test_what_all_say(name: str) -> None:
    task = task_of(name)
    assert (task.kind, task.metric, task.needs, task.classes) == ("none", "retrieval", "views", ())
    assert task.targets(dataset(3)).tolist() == [0, 0, 0]
    made = task.view(torch.zeros(3, 3, 24, 24, dtype=torch.uint8), 16, [1, 2, 3])
    assert made.x.shape == (6, 3, 16, 16)
    assert made.truth is not None and made.truth.tolist() == [0, 1] * 3


# ------------------------------------------------------------------------------------------------------ pretraining


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A flat folder without labels: blots of colours."""
    folder, draw = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for i in range(33):
        blots = Image.fromarray(draw.integers(0, 255, (3, 3, 3)).astype(np.uint8))
        blots.resize((20, 20), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


def pretrained(pictures: Path, out: Path, name: str, **options: Any) -> Json:
    return api.pretrain(str(pictures), out=str(out), **{**TINY, "task": f"{name}({SMALL[name]})", **options})


def epochs(folder: Path) -> list[Json]:
    events = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [event for event in events if event["event"] == "epoch"]


@pytest.mark.parametrize("name", NAMES)
def test_pretraining_learns_is_loaded_and_is_a_trunk(name: str, pictures: Path, tmp_path: Path, flowers: Path) -> None:
    found, folder = pretrained(pictures, tmp_path / "run", name), tmp_path / "run"
    losses = [event["train_loss"] for event in epochs(folder)]
    assert len(losses) == 3 and losses[-1] < losses[0]
    assert set(found["valid"]) == {"retrieval", "spread", "loss"} and found["splits"]["test"] == 0
    loaded = run.load(folder)
    assert not any("stages" in name for name, _ in loaded.model.head.named_parameters())
    rows, _ = api.predict(folder, str(pictures))
    assert len(rows) == 33 and all(row["label"].endswith(".png") for row in rows)
    assert api.evaluate(folder, str(pictures))["samples"] == 33
    fitted = api.fit(str(flowers), backbone=f"trained:{folder}", strategy="ridge", out=str(tmp_path / "fit"))
    assert fitted["test"]["accuracy"]["value"] > 0.3


def test_pretraining_goes_on_from_weights_that_are_there(pictures: Path, tmp_path: Path) -> None:
    first, more = tmp_path / "first", tmp_path / "more"
    pretrained(pictures, first, "byol", backbone="toy")
    pretrained(pictures, more, "simclr", backbone=f"trained:{first}", strategy="full(epochs=1, lr=0.0, head_lr=1e-3)")
    before, after = (run.load(folder).model.backbone for folder in (first, more))
    assert all(torch.equal(p, q) for p, q in zip(before.parameters(), after.parameters(), strict=True))


class Stops(Console):
    """A console that presses Ctrl-C after a number of steps."""

    @contextmanager
    def training(self) -> Iterator[Callable[[Json], None]]:
        def tell(event: Json) -> None:
            if event["event"] == "step" and event["done"] == 5:
                os.kill(os.getpid(), signal.SIGINT)

        yield tell


def test_an_interrupted_run_goes_on_bit_for_bit_with_its_teacher(pictures: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    pretrained(pictures, whole, "byol")
    with pytest.raises(Interrupted):
        pretrained(pictures, broken, "byol", console=Stops(quiet=True))
    pretrained(pictures, broken, "byol", resume=True)
    first, second = (run.load(folder).model.state_dict() for folder in (whole, broken))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_teacher_follows_steps_not_batches(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two epochs of five batches of at most 5 pictures: two steps of up to 3 batches each."""
    taught, forward = [], Teacher.forward

    def spied(self: Teacher, name: str, x: Any) -> Any:
        if self.training and name == "projector":
            taught.append(self.get_buffer("projector/0/weight").clone())
        return forward(self, name, x)

    monkeypatch.setattr(Teacher, "forward", spied)
    pretrained(pictures, tmp_path / "run", "byol", accumulate=3, batch_size=5, strategy="full(epochs=2, lr=5e-3)")
    changes = [not torch.equal(one, other) for one, other in zip(taught, taught[1:], strict=False)]
    assert changes == [False, False, True, False, True, False, False, True, False]


@pytest.mark.parametrize("strategy", ["linear_probe(epochs=1)", "full(epochs=1, last=1)"])
def test_a_trunk_that_stands_still_is_refused(strategy: str, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="stand still"):
        pretrained(pictures, tmp_path / "run", "vicreg", strategy=strategy)


def test_batches_of_one_picture_are_refused(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="single picture"):
        pretrained(pictures, tmp_path / "run", "simclr", batch_size=1)
