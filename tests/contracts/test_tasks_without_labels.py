"""What every task keeps that makes its labels from the samples. Tasks are discovered: a new file is tested unnamed.

The cases belong to the kinds of samples: some pictures, texts and sounds, and a small trunk of random weights for each.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from graft import build, registry
from graft.backbones.bert import bert
from graft.backbones.cnn_tdnn import cnn_tdnn
from graft.backbones.small import small
from graft.device import seeded
from graft.errors import GraftError, UsageError
from graft.recipe import PRETEXT, Recipe
from graft.samples import Sound
from graft.types import Backbone, Batch, Dataset, Features, Inputs, Model, Predictions, Raw, Sample, Task, Text

torch.set_num_threads(1)
COUNT = 8
MODALITY = {name: modality for modality, names in PRETEXT.items() for name in names}
TASKS = [name for name in registry.names("task") if name in MODALITY]


def pictures() -> list[Raw]:
    """Gradients of colour, each in a direction of its own, with a disc: turned or cut they look otherwise."""
    x, y = np.meshgrid(np.linspace(-1, 1, 40), np.linspace(-1, 1, 40))
    made: list[Raw] = []
    for i in range(COUNT):
        angle = 2 * math.pi * i / COUNT
        planes = [np.sin(3 * (x * math.cos(angle + k) + y * math.sin(angle + k))) for k in range(3)]
        planes[i % 3] = np.where((x - 0.3) ** 2 + (y + 0.4) ** 2 < 0.1, 1.0, planes[i % 3])
        made.append(Image.fromarray((np.stack(planes, 2) * 100 + 128).clip(0, 255).astype(np.uint8)))
    return made


def texts() -> list[Raw]:
    names = ("cat", "dog", "bird", "fish")
    return [Text(f"the {names[i % 4]} sees the {names[(i * 3 + 1) % 4]} at {i} in the morning") for i in range(COUNT)]


def sounds() -> list[Raw]:
    """Notes that rise, 0.6 s long."""
    time = np.arange(4800) / 8000
    waves = [np.sin(2 * math.pi * (200 + 150 * i) * time * (1 + time)).astype(np.float32) for i in range(COUNT)]
    return [Sound(8000, len(time), 1, lambda start, stop, wave=wave: wave[start:stop]) for wave in waves]  # type: ignore[misc]


def reader() -> Backbone:
    return bert(layers=1, dim=16, heads=2, vocabulary=300, length=24, corpus=lambda: texts())  # type: ignore[arg-type]


CASES: dict[str, tuple[Callable[[], list[Raw]], Callable[[], Backbone]]] = {
    "image": (pictures, lambda: small(size=32, widths=(8, 16), blocks=(1, 1))),
    "text": (texts, reader),
    "audio": (sounds, lambda: cnn_tdnn(rate=8000, mels=16, widths=(4, 8), dim=8, blocks=1)),
}


@dataclass
class Case:
    """A task with its head on a trunk, and what the loop would hand to both."""

    name: str
    task: Task
    model: Model
    samples: list[Tensor]
    dataset: Dataset

    @property
    def head(self) -> nn.Module:
        return self.model.head

    def inputs(self, rows: list[int], view: Any = True) -> Inputs:
        """The same view of a sample each time, as in scoring."""
        preprocess, few = self.model.backbone.preprocess, [self.samples[i] for i in rows]
        chosen: Any = few if preprocess.ragged else torch.stack(few)
        return preprocess.batch(chosen, self.task.view, rows) if view else preprocess.batch(chosen)

    def features(self, rows: list[int] | None = None, view: bool = True) -> Features:
        return self.model.backbone(self.inputs(list(range(COUNT)) if rows is None else rows, view))  # type: ignore[no-any-return]

    def batch(self, count: int = COUNT) -> Batch:
        return Batch(self.inputs(list(range(count))), torch.zeros(count, dtype=torch.long), torch.arange(count))

    def loss(self) -> Tensor:
        return self.task.loss(self.head, self.features(), self.batch())

    def said(self) -> Predictions:
        with torch.no_grad():
            return self.task.predict(self.head, self.features())


@pytest.fixture(params=TASKS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def case(name: str) -> Case:
    """As `Job` makes it: the trunk as the task's head needs it, and the head gets to know it."""
    raws, trunk = (make() for make in CASES[MODALITY[name]])
    recipe = Recipe("some", task=name, strategy="full")
    task = build.task(recipe, ())
    with seeded(0, "backbone"):
        backbone = build.suited(trunk, task)  # type: ignore[arg-type]
    model = build.model(recipe, backbone, task).eval()
    samples = [backbone.preprocess.sample(raw) for raw in raws]  # type: ignore[union-attr]
    rows = tuple(Sample(f"{i}.x", i) for i in range(COUNT))
    dataset = Dataset("some", MODALITY[name], rows, (), lambda s: raws[s.source], lambda s: b"", kind="none")  # type: ignore[index]
    return Case(name, task, model, samples, dataset)


