"""What every task keeps, whatever its labels mean. Tasks are discovered: a new file is tested without being named.

A task that cannot be built from class names, or whose head takes another view than `pooled`, needs its own case here.
"""

import inspect
import json
import math

import pytest
import torch
from torch import Tensor

from graft import registry
from graft.spec import Spec
from graft.types import Batch, Features, Info, Inputs, Predictions, Task

torch.set_num_threads(1)
CLASSES, DIM, SIZE = ("ant", "bee", "[/red]", "wasp", "fly", "moth", "gnat"), 16, 140
INFO = Info(source=Spec("toy"), modality="image", dim=DIM)


@pytest.fixture(params=sorted(registry.names("task")))
def task(request: pytest.FixtureRequest) -> Task:
    made: Task = registry.find("task", request.param)(CLASSES)
    if made.needs != "pooled":
        pytest.skip(f"the head takes {made.needs}: no case yet")
    return made


@pytest.fixture
def features() -> Features:
    return Features(torch.randn(SIZE, DIM, generator=torch.Generator().manual_seed(0)) + 3 * torch.eye(DIM)[_targets()])


def _targets() -> Tensor:
    return torch.arange(SIZE) % len(CLASSES)


def _batch(targets: Tensor) -> Batch:
    return Batch(Inputs(torch.empty(0)), targets, torch.arange(len(targets)))


def test_a_task_is_a_function_named_like_its_file_with_keyword_options(task: Task) -> None:
    function = registry.find("task", type(task).__module__.rpartition(".")[2])
    leading, *options = inspect.signature(function).parameters.values()
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in options)


def test_the_loss_is_one_number_that_moves_the_head(task: Task, features: Features) -> None:
    head = task.head(INFO)
    loss = task.loss(head, features, _batch(_targets()))
    loss.backward()
    assert loss.ndim == 0 and torch.isfinite(loss) and all(p.grad is not None for p in head.parameters())


def test_the_loss_can_be_learned(task: Task, features: Features) -> None:
    torch.manual_seed(0)
    head, batch = task.head(INFO), _batch(_targets())
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    before = task.score(task.predict(head, features), _targets())[task.metric]
    for _ in range(40):
        optimizer.zero_grad()
        task.loss(head, features, batch).backward()
        optimizer.step()
    after = task.score(task.predict(head, features), _targets())[task.metric]
    assert after > before and after > 0.8


def test_mixed_targets_of_one_share_are_the_plain_targets(task: Task, features: Features) -> None:
    head, one_hot = task.head(INFO), torch.eye(len(CLASSES))[_targets()]
    plain, mixed = (task.loss(head, features, _batch(targets)) for targets in (_targets(), one_hot))
    assert torch.allclose(plain, mixed)


def test_samples_without_a_label_move_nothing(task: Task, features: Features) -> None:
    head, half = task.head(INFO), SIZE // 2
    holes = torch.where(torch.arange(SIZE) < half, _targets(), -1)
    only = task.loss(head, Features(features.pooled[:half]), _batch(_targets()[:half]))
    assert torch.allclose(task.loss(head, features, _batch(holes)), only)
    none = task.loss(head, features, _batch(torch.full((SIZE,), -1)))
    none.backward()
    assert none == 0 and all((p.grad == 0).all() for p in head.parameters() if p.grad is not None)


def test_predictions_are_probabilities_of_named_classes(task: Task, features: Features) -> None:
    made = task.predict(task.head(INFO), features)
    assert made.labels == CLASSES and made.values.dtype is torch.float32 and made.values.shape == (SIZE, len(CLASSES))
    assert torch.allclose(made.values.sum(1), torch.ones(SIZE), atol=1e-5) and (made.values >= 0).all()


def test_predicting_changes_nothing_and_rows_do_not_depend_on_their_batch(task: Task, features: Features) -> None:
    head = task.head(INFO).eval()
    before = {name: value.clone() for name, value in head.state_dict().items()}
    whole = task.predict(head, features).values
    parts = [task.predict(head, Features(part)).values for part in features.pooled.split(33)]
    assert torch.allclose(whole, torch.cat(parts), atol=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())


def test_scores_measures_and_report_agree_and_are_json(task: Task, features: Features) -> None:
    made = task.predict(task.head(INFO), features)
    scores, measures = task.score(made, _targets()), task.measure(made, _targets())
    assert task.metric in scores and set(scores) <= set(measures)
    for name, value in scores.items():
        assert math.isfinite(value) and measures[name].value == pytest.approx(value)
    assert all(m.low <= m.value <= m.high for m in measures.values())
    json.dumps([scores, measures, task.report(made, _targets()), task.rows(made)], allow_nan=False)
    assert len(task.rows(made)) == SIZE


def test_the_truth_scores_best(task: Task) -> None:
    truth = Predictions(torch.eye(len(CLASSES))[_targets()], CLASSES)
    wrong = Predictions(torch.eye(len(CLASSES))[_targets().flip(0)], CLASSES)
    assert task.score(truth, _targets())[task.metric] == 1 > task.score(wrong, _targets())[task.metric]


def test_baselines_are_predictions_that_can_be_measured(task: Task, features: Features) -> None:
    made = task.baselines(features.pooled, _targets(), features.pooled[:50])
    assert set(made) >= {"majority", "centroid"}
    scores = {name: task.score(predictions, _targets()[:50])[task.metric] for name, predictions in made.items()}
    assert scores["centroid"] > scores["majority"]
