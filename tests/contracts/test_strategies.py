"""What every strategy keeps, on the toy backbone. Strategies are discovered: a new file is tested without being named.

The number of epochs is set through whatever options have "epoch" in their name; all else is the strategy's default.
"""

from __future__ import annotations

import inspect
import shutil
import signal
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from graft import augment, build, phase, registry
from graft.backbones.toy import toy
from graft.checkpoint import Checkpoints
from graft.device import seeded
from graft.errors import Interrupted
from graft.features import Feed
from graft.scoring import predict
from graft.train import Loop
from graft.types import Backbone, Dataset, Flow, Json, Model, Phase, Recipe, Result, Sample, Task

torch.set_num_threads(1)
CLASSES, EPOCHS = ("ant", "bee", "wasp"), 2
RECIPE = Recipe(data="memory", backbone="toy", task="classification", batch_size=16, ema=0.9, augment="basic")
STRATEGIES = sorted(registry.names("strategy"))
State = dict[str, Tensor]


class Killed(Exception):
    """Stands for a power cut: the loop gets no chance to save."""


def dataset(name: str, size: int, seed: int) -> Dataset:
    """Noise whose red, green or blue is brighter, held in memory."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 160, (size, 16, 16, 3), dtype=np.uint8)
    for i in range(size):
        pixels[i, ..., i % 3] += 70
    samples = tuple(Sample(f"{name}/{i}", i, CLASSES[i % 3], digest=f"{name}-{i}") for i in range(size))
    return Dataset(name, "image", samples, CLASSES, lambda s: Image.fromarray(pixels[s.source]),
                   lambda s: pixels[s.source].tobytes())  # fmt: skip


TRAIN, VALID = dataset("train", 44, 0), dataset("valid", 21, 1)


class Attention(nn.Module):
    """(B, 32, H, W) -> the same: every place looks at every other."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(32, 96), nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x.flatten(2).mT).chunk(3, -1)
        seen = nn.functional.scaled_dot_product_attention(q, k, v)
        return x + self.proj(seen).mT.unflatten(2, x.shape[2:])


def attentive() -> Backbone:
    """The toy with a stage of attention at its end."""
    base = toy()
    with seeded("attentive"):
        stage = nn.Sequential(OrderedDict(attn=Attention()))
    return Backbone(base.info, [*base.stages, stage], base.preprocess, base.readout)


TRUNKS: dict[str, Callable[[], Backbone]] = {"lora": attentive}  # what a strategy needs that the toy has not


@dataclass
class Job:
    """A model and what is needed to train it, all of it fixed by the recipe."""

    strategy: str
    recipe: Recipe = RECIPE

    def __post_init__(self) -> None:
        self.task: Task = build.task(self.recipe, CLASSES)
        trunk = TRUNKS.get(self.strategy, toy)()
        self.model: Model = build.model(self.recipe, trunk, self.task)
        self.events: list[Json] = []
        self.results: list[Result] = []
        self.last: State = {}  # at the end of the last phase: what comes after it may fold or average weights

    def flow(self) -> Flow:
        function = registry.find("strategy", self.strategy)
        asked = {name: EPOCHS for name in inspect.signature(function).parameters if "epoch" in name}
        flow: Flow = function(self.model, **asked)
        return flow

    def feed(self, data: Dataset) -> Feed:
        views = augment.build(self.recipe.augment) if data is TRAIN else None
        return Feed(data, self.model.backbone, device=torch.device("cpu"), augment=views, views=self.recipe.views,
                    seed=self.recipe.seed)  # fmt: skip

    def run(self, flow: Flow | None = None, ckpt: Path | None = None, kill_at: int = -1) -> list[Result]:
        """Train; with `kill_at`, die at that event."""

        def tell(event: Json) -> None:
            if len(self.events) == kill_at:
                raise Killed
            self.events.append(event)
            if event["event"] == "phase_done":
                self.last = self.state()

        loop = Loop(self.model, self.task, self.feed(TRAIN), self.feed(VALID), self.recipe,
                    Checkpoints(ckpt) if ckpt else None, tell)  # fmt: skip
        return loop.run(flow or self.flow())

    def state(self) -> State:
        return {name: tensor.clone() for name, tensor in self.model.state_dict().items()}


def trained(strategy: str, recipe: Recipe = RECIPE) -> Job:
    job = Job(strategy, recipe)
    job.results = job.run()
    return job


def differing(a: State, b: State) -> list[str]:
    """Names whose tensors are not bit-equal."""
    assert a.keys() == b.keys()
    return [name for name in a if not torch.equal(a[name], b[name])]


@pytest.fixture(scope="module", params=STRATEGIES)
def done(request: pytest.FixtureRequest) -> Job:
    """A job that ran to its end; `done.strategy` is its name. Only looked at."""
    return trained(request.param)


# ------------------------------------------------------------------------------------------------------- the contract