def test_every_task_named_for_a_kind_of_samples_is_one_without_labels(name: str, case: Case) -> None:
    function = registry.find("task", name)
    leading, *options = inspect.signature(function).parameters.values()
    assert function.__name__ == name and leading.name == "classes" and leading.default == ()
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in options)
    assert case.task.kind == "none" and case.task.classes == () and function().metric == case.task.metric
    assert case.task.view is not None and case.task.needs != "pooled", "plain features would be kept in its place"
    assert function(("a", "b")).kind == "none", "classes mean nothing to it"


def test_views_are_fixed_by_their_seeds_and_independent_of_the_batch(case: Case) -> None:
    whole, again = case.inputs(list(range(COUNT))), case.inputs(list(range(COUNT)))
    assert torch.equal(whole.x, again.x) and len(whole.x) % COUNT == 0
    views = len(whole.x) // COUNT
    alone = case.inputs([5])
    rows = whole.x[5 * views : 6 * views]
    size = tuple(slice(n) for n in alone.x.shape)
    torch.testing.assert_close(alone.x, rows[size], rtol=0, atol=1e-5)
    preprocess = case.model.backbone.preprocess
    few: Any = [case.samples[5]] if preprocess.ragged else case.samples[5][None]
    others = [preprocess.batch(few, case.task.view, [seed]) for seed in range(20)]
    assert any(o.x.shape != others[0].x.shape or not torch.equal(o.x, others[0].x) for o in others), "views differ"


def test_the_loss_is_a_finite_number_that_moves_head_and_trunk(case: Case) -> None:
    case.model.train()
    loss = case.loss()
    loss.backward()
    assert loss.ndim == 0 and loss.dtype is torch.float32 and torch.isfinite(loss)
    for part in (case.head, *case.model.backbone.stages):
        found = [p.grad for p in part.parameters()]
        assert not found or any(g is not None and g.any() for g in found), type(part)
        assert all(g is None or torch.isfinite(g).all() for g in found)


def test_the_loss_can_be_learned(case: Case) -> None:
    """The same views again and again: who learns nothing of them has no gradient worth the name."""
    optimizer = torch.optim.Adam(case.model.parameters(), lr=1e-2)
    case.model.train()
    torch.manual_seed(0)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        losses.append(case.loss())
        losses[-1].backward()
        optimizer.step()
    first, last = (float(torch.stack(few).mean().detach()) for few in (losses[:3], losses[-3:]))
    assert last < 0.9 * first


def test_predictions_are_one_for_each_sample_whatever_the_batch(case: Case) -> None:
    before = {name: value.clone() for name, value in case.model.state_dict().items()}
    whole = case.said().values
    assert len(whole) == COUNT and whole.dtype is torch.float32 and torch.isfinite(whole).all()
    with torch.no_grad():
        for rows in ([0, 1, 2], [3, 4, 5, 6, 7]):
            part = case.task.predict(case.head, case.features(rows)).values
            torch.testing.assert_close(part, whole[rows], rtol=1e-3, atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in case.model.state_dict().items())


