"""Learning from a teacher: closed forms, what the teacher sees, which class is which, a student that gets nearer."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import draw_flowers
from tests.contracts.test_strategies import CLASSES, RECIPE, TRAIN, VALID, Job
from torch import Tensor, nn
from torch.nn import functional as F

from graft import api, build
from graft.backbones._images import Images
from graft.backbones.bert import bert
from graft.backbones.small import small
from graft.backbones.toy import toy
from graft.backbones.trained import trained
from graft.console import Console
from graft.device import seeded
from graft.errors import Interrupted, UsageError
from graft.features import Feed
from graft.nn import heads
from graft.nn.named import Named
from graft.scoring import predict
from graft.tasks.classification import classification
from graft.terms import _classes, _looks
from graft.terms.distill import Distill, distill, hint, soft_targets
from graft.types import Backbone, Batch, Features, Flow, Inputs, Json, Model, Phase, Step, Text

torch.set_num_threads(1)
CPU = torch.device("cpu")
TASK = classification(CLASSES)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def student(classes: int = 3) -> Model:
    with seeded("student"):
        return Model(toy(dim=32), nn.Linear(32, classes))


def step_of(model: Model, x: Tensor, rows: Tensor | None = None, targets: Tensor | None = None) -> Step:
    rows = torch.arange(len(x)) if rows is None else rows
    batch = Batch(Inputs(x), torch.zeros(len(rows), dtype=torch.long) if targets is None else targets, rows)
    return Step(model, model.backbone(batch.inputs), batch, torch.zeros(()))


# --------------------------------------------------------------------------------------------------------- the losses


def test_a_hint_is_the_squared_error_of_standardised_features() -> None:
    told, guess = noise(40, 5) * torch.tensor([0.3, 1, 3, 5, 10]) + 4, noise(40, 5, seed=1)
    expected = F.mse_loss(guess, F.batch_norm(told, None, None, training=True, eps=1e-9))
    torch.testing.assert_close(hint(guess, told), expected, rtol=1e-3, atol=0)


def test_a_hint_is_nothing_for_who_knows_and_one_for_who_says_the_mean() -> None:
    told = noise(200, 6)
    assert hint((told - told.mean(0)) / told.std(0, correction=0), told) < 1e-8
    assert hint(torch.zeros_like(told), told).item() == pytest.approx(1, rel=1e-4)
    for scale in (1e-4, 1e4):
        assert hint(torch.zeros_like(told), scale * told).item() == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("told", [torch.full((8, 3), 7.3), noise(1, 3), torch.zeros(8, 3), noise(1, 3).expand(4, 3)])
def test_what_does_not_vary_counts_as_nothing(told: Tensor) -> None:
    guess = noise(len(told), 3, seed=1)
    torch.testing.assert_close(hint(guess, told), guess.square().mean(), rtol=1e-2, atol=0)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_soft_targets_are_hintons(temperature: float) -> None:
    """Their gradient is T (p - q) / B: that of the cross-entropy with soft targets, times T squared."""
    mine, theirs = noise(7, 5).requires_grad_(), 3 * noise(7, 5, seed=1)
    p, q = ((logits / temperature).softmax(1) for logits in (mine, theirs))
    loss = soft_targets(mine, theirs, temperature)
    by_hand = temperature**2 * (q * (q.log() - p.log())).sum() / 7
    by_torch = temperature**2 * nn.KLDivLoss(reduction="batchmean")(p.log(), q)
    torch.testing.assert_close(loss, by_hand)
    torch.testing.assert_close(loss, by_torch)
    (gradient,) = torch.autograd.grad(loss, mine)
    torch.testing.assert_close(gradient, temperature * (p - q) / 7, rtol=1e-3, atol=1e-6)
    assert soft_targets(theirs, theirs, temperature) == pytest.approx(0, abs=1e-6)


def test_at_high_temperatures_the_gradient_is_that_of_matching_logits() -> None:
    """Equation 4 of the paper, times T squared: (z - v) / C for logits of mean 0; so its size does not depend on T."""
    mine, theirs = noise(6, 4), noise(6, 4, seed=1)
    mine, theirs = (mine - mine.mean(1, True)).requires_grad_(), theirs - theirs.mean(1, True)
    (gradient,) = torch.autograd.grad(soft_targets(mine, theirs, 1000.0), mine)
    torch.testing.assert_close(gradient, (mine - theirs).detach() / 4 / 6, rtol=2e-2, atol=1e-4)


# ------------------------------------------------------------------------------------------------ what the teacher sees


def seen_by(preprocess: Images, pixels: Tensor) -> Tensor:
    return preprocess.batch(pixels).x


def with_preprocess(backbone: Backbone, preprocess: Images) -> Backbone:
    return Backbone(backbone.info, list(backbone.stages), preprocess, backbone.readout, backbone.heads)


def test_the_teacher_sees_the_same_pixels_normalised_its_own_way_at_its_size() -> None:
    pixels = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mine, theirs = Images(16, 16), Images(16, 20, (0.5, 0.4, 0.3), (0.1, 0.3, 0.25))
    eyes = _looks.eyes(with_preprocess(toy(), mine), with_preprocess(toy(), theirs))
    x = seen_by(mine, pixels)
    torch.testing.assert_close(eyes(Inputs(x)).x, seen_by(replace(theirs, resize=16), pixels), rtol=0, atol=2e-6)
    for size in (24, 8):
        other = _looks.eyes(with_preprocess(toy(), mine), with_preprocess(toy(), replace(theirs, size=size)))
        expected = F.interpolate(seen_by(theirs, pixels), (size, size), mode="bilinear", antialias=size < 16)
        torch.testing.assert_close(other(Inputs(x)).x, expected, rtol=0, atol=1e-5)
    same = _looks.eyes(toy(), toy())
    assert same(Inputs(x)).x is x


def test_the_teacher_says_of_a_view_what_it_says_of_such_a_picture() -> None:
    pixels = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    teacher = with_preprocess(toy(dim=8), Images(16, 16, (0.5,) * 3, (0.5,) * 3)).eval()
    model = student()
    looks = _looks.looking("views", model.backbone, teacher, None)
    with torch.no_grad():
        told = looks(step_of(model, seen_by(model.backbone.preprocess, pixels)))
        torch.testing.assert_close(told, teacher(Inputs(seen_by(teacher.preprocess, pixels))).pooled, atol=1e-5, rtol=0)


def test_what_is_told_once_belongs_to_the_right_samples_and_is_asked_for_once() -> None:
    table, asked, model = noise(9, 8), [], student()

    def samples(teacher: Backbone) -> Tensor:
        asked.append(teacher)
        return table

    looks, rows = _looks.looking("once", model.backbone, toy(dim=8), samples), torch.tensor([7, 0, 3, 3])
    assert torch.equal(looks(step_of(model, noise(4, 3, 16, 16), rows)), table[rows])
    views = looks(step_of(model, noise(8, 3, 16, 16), rows))
    assert torch.equal(views, table[[7, 7, 0, 0, 3, 3, 3, 3]]) and len(asked) == 1


def test_what_is_told_once_is_of_samples_and_not_of_their_mixtures() -> None:
    """It is the run that blends or does not: targets that are rows may be several labels, or several numbers."""
    with pytest.raises(UsageError, match="blends two of them") as mixed:
        build.check_flow(
            replace(RECIPE, strategy="full", mix="mixup", terms=("distill(look='once')",)), student(), TASK
        )
    assert "leave --mix out" in mixed.value.hint
    model = student()
    looks = _looks.looking("once", model.backbone, toy(dim=8), lambda teacher: noise(4, 8))
    assert looks(step_of(model, noise(4, 3, 16, 16), targets=noise(4, 3))).shape == (4, 8)


def test_what_is_told_once_needs_the_samples() -> None:
    model = student()
    with pytest.raises(UsageError, match="does not hand them on") as missing:
        _looks.looking("once", model.backbone, toy(dim=8), None)(step_of(model, noise(4, 3, 16, 16)))
    assert "--mix" not in missing.value.hint


@pytest.mark.parametrize(("strategy", "refused"), [
    ("full", False), ("lp_ft", True), ("gradual", True), ("full(last=1)", True), ("discriminative", True),
    ("lp_ft(start='ridge')", False), ("wise_ft", False), ("discriminative(head_epochs=0)", False),
])  # fmt: skip
def test_a_strategy_that_hides_the_views_is_refused_before_it_begins(strategy: str, refused: bool) -> None:
    """A head that is solved in one step asks no term."""
    recipe, model = replace(RECIPE, strategy=strategy, terms=("distill",)), student()
    if not refused:
        build.check_flow(recipe, model, TASK)
        return
    for begin in (lambda: build.check_flow(recipe, model, TASK), lambda: build.flow(recipe, model)):
        with pytest.raises(UsageError, match="stand still") as caught:
            begin()
        assert "look='once'" in caught.value.hint
    build.check_flow(replace(recipe, terms=("distill(look='once')",)), model, TASK)


def test_a_frozen_prefix_hides_the_views_from_the_teacher() -> None:
    model = student()
    next(model.backbone.stages.children()).requires_grad_(False)
    with pytest.raises(UsageError, match="stand still") as caught:
        distill(model)(step_of(model, noise(4, 3, 16, 16)))
    assert "look='once'" in caught.value.hint


def reader(corpus: str) -> Backbone:
    with seeded("reader"):
        return bert(layers=1, dim=16, heads=2, vocabulary=300, length=16, corpus=lambda: [Text(corpus)] * 4)


def test_texts_are_read_by_two_that_read_alike() -> None:
    mine, teacher = reader("the cat drinks milk"), reader("the cat drinks milk").eval()
    inputs = mine.prepare([Text("the cat"), Text("milk")])
    model = Model(mine, nn.Linear(16, 2)).eval()
    told = _looks.looking("views", mine, teacher, None)(
        Step(model, mine(inputs), Batch(inputs, torch.zeros(2), torch.arange(2)), torch.zeros(()))
    )
    torch.testing.assert_close(told, teacher(inputs).pooled)
    with pytest.raises(UsageError, match="reads samples otherwise"):
        _looks.looking("views", mine, reader("dogs eat bones"), None)


# --------------------------------------------------------------------------------------------------------- its classes


def classifier(names: tuple[str, ...] | None, columns: int = 3) -> Backbone:
    made, head = toy(dim=8), nn.Linear(8, columns)
    made.heads = {"classes": head if names is None else Named(head, names)}
    return made


def columns(teacher: Backbone, classes: tuple[str, ...] | None, by: str = "name", head: nn.Module | None = None) -> Any:
    return _classes.told(teacher, "the teacher", head or nn.Linear(32, len(classes or CLASSES)), classes, by)


def test_classes_are_found_by_their_names_in_whatever_order() -> None:
    teacher, x = classifier(("wasp", "ant", "bee")), noise(5, 8)
    logits = teacher.heads["classes"](x)
    for by in ("name", "place"):
        assert torch.equal(columns(teacher, CLASSES, by)(x), logits[:, [1, 2, 0]])
    assert torch.equal(columns(classifier(CLASSES), ("bee", "wasp", "ant"))(x).shape and x, x)


@pytest.mark.parametrize(
    ("names", "classes", "said"),
    [
        (("ant", "bee", "moth"), CLASSES, "other classes apart than the data have: moth, wasp"),
        (("ant", "bee"), CLASSES, "tells 2 classes apart, and the data have 3"),
        (None, CLASSES, "nobody says which classes the teacher tells"),
        (CLASSES, None, "nobody says which classes the data tells"),
    ],
)
def test_classes_that_may_be_others_are_refused(
    names: tuple[str, ...] | None, classes: tuple[str, ...] | None, said: str
) -> None:
    teacher = classifier(names, len(names or CLASSES))
    with pytest.raises(UsageError, match=said):
        columns(teacher, classes)
    if said.startswith(("other", "nobody")):
        assert torch.equal(columns(teacher, classes, "place")(noise(2, 8)), teacher.heads["classes"](noise(2, 8)))


def test_heads_that_say_no_classes_of_pooled_features_are_refused() -> None:
    with pytest.raises(UsageError, match="brings no classes"):
        columns(toy(), CLASSES)
    maps = classifier(None)
    maps.heads = {"classes": nn.Sequential(nn.Flatten(), nn.Linear(8 * 4, 3))}
    with pytest.raises(UsageError, match="more than its pooled features"):
        columns(maps, CLASSES, "place")
    for head in (heads.Labels(nn.Linear(32, 3)), nn.Linear(32, 4)):
        with pytest.raises(UsageError, match="one class for each sample"):
            columns(classifier(CLASSES), CLASSES, head=head)


@pytest.mark.parametrize(
    "wrong", [{"of": "logits"}, {"look": "twice"}, {"alpha": 0.0}, {"temperature": -1.0}, {"alpha": math.nan},
              {"by": "order"}]
)  # fmt: skip
def test_options_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="no way to learn"):
        distill(student(), **wrong)


def test_a_teacher_of_another_kind_of_samples() -> None:
    for look in ("views", "once"):
        with pytest.raises(UsageError, match="for audio samples"):
            distill(student(), teacher="cnn_tdnn", look=look)
    with pytest.raises(UsageError, match="no backbone called"):
        distill(student(), teacher="toys")


# ------------------------------------------------------------------------------------------------------------ training


def feed(backbone: Backbone) -> Feed:
    return Feed(TRAIN, backbone, device=CPU, targets=())


def flow_of(job: Job, term: Any, **options: Any) -> Flow:
    groups = next(build.flow(job.recipe, job.model)).groups

    def flow() -> Iterator[Phase]:
        yield Phase("all", groups, 6, terms=(term,), **options)

    return flow()  # type: ignore[return-value]


def trained_job(term: str, **more: Any) -> tuple[Job, Distill]:
    job = Job("full", replace(RECIPE, strategy="full(lr=1e-2)", ema=0.0, **more))
    with seeded("term"):
        made = build.parse(term).bind(distill, job.model)
    job.run(flow_of(job, made))
    return job, made


def test_the_teacher_stands_still_and_is_no_part_of_the_state() -> None:
    job = Job("full", replace(RECIPE, strategy="full(lr=1e-2)"))
    term = distill(job.model)
    (looks, _) = term._teacher
    before = {name: tensor.clone() for name, tensor in looks.teacher.state_dict().items()}  # type: ignore[attr-defined]
    job.run(flow_of(job, term))
    after = looks.teacher.state_dict()  # type: ignore[attr-defined]
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert any("running_mean" in name for name in before)
    assert any(not torch.equal(before[name], tensor) for name, tensor in job.model.backbone.state_dict().items())
    assert not looks.teacher.training and not any(p.requires_grad for p in looks.teacher.parameters())  # type: ignore[attr-defined]
    assert set(term.state_dict()) == {"project.weight", "project.bias"} and len(list(term.parameters())) == 2
    assert all(p.requires_grad for p in term.parameters())


def test_what_the_term_owns_is_learned() -> None:
    job = Job("full", replace(RECIPE, strategy="full(lr=1e-2)"))
    term = distill(job.model, teacher="toy(dim=8)")
    before = term.project.weight.clone()  # type: ignore[union-attr]
    job.run(flow_of(job, term))
    assert not torch.equal(before, term.project.weight)  # type: ignore[union-attr]


def unexplained(backbone: Backbone, teacher: Backbone) -> float:
    """The share of the teacher's variance that is no linear function of the student's features, on other samples."""
    (x, z), (a, b) = ([Feed(part, one, device=CPU, targets=()).pooled() for one in (backbone, teacher)]
                      for part in (TRAIN, VALID))  # fmt: skip
    mean, spread = z.mean(0), z.std(0) + 1e-6
    z, b = (z - mean) / spread, (b - mean) / spread
    ones = torch.ones(len(x), 1)
    x, a = torch.cat([x, ones], 1), torch.cat([a, ones[: len(a)]], 1)
    weights = torch.linalg.solve(x.T @ x + 0.1 * torch.eye(x.shape[1]), x.T @ z)
    return float((a @ weights - b).square().mean() / b.square().mean())


@pytest.mark.parametrize("look", ["views", "once"])
def test_a_student_learns_the_features_of_its_teacher_without_labels(look: str) -> None:
    teacher = "small(size=16, widths=(8, 16), blocks=(1, 1))"
    job = Job("full", replace(RECIPE, strategy="full(lr=1e-2)", ema=0.0, augment="none", batchnorm="train"))
    with seeded("term"):
        term = distill(job.model, teacher=teacher, look=look, samples=lambda other: feed(other).pooled())
    made = term._teacher[0].teacher  # type: ignore[attr-defined]
    before = unexplained(job.model.backbone.eval(), made)
    job.run(flow_of(job, term, loss=lambda step: step.loss, select=False))
    assert unexplained(job.model.backbone.eval(), made) < 0.8 * before


def test_a_student_learns_the_classes_of_its_teacher_without_labels(tmp_path: Path) -> None:
    """The teacher was told the labels, has its classes in another order, and is right; the student never sees one."""
    teacher = Job("full", replace(RECIPE, strategy="full(epochs=12, lr=1e-2)"))
    teacher.run(build.flow(teacher.recipe, teacher.model))
    told = teacher.model.backbone
    told.heads = {"classes": Named(teacher.model.head, CLASSES)}
    job = Job("full", replace(RECIPE, strategy="full(lr=1e-2)", ema=0.0, augment="none", batchnorm="train"))
    sees = _looks.looking("views", job.model.backbone, told.requires_grad_(False).eval(), None)
    term = Distill(sees, columns(told, CLASSES, head=nn.Linear(32, 3)), None, 1.0, 4.0)
    right = score(teacher)
    before = score(job)
    job.run(flow_of(job, term, loss=lambda step: step.loss, select=False))
    assert right > 0.9 and before < 0.6 and score(job) > 0.8


def score(job: Job) -> float:
    made = predict(job.model, job.task, job.feed(VALID))
    return job.task.score(made, VALID.targets())["accuracy"]


FLOWERS = {"backbone": "toy", "controls": False, "augment": "none", "valid": 0.3, "test": 0.0}


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_flowers(tmp_path_factory.mktemp("distill") / "flowers", 8)


@pytest.fixture(scope="module")
def teacher(flowers: Path) -> Path:
    api.fit(str(flowers), strategy="ridge", out=str(flowers.parent / "teacher"), **FLOWERS)
    return flowers.parent / "teacher"


@pytest.mark.parametrize("strategy", ["full(epochs=2)", "lp_ft(head_epochs=1, epochs=1)"])
def test_a_run_that_learns_from_another_run(strategy: str, flowers: Path, teacher: Path, tmp_path: Path) -> None:
    """Its classes have the same names; so `by` need not be said."""
    look = "views" if strategy.startswith("full") else "once"
    term = f"distill(teacher='trained:{teacher}', of='classes', look='{look}', by='name')"
    found = api.fit(str(flowers), strategy=strategy, terms=(term,), out=str(tmp_path / "run"), **FLOWERS)
    assert found["phases"] and not any("terms" in name for name in build_state(tmp_path / "run"))


class Stops(Console):
    """A console that presses Ctrl-C while a teacher looks at the samples: after the phase of training has begun."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.events: list[str] = []

    @contextmanager
    def training(self) -> Iterator[Callable[[Json], None]]:
        def tell(event: Json) -> None:
            self.events.append(event["event"])
            if self.events[-2:] == ["phase", "features"]:
                os.kill(os.getpid(), signal.SIGINT)

        yield tell


