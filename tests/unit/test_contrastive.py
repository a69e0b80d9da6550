"""The contrastive step against sums by hand, and that it brings classes apart."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from graft.backbones.toy import toy
from graft.errors import UsageError
from graft.features import Feed
from graft.nn import heads
from graft.recipe import Recipe
from graft.strategies.contrastive import contrastive, supervised
from graft.tasks.classification import classification
from graft.train import Loop
from graft.types import Backbone, Batch, Dataset, Features, Inputs, Model, Sample, Step

torch.set_num_threads(1)


def by_hand(features: Tensor, targets: list[int], temperature: float) -> float:
    """Khosla et al. 2020, equation 2, term by term; the mean over the samples that have a positive."""
    unit = [row / row.norm() for row in features.double()]
    losses = []
    for i, anchor in enumerate(unit):
        others = [a for a in range(len(unit)) if a != i]
        positives = [p for p in others if targets[p] == targets[i]]
        total = sum(math.exp(float(anchor @ unit[a]) / temperature) for a in others)
        shares = [math.log(math.exp(float(anchor @ unit[p]) / temperature) / total) for p in positives]
        if positives:
            losses.append(-sum(shares) / len(positives))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("targets", [[0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1, 2], [0, 0, 0, 0, 0, 0]])
@pytest.mark.parametrize("temperature", [0.05, 0.1, 1.0])
def test_the_loss_is_that_of_the_paper(targets: list[int], temperature: float) -> None:
    features = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    found = supervised(features, torch.tensor(targets), temperature)
    assert float(found) == pytest.approx(by_hand(features, targets, temperature), rel=1e-5)


def test_the_loss_sees_directions_only() -> None:
    features, targets = torch.randn(6, 5), torch.tensor([0, 1, 2, 0, 1, 2])
    lengths = torch.rand(6, 1) + 0.5
    torch.testing.assert_close(supervised(lengths * features, targets, 0.1), supervised(features, targets, 0.1))


def test_classes_that_are_far_apart_cost_only_what_their_own_share() -> None:
    """Two pairs, each in one point, at right angles: -log(e^(1/t) / (e^(1/t) + 2))."""
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, 3.0]])
    found = supervised(features, torch.tensor([0, 1, 0, 1]), 0.5)
    assert float(found) == pytest.approx(math.log(1 + 2 * math.exp(-2)), rel=1e-5)


@pytest.mark.parametrize("targets", [[0, 1, 2, 3], [-1, -1, -1, -1]])
def test_without_a_pair_there_is_nothing_to_learn(targets: list[int]) -> None:
    features = torch.randn(4, 3, requires_grad=True)
    loss = supervised(features, torch.tensor(targets), 0.1)
    loss.backward()
    assert loss == 0 and features.grad is not None and not features.grad.any()


def test_samples_without_a_label_are_nobodys_pair() -> None:
    features = torch.randn(5, 3)
    found = supervised(features, torch.tensor([0, 0, -1, -1, 1]), 0.5)
    assert float(found) == pytest.approx(by_hand(features, [0, 0, 7, 8, 1], 0.5), rel=1e-5)


# ---------------------------------------------------------------------------------------------------------- in the loop


class Plain:
    """Raw is a tensor already."""

    ragged = False

    def sample(self, raw: Tensor) -> Tensor:
        return raw

    def batch(self, samples: Tensor, augment: object = None, seeds: object = ()) -> Inputs:
        return Inputs(samples)

    def json(self) -> dict[str, object]:
        return {"kind": "plain"}


def points(size: int, seed: int, classes: int = 6) -> Dataset:
    """What tells the classes apart is in 3 of 30 dimensions, under noise in all of the others."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, 3, generator=torch.Generator().manual_seed(99))
    x = torch.randn(size, 30, generator=generator)
    x[:, :3] = centres[torch.arange(size) % classes] + 0.3 * x[:, :3]
    names = tuple(f"c{i}" for i in range(classes))
    samples = tuple(Sample(f"{seed}/{i}", i, names[i % classes]) for i in range(size))
    return Dataset("made", "text", samples, names, lambda s: x[s.source], lambda s: x[s.source].numpy().tobytes())