def test_is_a_generator_with_keyword_options_and_a_documented_first_line(done: Job) -> None:
    function = registry.find("strategy", done.strategy)
    first, *options = inspect.signature(function).parameters.values()
    assert inspect.isgeneratorfunction(function) and first.name == "model"
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in options)
    assert len(registry.names("strategy")[done.strategy]) > 20


def test_runs_to_the_end_and_every_phase_has_a_result(done: Job) -> None:
    assert done.results
    for result in done.results:
        assert result.moved > 0 and 0 <= result.boundary <= len(done.model.backbone.stages)
        assert result.epochs >= 1 and -1 <= result.best_epoch < result.epochs
        assert 0 <= result.valid.get("accuracy", 0) <= 1 and np.isfinite(result.train_loss)
    assert done.results[-1].valid, "what a strategy ends with is scored"


def test_afterwards_the_model_predicts_what_the_last_result_says(done: Job) -> None:
    predictions = predict(done.model, done.task, done.feed(VALID))
    assert predictions.values.shape == (len(VALID), len(CLASSES))
    assert torch.allclose(predictions.values.sum(1), torch.ones(len(VALID)))
    assert not done.model.training
    if done.last.keys() == done.state().keys() and differing(done.last, done.state()):
        return  # an average, which no phase has scored; what was folded in has other names, and predicts the same
    score = done.task.score(predictions, VALID.targets())
    last = done.results[-1].valid
    assert score["accuracy"] == pytest.approx(last["accuracy"])
    assert score["loss"] == pytest.approx(last["loss"], rel=1e-4)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_is_frozen_does_not_move_and_what_moves_does(strategy: str) -> None:
    """Parameters and buffers, phase by phase, between the yield and its result."""
    job = Job(strategy)

    def watched() -> Iterator[Phase]:
        flow, result = job.flow(), None
        while True:
            try:
                phase = flow.send(result)  # type: ignore[arg-type]
            except StopIteration:
                return
            before = job.state()
            result = yield phase
            if result.best_epoch < 0:  # every epoch was worse than the start, and that is what stays
                assert differing(before, job.state()) == []
            else:
                _check_phase(job.model, phase, differing(before, job.state()))

    job.run(watched())  # type: ignore[arg-type]


def _check_phase(model: Model, phase: Phase, changed: list[str]) -> None:
    if phase.solve:
        assert not phase.groups and changed and all(name.startswith("head.") for name in changed)
        return
    moving = {id(p) for group in phase.groups for p in group.params}
    parts = {f"backbone.stages.{i}": stage for i, stage in enumerate(model.backbone.stages)} | {"head": model.head}
    allowed = {name for name, p in model.named_parameters() if id(p) in moving}
    for prefix, part in parts.items():
        if any(id(p) in moving for p in part.parameters()):
            allowed |= {f"{prefix}.{name}" for name, _ in part.named_buffers()}
    assert moving and set(changed) <= allowed, f"{phase.name}: {sorted(set(changed) - allowed)} moved"
    assert any(name.startswith("head.") for name in changed) or not any(n.startswith("head.") for n in allowed)


def test_the_boundary_is_the_number_of_frozen_stages_at_the_input(done: Job) -> None:
    total = [sum(p.numel() for p in stage.parameters()) for stage in done.model.backbone.stages]
    head = sum(p.numel() for p in done.model.head.parameters())
    for result in done.results:
        most = head + sum(total[result.boundary :])  # a strategy may move only some of a stage, such as its norms
        assert (head if result.valid else 1) <= result.moved <= most  # without a score, the head may stand still
        assert result.boundary == len(total) or total[result.boundary] > 0


def test_another_seed_differs(done: Job) -> None:
    if not any(result.train_loss > 0 and result.best_epoch >= 0 for result in done.results):
        pytest.skip("what is left was solved in one step, and nothing in that is random")
    assert differing(done.state(), trained(done.strategy, replace(RECIPE, seed=1)).state())


def test_one_seed_is_bit_equal_whatever_the_global_generator_says_and_leaves_it_alone(done: Job) -> None:
    torch.manual_seed(99)
    before = torch.get_rng_state()
    assert differing(done.state(), trained(done.strategy).state()) == []
    assert torch.equal(before, torch.get_rng_state())


# ------------------------------------------------------------------------------------------------------------- resume


def resumed(strategy: str, recipe: Recipe, ckpt: Path, kill_at: int) -> State:
    """Die at event `kill_at`, then go on in what a new process would have: a model built anew."""
    with pytest.raises(Killed):
        Job(strategy, recipe).run(ckpt=ckpt, kill_at=kill_at)
    again = Job(strategy, recipe)
    again.run(ckpt=ckpt)
    return again.state()


@pytest.fixture
def _save_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phase, "SAVE_EVERY", -1.0)
    monkeypatch.setattr("graft.checkpoint.flush", lambda path: None)  # hundreds of fsyncs would take a minute


