"""What every task keeps, whatever its labels mean. Tasks are discovered: a new file is tested without being named.

The cases belong to the kinds of labels, not to the tasks: a new task of a kind that is here needs nothing.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from graft import registry
from graft.recipe import PRETEXT
from graft.spec import Spec
from graft.types import Answers, Batch, Dataset, Features, Info, Inputs, Predictions, Sample, Targets, Task, Text

torch.set_num_threads(1)
DIM = 16
INFO = Info(source=Spec("toy"), modality="text", dim=DIM)
VIEWS = ("pooled", "tokens", "mask", "places")


@dataclass
class Case:
    """Labelled samples whose features tell their labels, and what is right and wrong to say of them."""

    dataset: Dataset
    features: Features
    right: Predictions
    wrong: Predictions


def _dataset(kind: str, classes: tuple[str, ...], labels: list, texts: list[Text] | None = None) -> Dataset:  # type: ignore[type-arg]
    texts = texts or [Text("some words")] * len(labels)
    samples = tuple(Sample(str(i), i, label) for i, label in enumerate(labels))
    return Dataset("case", "text", samples, classes, lambda s: texts[s.source], lambda s: b"", kind=kind)


def _noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def _class() -> Case:
    names, truth = ("ant", "bee", "[/red]", "wasp", "fly", "moth", "gnat"), torch.arange(140) % 7
    features = Features(_noise(140, DIM) + 3 * torch.eye(DIM)[truth])
    right, wrong = (Predictions(torch.eye(7)[guess], names) for guess in (truth, truth.flip(0)))
    return Case(_dataset("class", names, [names[i] for i in truth]), features, right, wrong)


def _labels() -> Case:
    names, row = ("dark", "[/red]", "slow", "wet"), torch.arange(96)
    truth = torch.stack([(row >> bit) % 2 for bit in range(4)], 1).float()
    features = Features(_noise(96, DIM) + 4 * truth @ torch.eye(DIM)[:4])
    labels = [tuple(name for name, there in zip(names, one, strict=True) if there) for one in truth.tolist()]
    right, wrong = (Predictions(guess, names) for guess in (truth, truth.flip(0)))
    return Case(_dataset("labels", names, labels), features, right, wrong)


def _number() -> Case:
    features = Features(_noise(90, DIM))
    truth = features.pooled[:, 0] - features.pooled[:, 1] + 0.1 * features.pooled[:, 2]
    right, wrong = (Predictions(guess.unsqueeze(1)) for guess in (truth, truth.flip(0)))
    return Case(_dataset("number", (), truth.tolist()), features, right, wrong)


def _tags() -> Case:
    """Words of two tokens each between two special ones; texts of three to six words."""
    tags, sizes = ("O", "B-x", "B-[/red]", "I-x"), [3 + i % 4 for i in range(40)]
    truth = [[(i * 5 + w * w) % 4 for w in range(size)] for i, size in enumerate(sizes)]
    tokens, places = _noise(40, 14, DIM), torch.full((40, 14, 2), -1)
    values = torch.zeros(2, 40, 6, 4)
    for i, row in enumerate(truth):
        for w, tag in enumerate(row):
            places[i, 1 + 2 * w : 3 + 2 * w] = torch.tensor([w, w + 1])
            tokens[i, 1 + 2 * w, tag] += 6
            values[0, i, w, tag] = values[1, i, w, (tag + 1) % 4] = 1
    mask = torch.arange(14) < torch.tensor(sizes).unsqueeze(1) * 2 + 2
    texts = [Text(" ".join("abcdef"[:size]), words=tuple("abcdef"[:size])) for size in sizes]
    dataset = _dataset("tags", tags, [tuple(tags[t] for t in row) for row in truth], texts)
    right, wrong = (Predictions(guess, tags) for guess in values)
    return Case(dataset, Features(tokens.mean(1), tokens, (), mask, places), right, wrong)


def _answers() -> Case:
    """A question of two tokens, then a passage of ten words of two letters; every fifth has no answer."""
    context = " ".join("ab"[i % 2] + "cdefghijkl"[i] for i in range(10))
    tokens, places = _noise(50, 15, DIM), torch.full((50, 15, 2), -1)
    places[:, 4:14] = torch.tensor([[3 * w, 3 * w + 2] for w in range(10)])
    mask, values, labels = torch.arange(15).expand(50, -1) < 15, torch.zeros(2, 50, 1, 4), []
    for i in range(50):
        first, last = (i * 3) % 8, (i * 3) % 8 + i % 3
        spans = [3 * first, 3 * last + 2]
        if i % 5 == 0:
            first, last = -4, -4  # the first position of the sequence
            labels.append(Answers((), ()))
            values[0, i, 0] = torch.tensor([-1, -1, -0.1, 1])
        else:
            labels.append(Answers((context[slice(*spans)],), (spans[0],)))
            values[0, i, 0] = torch.tensor([*spans, -0.1, 0])
        values[1, i, 0] = torch.tensor([15, 17, -0.1, 0])
        tokens[i, first + 4, 0] += 8
        tokens[i, last + 4, 1] += 8
    features = Features(tokens.mean(1), tokens, (), mask, places)
    dataset = _dataset("answers", (), labels, [Text("which one", context)] * 50)
    return Case(dataset, features, *(Predictions(guess) for guess in values))


def _transcript() -> Case:
    """Words of one to three characters, each two frames long and a frame of blank after it; one to three words."""
    symbols, blank = (" ", "[", "a", "b", "é"), 5
    words = ("a", "ab", "b[a", "éé")
    texts = [" ".join(words[(i * 3 + w * w) % 4] for w in range(1 + i % 3)) for i in range(30)]
    paths = [[symbols.index(one) for one in text] for text in texts]
    frames = torch.tensor([3 * len(path) for path in paths])
    tokens, values = _noise(30, int(frames.max()), DIM), torch.zeros(2, 30, int(frames.max()), 6)
    for i, path in enumerate(paths):
        for at, symbol in enumerate(path):
            for frame, heard in enumerate((symbol, symbol, blank), 3 * at):
                tokens[i, frame, heard] += 6
                values[0, i, frame, heard] = values[1, i, frame, (heard + 3) % 6] = 1
    mask = torch.arange(int(frames.max())) < frames.unsqueeze(1)
    right, wrong = (Predictions(guess, symbols) for guess in values)
    return Case(_dataset("transcript", symbols, texts), Features(tokens.mean(1), tokens, (), mask), right, wrong)


CASES: dict[str, Callable[[], Case]] = {
    "class": _class,
    "labels": _labels,
    "number": _number,
    "tags": _tags,
    "answers": _answers,
    "transcript": _transcript,
}


def _kind(name: str) -> str:
    """As the task's class says: a task cannot be made without knowing what classes are like, if it has any."""
    function = registry.find("task", name)
    if inspect.signature(function).parameters["classes"].default == ():
        return str(function().kind)
    module = inspect.getmodule(function)
    kinds = {vars(made)["kind"] for made in vars(module).values()
             if inspect.isclass(made) and made.__module__ == module.__name__ and "kind" in vars(made)}  # type: ignore[union-attr]  # fmt: skip
    assert len(kinds) == 1, f"{name} says no kind"
    return kinds.pop()  # type: ignore[no-any-return]


