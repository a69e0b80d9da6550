"""THE loop against references: large batches, recursions, and itself when it was interrupted."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from graft import parts
from graft import phase as phase_module
from graft.backbones.pixels import pixels
from graft.backbones.toy import toy
from graft.checkpoint import Checkpoints
from graft.device import permutation, seeded
from graft.errors import Interrupted, ResourceError
from graft.features import Feed
from graft.recipe import Recipe
from graft.scoring import predict
from graft.strategies.full import full
from graft.strategies.linear_probe import linear_probe
from graft.strategies.lp_ft import lp_ft
from graft.tasks.classification import classification
from graft.train import Loop
from graft.types import Backbone, Dataset, Flow, Json, Model, Phase, Result, Sample

CPU = torch.device("cpu")
CLASSES = ("a", "b", "c")
PLAIN = Recipe("made", head="linear(standardize=False)", optimizer="sgd(momentum=0.0, nesterov=False)", batch_size=8,
               schedule="constant", weight_decay=0.0, clip=0.0, ema=0.0, augment="none", batchnorm="train")  # fmt: skip
RICH = replace(PLAIN, optimizer="adamw", schedule="one_cycle", ema=0.9, mix="mixup", accumulate=2, clip=1.0,
               weight_decay=0.1, batch_size=4)  # fmt: skip
Tell = Callable[[Json], None]


def dataset(n: int = 24, seed: int = 0) -> Dataset:
    """Random pixels; the class decides how bright a third of the rows is, so that there is something to learn."""
    images = np.random.default_rng(seed).integers(0, 200, (n, 16, 16, 3), np.uint8)
    for i in range(n):
        images[i, 5 * (i % 3) : 5 * (i % 3) + 5] += 55
    samples = tuple(
        Sample(f"{i}.png", i, CLASSES[i % 3], digest=hashlib.sha256(x.tobytes()).hexdigest())
        for i, x in enumerate(images)
    )
    return Dataset("made", "image", samples, CLASSES, lambda s: Image.fromarray(images[s.source]), lambda s: b"")


class Made:
    """A model, its task, its loop; `events` is what the loop told."""

    def __init__(
        self,
        backbone: Backbone,
        recipe: Recipe = PLAIN,
        folder: Path | None = None,
        tell: Tell | None = None,
        n: int = 24,
    ) -> None:
        self.events: list[Json] = []
        task = classification(CLASSES, head=recipe.head)
        with seeded(0, "head"):
            self.model = Model(backbone, task.head(backbone.info))
        train, valid = (Feed(dataset(size, seed), backbone, device=CPU) for size, seed in ((n, 0), (12, 1)))
        checkpoints = Checkpoints(folder / "ckpt") if folder else None

        def both(event: Json) -> None:
            self.events.append(event)
            if tell:
                tell(event)

        self.loop = Loop(self.model, task, train, valid, recipe, checkpoints, both)

    def run(self, flow: Callable[[Model], Flow]) -> list[Result]:
        return self.loop.run(flow(self.model))

    def state(self) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self.model.state_dict().items()}


def probe(epochs: int = 3, lr: float = 0.1) -> Callable[[Model], Flow]:
    return lambda model: linear_probe(model, epochs=epochs, lr=lr)


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in b)


def close(a: dict[str, Tensor], b: dict[str, Tensor], atol: float) -> bool:
    return a.keys() == b.keys() and all(torch.allclose(a[name].float(), b[name].float(), atol=atol) for name in b)


# --------------------------------------------------------------------------------------------- against plain PyTorch


def test_a_probe_equals_the_loop_by_hand() -> None:
    """Same order, same head, full batches of plain gradient descent with momentum."""
    recipe = replace(PLAIN, optimizer="sgd(momentum=0.9, nesterov=True)", weight_decay=0.01)
    made, hand = Made(pixels(), recipe), Made(pixels(), recipe)
    made.run(probe(epochs=1))
    hand.model.eval()
    head, x, y = hand.model.head, hand.loop.setting.train.pooled(), hand.loop.setting.train.targets
    optimizer = torch.optim.SGD(
        [{"params": [head.weight], "weight_decay": 0.01}, {"params": [head.bias]}], 0.1, 0.9, nesterov=True
    )
    for rows in permutation(24, 0, "order", 0, 0).split(8):
        optimizer.zero_grad()
        nn.functional.cross_entropy(head(x[rows]), y[rows]).backward()
        optimizer.step()
    assert torch.allclose(made.model.head.weight, head.weight, atol=1e-6)
    assert torch.allclose(made.model.head.bias, head.bias, atol=1e-6)


@pytest.mark.parametrize("n", [24, 22])
def test_accumulation_equals_the_large_batch(n: int) -> None:
    """Without BatchNorm; the last group may be smaller."""
    large = Made(pixels(), replace(PLAIN, batch_size=8), n=n)
    small = Made(pixels(), replace(PLAIN, batch_size=2, accumulate=4), n=n)
    first, second = large.run(probe()), small.run(probe())
    assert close(large.state(), small.state(), 1e-5)
    assert first[0].train_loss == pytest.approx(second[0].train_loss, abs=1e-5)


def test_ema_equals_its_recursion() -> None:
    seen: list[dict[str, Tensor]] = []
    recipe, made = replace(PLAIN, ema=0.6), None

    def look(event: Json) -> None:
        if event["event"] == "step" and made is not None:
            seen.append({name: p.detach().clone() for name, p in made.model.head.named_parameters()})

    made = Made(pixels(), recipe, tell=look)
    average = {name: p.detach().clone() for name, p in made.model.head.named_parameters()}
    made.run(probe(epochs=1))
    assert len(seen) == 3
    for step, weights in enumerate(seen):
        decay = min(0.6, (1 + step) / (10 + step))
        average = {name: decay * average[name] + (1 - decay) * weights[name] for name in average}
    assert close(dict(made.model.head.named_parameters()), average, 1e-6)  # type: ignore[arg-type]


def test_clipping_bounds_the_step() -> None:
    made = Made(pixels(), replace(PLAIN, clip=0.01, batch_size=24))
    before = made.state()
    made.run(probe(epochs=1, lr=1.0))
    moved = torch.cat([(made.state()[n] - before[n]).flatten() for n in before if n.startswith("head")]).norm()
    assert float(moved) == pytest.approx(0.01, rel=1e-3)


# ---------------------------------------------------------------------------------------------------- what moves, stays


def test_a_probe_moves_the_head_alone_and_runs_the_trunk_once() -> None:
    made = Made(toy())
    before = made.state()
    (result,) = made.run(probe())
    changed = {name for name, tensor in made.state().items() if not torch.equal(tensor, before[name])}
    assert changed == {"head.weight", "head.bias"}
    assert result.boundary == 4 and result.moved == sum(p.numel() for p in made.model.head.parameters())


def test_the_last_stage_moves_and_what_is_before_it_stays() -> None:
    made = Made(toy())
    before = made.state()
    (result,) = made.run(lambda model: full(model, epochs=2, lr=0.1, last=1))
    changed = {name for name, tensor in made.state().items() if not torch.equal(tensor, before[name])}
    assert changed and all(name.startswith(("head.", "backbone.stages.2.")) for name in changed)
    assert any("running_mean" in name for name in changed), "BatchNorm of a stage that moves keeps its statistics"
    assert result.boundary == 2


@pytest.mark.parametrize("strategy", [probe(4), lambda model: full(model, epochs=3, lr=0.05, last=1)])
def test_a_cached_prefix_trains_like_one_that_runs_again(
    strategy: Callable[[Model], Flow], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Made(toy())
    results = kept.run(strategy)
    monkeypatch.setenv("GRAFT_MEMORY", "0")
    again = Made(toy())
    assert again.run(strategy)[0].boundary == results[0].boundary
    assert close(kept.state(), again.state(), 1e-4)


def test_the_best_epoch_is_kept() -> None:
    """A rate that blows up after the first epoch: the weights of the best epoch are those that stay."""
    made = Made(pixels(), replace(PLAIN, batch_size=24))
    (result,) = made.run(probe(epochs=6, lr=3.0))
    accuracies = [event["valid"]["accuracy"] for event in made.events if event["event"] == "epoch"]
    assert result.best_epoch == accuracies.index(max(accuracies)) and result.valid["accuracy"] == max(accuracies)
    stayed = predict(made.model, made.loop.setting.task, made.loop.setting.valid)
    assert made.loop.setting.task.score(stayed, made.loop.setting.valid.targets)["accuracy"] == max(accuracies)


def test_patience_ends_a_phase() -> None:
    made = Made(pixels(), replace(PLAIN, patience=2))
    (result,) = made.run(probe(epochs=50, lr=0.0))
    assert (result.epochs, result.best_epoch) == (3, 0)


def test_terms_join_the_loss() -> None:
    """A term that is ten times |w|^2 is the gradient of weight decay by 20."""

    def term(step: Any) -> Tensor:
        return 10 * step.model.head.weight.pow(2).sum()

    def decayed(model: Model) -> Flow:
        yield Phase("head", (parts.group(parts.head(model), 0.01),), 2, terms=(term,))

    with_term, with_decay = Made(pixels()), Made(pixels(), replace(PLAIN, weight_decay=20.0))
    with_term.run(decayed)
    with_decay.run(probe(epochs=2, lr=0.01))
    assert close(with_term.state(), with_decay.state(), 1e-5)


def test_a_loss_that_is_not_finite_is_said_with_the_batch() -> None:
    def broken(model: Model) -> Flow:
        yield Phase("head", (parts.group(parts.head(model), 0.1),), 1, terms=(lambda step: step.loss * float("nan"),))

    with pytest.raises(ResourceError, match=r"not finite in phase 'head', epoch 1; the batch: \d+\.png") as caught:
        Made(pixels()).run(broken)
    assert "lower the learning rate" in caught.value.hint


def test_training_learns() -> None:
    (result,) = Made(pixels(), replace(PLAIN, optimizer="adam")).run(probe(epochs=30, lr=0.01))
    assert result.valid["accuracy"] >= 0.9


def test_the_global_generator_neither_matters_nor_moves() -> None:
    torch.manual_seed(1)
    first, before = Made(toy(), RICH), torch.get_rng_state()
    first.run(lambda model: full(model, epochs=1))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    second = Made(toy(), RICH)
    second.run(lambda model: full(model, epochs=1))
    assert equal(first.state(), second.state())


# -------------------------------------------------------------------------------------------------- stop and go on


def strategy(model: Model) -> Flow:
    yield from lp_ft(model, head_epochs=2, epochs=2, lr=0.01)


def after(steps: int, do: Callable[[], object]) -> Tell:
    """A listener that acts when that many steps have been done, over all phases."""
    count = 0

    def tell(event: Json) -> None:
        nonlocal count
        if event["event"] == "step":
            count += 1
            if count == steps:
                do()

    return tell


@pytest.mark.parametrize("recipe", [PLAIN, RICH, replace(RICH, optimizer="rmsprop", patience=2, schedule="plateau")])
@pytest.mark.parametrize("steps", [1, 3, 5, 8, 10])
def test_interrupted_and_resumed_is_bit_equal(recipe: Recipe, steps: int, tmp_path: Path) -> None:
    whole = Made(toy(), recipe)
    results = whole.run(strategy)
    broken = Made(toy(), recipe, tmp_path, after(steps, lambda: os.kill(os.getpid(), signal.SIGINT)))
    with pytest.raises(Interrupted) as caught:
        broken.run(strategy)
    assert caught.value.exit_code == 130 and "--resume" in caught.value.hint
    resumed = Made(toy(), recipe, tmp_path)
    again = resumed.run(strategy)
    assert equal(resumed.state(), whole.state())
    assert [replace(r, seconds=0.0) for r in again] == [replace(r, seconds=0.0) for r in results]


def test_killed_without_a_word_and_resumed_is_bit_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was published last is gone on from, several times over."""
    monkeypatch.setattr(phase_module, "SAVE_EVERY", 0.0)
    whole = Made(toy(), RICH)
    whole.run(strategy)

    def die() -> None:
        raise RuntimeError("power cut")

    for steps in (2, 3, 3):
        with pytest.raises(RuntimeError):
            Made(toy(), RICH, tmp_path, after(steps, die)).run(strategy)
    resumed = Made(toy(), RICH, tmp_path)
    resumed.run(strategy)
    assert equal(resumed.state(), whole.state())
    assert any(event["event"] == "resumed" for event in resumed.events)