def test_a_teacher_can_be_interrupted(flowers: Path, tmp_path: Path) -> None:
    options = {**FLOWERS, "strategy": "full(epochs=1)", "terms": ("distill(teacher='toy(dim=8)', look='once')",)}
    console = Stops()
    with pytest.raises(Interrupted) as caught:
        api.fit(str(flowers), out=str(tmp_path / "run"), console=console, **options)
    assert "--resume" in caught.value.hint and "step" not in console.events
    assert api.fit(str(flowers), out=str(tmp_path / "run"), resume=True, **options)["phases"]


def build_state(folder: Path) -> set[str]:
    return set(trained(str(folder)).state_dict())


def test_a_run_with_other_classes_is_refused_before_anything_is_written(teacher: Path, tmp_path: Path) -> None:
    data = draw_flowers(tmp_path / "others", 8)
    (data / "rose").rename(data / "lily")
    term = f"distill(teacher='trained:{teacher}', of='classes')"
    with pytest.raises(UsageError, match="other classes apart than the data have: lily, rose"):
        api.fit(str(data), strategy="full(epochs=1)", terms=(term,), out=str(tmp_path / "run"), **FLOWERS)
    assert not (tmp_path / "run").exists()


def test_a_teacher_with_random_weights_is_the_same_one_each_time() -> None:
    """What is built again after an interruption has to say the same."""
    made = [next(build.flow(replace(RECIPE, terms=("distill(teacher='small(size=16)')",), strategy="full"), student()))
            for _ in range(2)]  # fmt: skip
    first, second = (phase.terms[0]._teacher[0].teacher.state_dict() for phase in made)  # type: ignore[union-attr]
    assert all(torch.equal(first[name], second[name]) for name in small(size=16).state_dict())


def test_half_precision_gives_float32() -> None:
    model = student()
    step = step_of(model, noise(4, 3, 16, 16))
    for term in (distill(model), distill(model, teacher="toy(dim=8)")):
        with torch.autocast("cpu", torch.bfloat16):
            assert term(step._replace(features=Features(step.features.pooled.bfloat16()))).dtype is torch.float32