WITHOUT = [name for name in registry.names("task") if _kind(name) == "none"]


def test_tasks_without_labels_are_named_with_the_samples_that_they_are_for() -> None:
    """They are tested in test_tasks_without_labels.py, by what they make of such samples."""
    assert sorted(WITHOUT) == sorted(name for names in PRETEXT.values() for name in names)


@pytest.fixture(params=sorted(set(registry.names("task")) - set(WITHOUT)))
def name(request: pytest.FixtureRequest) -> str:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def case(name: str) -> Case:
    return CASES[_kind(name)]()


@pytest.fixture
def task(name: str, case: Case) -> Task:
    return registry.find("task", name)(case.dataset.classes)  # type: ignore[no-any-return]


@pytest.fixture
def targets(task: Task, case: Case) -> Targets:
    return task.targets(case.dataset)


def _batch(targets: Targets) -> Batch:
    return Batch(Inputs(torch.empty(0)), targets, torch.arange(len(targets)))


def _take(features: Features, rows: Tensor) -> Features:
    seen = {view: value[rows] for view in VIEWS if (value := getattr(features, view)) is not None}
    return Features(**seen)


def _without(dataset: Dataset, rows: set[int]) -> Dataset:
    samples = (replace(s, label=None) if i in rows else s for i, s in enumerate(dataset.samples))
    return dataset.replace(samples=tuple(samples))