def test_figures_agree_and_are_json(case: Case) -> None:
    said, targets = case.said(), case.task.targets(case.dataset)
    scores, measures = case.task.score(said, targets), case.task.measure(said, targets)
    assert len(targets) == COUNT and case.task.metric in scores and set(scores) <= set(measures)
    for figure, value in scores.items():
        assert math.isfinite(value) and measures[figure].value == pytest.approx(value)
    assert all(m.low <= m.value <= m.high and m.method for m in measures.values())
    assert measures == case.task.measure(said, targets)
    each = case.task.each(said, targets)
    assert each.shape == (COUNT,) and each.dtype is torch.float64
    assert float(each.mean()) == pytest.approx(scores[case.task.metric])
    rows = case.task.rows(said, case.dataset)
    assert len(rows) == COUNT and all("label" in row for row in rows)
    json.dumps([scores, measures, case.task.report(said, targets), rows], allow_nan=False)
    assert case.task.baselines(torch.empty(COUNT, 0), targets, torch.empty(COUNT, 0)) == {}


def test_predictions_that_cannot_be_scored_are_refused(case: Case) -> None:
    said, targets = case.said(), case.task.targets(case.dataset)
    with pytest.raises(GraftError):
        case.task.score(Predictions(said.values[:-1]), targets)
    with pytest.raises(GraftError, match="diverged"):
        case.task.score(Predictions(torch.full_like(said.values, math.nan)), targets)
    with pytest.raises(GraftError):
        case.task.score(Predictions(said.values[:0]), targets[:0])
    assert len(case.task.targets(case.dataset.replace(samples=()))) == 0


def test_a_trunk_that_has_collapsed_has_a_finite_loss_and_figures(case: Case) -> None:
    """All features are one: no division by what does not vary, and nothing that looks like success."""
    made = case.features()
    constant = made._replace(
        pooled=torch.full_like(made.pooled, 0.3).requires_grad_(),
        tokens=None if made.tokens is None else torch.full_like(made.tokens, 0.3),
        maps=tuple(torch.full_like(one, 0.3) for one in made.maps),
    )
    case.head.train()
    loss = case.task.loss(case.head, constant, case.batch())
    loss.backward()
    assert torch.isfinite(loss) and all(p.grad is None or torch.isfinite(p.grad).all() for p in case.head.parameters())
    with torch.no_grad():
        said = case.task.predict(case.head.eval(), constant)
    scores = case.task.score(said, case.task.targets(case.dataset))
    assert all(map(math.isfinite, scores.values())) and scores[case.task.metric] <= 0.5


def test_a_frozen_prefix_which_sees_samples_as_they_are_is_refused(case: Case) -> None:
    plain = case.features(view=False)
    for refused in (
        lambda: case.task.loss(case.head, plain, case.batch()),
        lambda: case.task.predict(case.head, plain),
    ):
        with pytest.raises(UsageError, match="stand still") as caught:
            refused()
        assert "--strategy full" in caught.value.hint


def test_what_pictures_as_they_are_are_told_is_the_same_for_all() -> None:
    said = set()
    for name in (name for name in TASKS if MODALITY[name] == "image"):
        features = Features(torch.zeros(4, 8))
        with pytest.raises(UsageError) as caught:
            build.task(Recipe("some", task=name), ()).predict(nn.Identity(), features)
        said.add((caught.value.what, caught.value.hint))
    assert len(said) == 1


def test_half_precision_gives_float32(case: Case) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert case.loss().dtype is torch.float32
        assert case.said().values.dtype is torch.float32


def test_the_head_is_made_again_from_the_recipe_and_takes_its_state(case: Case) -> None:
    """With all that is moved beside the trunk, such as a teacher: a run is read back in this way."""
    recipe = Recipe("some", task=case.name, strategy="full", seed=3)
    again = build.model(recipe, case.model.backbone, build.task(recipe, ()))
    again.load_state_dict(case.model.state_dict())
    with torch.no_grad():
        found = case.task.predict(again.eval().head, case.features()).values
    assert torch.equal(found, case.said().values)
    owned = {id(p) for p in case.head.parameters()} & {id(p) for p in case.model.backbone.parameters()}
    assert not owned, "a part of the trunk is not a part of the head"