def test_a_damaged_checkpoint_costs_steps_and_not_exactness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phase_module, "SAVE_EVERY", 0.0)
    whole = Made(toy(), RICH)
    whole.run(strategy)
    with pytest.raises(Interrupted):
        Made(toy(), RICH, tmp_path, after(4, lambda: os.kill(os.getpid(), signal.SIGTERM))).run(strategy)
    newest = sorted((tmp_path / "ckpt").glob("step-*"))[-1] / "state.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    resumed = Made(toy(), RICH, tmp_path)
    resumed.run(strategy)
    assert equal(resumed.state(), whole.state())


def test_finished_phases_are_not_trained_again(tmp_path: Path) -> None:
    first = Made(toy(), PLAIN, tmp_path)
    results = first.run(strategy)
    second = Made(toy(), PLAIN, tmp_path)
    assert second.run(strategy) == results and equal(first.state(), second.state())
    assert not any(event["event"] == "step" for event in second.events)


def test_sigterm_has_its_own_code(tmp_path: Path) -> None:
    made = Made(toy(), PLAIN, tmp_path, after(2, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted) as caught:
        made.run(strategy)
    assert caught.value.exit_code == 143 and signal.getsignal(signal.SIGTERM) is before


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """A shell starts what runs in its background with Ctrl-C ignored; a terminal does not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
def test_the_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    def twice() -> None:
        first = signal.getsignal(signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        while signal.getsignal(signal.SIGINT) is first:  # two at once may arrive as one
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        Made(toy(), PLAIN, tmp_path, after(2, twice)).run(strategy)


def test_results_go_back_to_the_strategy() -> None:
    seen: list[Result] = []

    def asking(model: Model) -> Flow:
        result = yield Phase("one", (parts.group(parts.head(model), 0.1),), 1)
        seen.append(result)
        if result.valid["accuracy"] >= 0:
            yield Phase("two", (parts.group(parts.head(model), 0.1),), 1)

    results = Made(pixels()).run(asking)
    assert [r.phase for r in results] == ["one", "two"] and seen == results[:1]


def test_a_phase_that_makes_it_worse_leaves_what_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter([0.7, 0.9, 0.8, 0.6])  # two epochs of the head, what the second phase begins with, its one epoch
    monkeypatch.setattr(phase_module.PhaseRun, "_score", lambda self: {"accuracy": next(said), "loss": 1.0})
    made, seen = Made(toy()), []

    def two(model: Model) -> Flow:
        yield from probe(2)(model)
        seen.append(made.state())
        yield from full(model, epochs=1, lr=0.1)

    first, second = made.run(two)
    assert (first.best_epoch, second.best_epoch) == (1, -1) and second.valid["accuracy"] == 0.8
    assert equal(made.state(), seen[0])