def linear_trunk(lr: float = 0.02) -> Backbone:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        stage = nn.Linear(30, 20)
    info = replace(toy().info, modality="text", dim=20, lr=lr)
    return Backbone(info, [stage], Plain(), lambda inputs: Features(inputs.x))


def run(strategy: str, epochs: int = 15, **options: object) -> tuple[float, list[str]]:
    """Accuracy on new points, and the names of the phases."""
    train, test, backbone = points(48, 0), points(300, 1), linear_trunk()
    task = classification(train.classes)
    model = Model(backbone, heads.linear(20, 6))
    feeds = [Feed(data, backbone, device=torch.device("cpu")) for data in (train, test)]
    recipe = Recipe("made", task="classification", batch_size=16)
    flow = contrastive(model, epochs=epochs, **options)  # type: ignore[arg-type]
    results = Loop(model, task, *feeds, recipe, None, lambda event: None).run(flow)
    return results[-1].valid["accuracy"], [result.phase for result in results]


def test_it_draws_classes_together_before_the_head_is_solved() -> None:
    frozen, _ = run("contrastive", epochs=0)
    tuned, phases = run("contrastive")
    assert phases == ["contrast", "head, logistic"]
    assert tuned > frozen + 0.1, (frozen, tuned)


def test_the_phase_moves_the_trunk_alone_on_pairs_and_keeps_the_last_epoch() -> None:
    model = Model(linear_trunk(3e-5), nn.Linear(20, 6))
    flow = contrastive(model, probe="ridge")
    phase = next(flow)
    assert phase.pairs and not phase.select and phase.loss is not None
    assert {id(p) for group in phase.groups for p in group.params} == {id(p) for p in model.backbone.parameters()}
    assert phase.groups[0].lr == 3e-5
    assert flow.send(None).name == "head, ridge"  # type: ignore[arg-type]


@pytest.mark.parametrize("targets", [torch.rand(4), torch.rand(4, 3), torch.ones(4, 3, dtype=torch.long), ["a"] * 4])
def test_other_labels_than_classes_are_refused(targets: object) -> None:
    model = Model(linear_trunk(), nn.Linear(20, 6))
    loss = next(contrastive(model)).loss
    features = Features(torch.randn(4, 20))
    assert loss is not None
    with pytest.raises(UsageError) as error:
        loss(Step(model, features, Batch(Inputs(features.pooled), targets, torch.arange(4)), torch.zeros(())))
    assert "one class" in error.value.what and "--mix" in error.value.hint


def test_mistakes_are_said_before_the_trunk_moves() -> None:
    flat = nn.Linear(20, 6)
    for head, options in [(flat, {"temperature": 0.0}), (flat, {"last": 0}), (heads.mlp(20, 6, hidden=(8,)), {})]:
        with pytest.raises(UsageError):
            next(contrastive(Model(linear_trunk(), head), **options))


@pytest.mark.parametrize(("stages", "last", "moving"), [(1, None, 1), (2, None, 1), (7, None, 3), (7, 7, 7), (7, 2, 2)])
def test_the_upper_half_moves_unless_told_otherwise(stages: int, last: int | None, moving: int) -> None:
    info = linear_trunk().info
    backbone = Backbone(info, [nn.Linear(20, 20) for _ in range(stages)], Plain(), lambda inputs: Features(inputs.x))
    phase = next(contrastive(Model(backbone, nn.Linear(20, 6)), last=last))
    ours = {id(p) for stage in list(backbone.stages)[stages - moving :] for p in stage.parameters()}
    assert {id(p) for group in phase.groups for p in group.params} == ours