@pytest.mark.usefixtures("_save_each_step")
def test_resume_is_bit_equal(done: Job, tmp_path: Path) -> None:
    """Killed early, in the middle, and near the end."""
    whole = done.state()
    count = len(done.events)
    for kill_at in sorted({2, count // 3, count // 2, 2 * count // 3, count - 2, count - 1}):
        assert differing(whole, resumed(done.strategy, RECIPE, tmp_path / str(kill_at), kill_at)) == [], kill_at


RECIPES = {
    "no average": {"ema": 0.0},
    "accumulation": {"accumulate": 2},
    "sgd": {"optimizer": "sgd"},
    "plain sgd": {"optimizer": "sgd(momentum=0.0, nesterov=False)"},
    "adam": {"optimizer": "adam"},
    "rmsprop": {"optimizer": "rmsprop"},
    "plateau": {"schedule": "plateau(patience=0)"},
    "patience": {"patience": 1, "schedule": "constant"},
    "mixup": {"mix": "mixup(alpha=0.4)"},
    "kept views": {"views": 2, "augment": "trivial"},
    "dropout in the head": {"head": "mlp(hidden=(8,), dropout=0.5)"},
    "still batchnorm": {"batchnorm": "eval"},
    "bf16": {"precision": "bf16"},
}


@pytest.mark.usefixtures("_save_each_step")
@pytest.mark.parametrize("name", RECIPES)
def test_resume_is_bit_equal_under_every_kind_of_recipe(name: str, tmp_path: Path) -> None:
    recipe = replace(RECIPE, **RECIPES[name])
    whole = trained("lp_ft", recipe)
    for kill_at in (len(whole.events) // 3, 4 * len(whole.events) // 5):
        state = resumed("lp_ft", recipe, tmp_path / str(kill_at), kill_at)
        assert differing(whole.state(), state) == [], kill_at


@pytest.mark.usefixtures("_save_each_step")
def test_resume_survives_dying_again_and_again(tmp_path: Path) -> None:
    """One run that dies again and again, each time a step further than in its life before."""
    whole, lives = trained("lp_ft"), 0
    while True:
        job, lives = Job("lp_ft"), lives + 1
        assert lives < 40, "it does not get on"
        try:
            job.run(ckpt=tmp_path, kill_at=6)
            break
        except Killed:
            continue
    assert lives > 3
    assert differing(whole.state(), job.state()) == []


@pytest.mark.usefixtures("_save_each_step")
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_used(tmp_path: Path) -> None:
    whole = trained("lp_ft")
    with pytest.raises(Killed):
        Job("lp_ft").run(ckpt=tmp_path, kill_at=7)
    newest = sorted(tmp_path.glob("step-*"))[-1] / "state.safetensors"
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    again = Job("lp_ft")
    again.run(ckpt=tmp_path)
    assert [p.name for p in tmp_path.glob("damaged-*")] == [f"damaged-{newest.parent.name}"]
    assert differing(whole.state(), again.state()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_a_checkpoint_and_says_how_to_go_on(number: int, tmp_path: Path) -> None:
    """Without SAVE_EVERY: the checkpoint is there because of the signal."""
    whole, job = trained("lp_ft"), Job("lp_ft")

    class Ring(list[Any]):
        def append(self, event: Json) -> None:
            super().append(event)
            if len(self) == 8:
                signal.raise_signal(number)

    job.events = Ring()
    handler = signal.getsignal(number)
    with pytest.raises(Interrupted) as caught:
        job.run(ckpt=tmp_path)
    assert caught.value.exit_code == 128 + number and "--resume" in caught.value.hint
    assert signal.getsignal(number) is handler
    again = Job("lp_ft")
    again.run(ckpt=tmp_path)
    assert again.events[0]["event"] in ("resumed", "phase_done")
    assert differing(whole.state(), again.state()) == []


@pytest.mark.usefixtures("_save_each_step")
def test_steps_left_over_from_a_finished_phase_do_not_cost_the_next_one_its_checkpoints(tmp_path: Path) -> None:
    """The end of a phase is published, its steps are not yet removed, and the power goes."""
    whole, ckpt, aside = trained("lp_ft"), tmp_path / "ckpt", tmp_path / "aside"
    ends = next(i for i, event in enumerate(whole.events) if event["event"] == "phase_done")
    with pytest.raises(Killed):
        Job("lp_ft").run(ckpt=ckpt, kill_at=ends - 1)
    shutil.copytree(ckpt, aside)
    with pytest.raises(Killed):
        Job("lp_ft").run(ckpt=ckpt, kill_at=5)
    assert (ckpt / "phase-000").is_dir()
    for folder in ckpt.glob("step-*"):
        shutil.rmtree(folder)
    shutil.copytree(aside, ckpt, dirs_exist_ok=True)
    with pytest.raises(Killed):
        Job("lp_ft").run(ckpt=ckpt, kill_at=5)  # the phase that is done, two or three steps of the next, a cut
    again = Job("lp_ft")
    again.run(ckpt=ckpt)
    assert [event["event"] for event in again.events[:2]] == ["phase_done", "resumed"]
    assert differing(whole.state(), again.state()) == []