def test_a_task_is_a_function_named_like_its_file_with_keyword_options(name: str, task: Task, case: Case) -> None:
    function = registry.find("task", name)
    leading, *options = inspect.signature(function).parameters.values()
    assert function.__name__ == name and leading.name == "classes"
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in options)
    assert task.kind == case.dataset.kind and task.classes == case.dataset.classes
    assert task.needs in ("pooled", "tokens", "maps")


def test_targets_are_one_for_each_sample_and_can_be_picked(task: Task, case: Case, targets: Targets) -> None:
    size, few = len(case.dataset), torch.tensor([3, 0, 5])
    assert len(targets) == size and len(targets[few].to("cpu")) == 3
    picked = Predictions(case.right.values[few], case.right.labels)
    assert task.score(picked, targets[few])[task.metric] == 1
    assert len(task.targets(case.dataset.replace(samples=()))) == 0


def test_the_loss_is_one_number_that_moves_the_head(task: Task, case: Case, targets: Targets) -> None:
    head = task.head(INFO)
    loss = task.loss(head, case.features, _batch(targets))
    loss.backward()
    assert loss.ndim == 0 and loss.dtype is torch.float32 and torch.isfinite(loss)
    assert all(p.grad is not None and p.grad.any() for p in head.parameters())


def test_the_loss_can_be_learned(task: Task, case: Case, targets: Targets) -> None:
    torch.manual_seed(0)
    head = task.head(INFO)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)

    def score() -> float:
        return task.score(task.predict(head.eval(), case.features), targets)[task.metric]

    before = score()
    for _ in range(60):
        optimizer.zero_grad()
        task.loss(head.train(), case.features, _batch(targets)).backward()
        optimizer.step()
    assert score() > before and score() > 0.8


def test_mixed_targets_of_one_share_are_the_plain_targets(task: Task, case: Case, targets: Targets) -> None:
    if task.kind != "class":
        pytest.skip(f"targets of kind {task.kind} are not mixed")
    head, one_hot = task.head(INFO), torch.eye(len(task.classes))[targets]
    plain, mixed = (task.loss(head, case.features, _batch(one)) for one in (targets, one_hot))
    assert torch.allclose(plain, mixed)


def test_samples_without_a_label_move_nothing(task: Task, case: Case, targets: Targets) -> None:
    head, size = task.head(INFO).eval(), len(case.dataset)
    half = torch.arange(size // 2)
    holes = task.targets(_without(case.dataset, set(range(size // 2, size))))
    only = task.loss(head, _take(case.features, half), _batch(targets[half]))
    assert torch.allclose(task.loss(head, case.features, _batch(holes)), only)
    none = task.loss(head, case.features, _batch(task.targets(_without(case.dataset, set(range(size))))))
    none.backward()
    assert none == 0 and all((p.grad == 0).all() for p in head.parameters() if p.grad is not None)


def test_samples_without_a_label_do_not_count(task: Task, case: Case) -> None:
    size = len(case.dataset)
    half, said = torch.arange(size // 2), task.predict(task.head(INFO).eval(), case.features)
    holes = task.targets(_without(case.dataset, set(range(size // 2, size))))
    some = Predictions(said.values[half], said.labels)
    expected = task.score(some, holes[half])
    assert task.score(said, holes) == pytest.approx(expected) and task.report(said, holes) == task.report(
        some, holes[half]
    )
    if task.kind != "class":
        assert task.each(said, holes).mean() == pytest.approx(expected[task.metric])


def test_predictions_of_classes_are_probabilities(task: Task, case: Case) -> None:
    torch.manual_seed(0)
    made = task.predict(task.head(INFO), case.features)
    assert made.values.dtype is torch.float32 and len(made.values) == len(case.dataset)
    assert made.labels == case.dataset.classes and torch.isfinite(made.values).all()
    if task.classes:
        blank = task.kind == "transcript"  # one more than the symbols
        assert made.values.shape[-1] == len(task.classes) + blank and ((made.values >= 0) & (made.values <= 1)).all()
    if task.kind == "class":
        assert torch.allclose(made.values.sum(1), torch.ones(len(made.values)), atol=1e-5)


def test_predicting_changes_nothing_and_rows_do_not_depend_on_their_batch(task: Task, case: Case) -> None:
    head = task.head(INFO).eval().requires_grad_(False)
    before = {name: value.clone() for name, value in head.state_dict().items()}
    whole = task.predict(head, case.features).values
    for rows in torch.arange(len(case.dataset)).split(13):
        part = task.predict(head, _take(case.features, rows)).values
        same = tuple(slice(size) for size in part.shape)
        assert torch.allclose(whole[rows][same], part, atol=1e-5)
        assert torch.allclose(whole[rows].abs().sum(), part.abs().sum(), rtol=1e-5)  # what is wider is padding
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())


def test_half_precision_gives_float32(task: Task, case: Case, targets: Targets) -> None:
    head = task.head(INFO).eval()
    with torch.autocast("cpu", torch.bfloat16):
        assert task.loss(head, case.features, _batch(targets)).dtype is torch.float32
        assert task.predict(head, case.features).values.dtype is torch.float32


def test_scores_measures_and_report_agree_and_are_json(task: Task, case: Case, targets: Targets) -> None:
    made = task.predict(task.head(INFO), case.features)
    scores, measures = task.score(made, targets), task.measure(made, targets)
    assert task.metric in scores and set(scores) <= set(measures)
    for figure, value in scores.items():
        assert math.isfinite(value) and measures[figure].value == pytest.approx(value)
    assert all(m.low <= m.value <= m.high and m.method for m in measures.values())
    assert measures == task.measure(made, targets)
    rows = task.rows(made, case.dataset)
    json.dumps([scores, measures, task.report(made, targets), rows], allow_nan=False)
    assert len(rows) == len(case.dataset) and all("label" in row for row in rows)


def test_what_each_sample_adds_is_in_the_mean_the_metric(task: Task, case: Case, targets: Targets) -> None:
    for made in (task.predict(task.head(INFO).eval(), case.features), case.right, case.wrong):
        each = task.each(made, targets)
        assert each.shape == (len(case.dataset),) and each.dtype is torch.float64
        assert float(each.mean()) == pytest.approx(task.score(made, targets)[task.metric], abs=1e-12)


def test_padding_of_joined_batches_changes_nothing(task: Task, case: Case, targets: Targets) -> None:
    made = task.predict(task.head(INFO).eval(), case.features)
    if made.values.ndim < 3 or not task.classes:
        pytest.skip("one size for all samples")
    wide = Predictions(torch.nn.functional.pad(made.values, (0, 0, 0, 3)), made.labels)
    assert task.score(wide, targets) == task.score(made, targets)
    assert task.measure(wide, targets) == task.measure(made, targets)
    assert task.report(wide, targets) == task.report(made, targets)
    assert task.rows(wide, case.dataset) == task.rows(made, case.dataset)


def test_the_truth_scores_best(task: Task, case: Case, targets: Targets) -> None:
    assert task.score(case.right, targets)[task.metric] == 1 > task.score(case.wrong, targets)[task.metric]


def test_baselines_are_predictions_that_can_be_measured(task: Task, case: Case, targets: Targets) -> None:
    few = torch.arange(20)
    made = task.baselines(case.features.pooled, targets, case.features.pooled[few])
    expected = {"class": {"majority", "centroid"}, "number": {"mean"}, "answers": set()}.get(task.kind, {"majority"})
    assert set(made) >= expected
    scores = {name: task.score(said, targets[few])[task.metric] for name, said in made.items()}
    assert all(len(said.values) == 20 for said in made.values())
    if task.kind == "class":
        assert scores["centroid"] > scores["majority"]
