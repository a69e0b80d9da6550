"""What every explainer keeps, on small problems whose evidence is known: a patch, a word or a tone decides the class.

Explainers are discovered; each is asked about each modality, and answers or names another one that does.
"""

from __future__ import annotations

import copy
import inspect
import random
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from graft import registry
from graft.backbones._pictures import EachWindow, OverWindows
from graft.backbones._readout import maps
from graft.errors import MissingExtra, UsageError
from graft.explainers._asked import Answer, Question
from graft.explainers._words import spans, without
from graft.nn.fitted import Fitted
from graft.tasks.classification import classification
from graft.tasks.multilabel import multilabel
from graft.types import Backbone, Inputs, Model, Raw, Sound, Text

torch.set_num_threads(1)
EXPLAINERS = sorted(registry.names("explainer"))
TRUNKS = {"image": "toy(size=32)", "text": "lstm(dim=16, hidden=16, layers=1)", "audio": "cnn_tdnn(rate=8000, mels=32)",
          "pictures": "spectrogram(trunk='toy(size=32)', rate=8000)"}  # fmt: skip
BY_GRADIENT = ("gradcam", "integrated_gradients")
RATE, PITCHES, BAND = 8000, (500.0, 1800.0), 0.12
SIDE, PATCH = 32, 10
FILLER = ["the", "a", "of", "it", "is", "was", "on", "in", "by", "this", "that", "film", "plot", "and", "with", "for"]
Where = tuple[float, float, float, float]


class Sampled(NamedTuple):
    raw: Raw
    label: int
    where: Where  # of the evidence: rows and columns of an image, (word, word + 1, 0, 0), or seconds and Hz


class Problem(NamedTuple):
    model: Model
    samples: list[Sampled]
    features: Tensor


def _image(rng: np.random.Generator, label: int) -> Sampled:
    """Noise, with a red or a blue patch somewhere."""
    pixels = rng.integers(60, 196, (SIDE, SIDE, 3))
    top, left = (int(value) for value in rng.integers(0, SIDE - PATCH, 2))
    pixels[top : top + PATCH, left : left + PATCH] = (250, 10, 10) if label else (10, 10, 250)
    return Sampled(Image.fromarray(pixels.astype(np.uint8)), label, (top, top + PATCH, left, left + PATCH))


def _text(rng: np.random.Generator, label: int) -> Sampled:
    words = list(rng.choice(FILLER, 8))
    at = int(rng.integers(0, 8))
    words[at] = ("awful", "great")[label]
    return Sampled(Text(" ".join(words)), label, (at, at + 1, 0, 0))


def _sound(rng: np.random.Generator, label: int) -> Sampled:
    """Noise for 0.5 s, with a low or a high tone somewhere in it."""
    time = np.arange(RATE // 2) / RATE
    start = float(rng.uniform(0.05, 0.33))
    tone = np.sin(2 * np.pi * PITCHES[label] * time) * ((time >= start) & (time < start + BAND))
    wave = (0.02 * rng.standard_normal(len(time)) + 0.5 * tone).astype(np.float32)
    sound = Sound(RATE, len(wave), 1, lambda a, b: wave[a:b])
    return Sampled(sound, label, (start, start + BAND, 0.75 * PITCHES[label], 1.3 * PITCHES[label]))


MAKERS: dict[str, Callable[[np.random.Generator, int], Sampled]] = {
    "image": _image, "text": _text, "audio": _sound, "pictures": _sound}  # fmt: skip


def trunk(name: str, raws: list[Raw]) -> Backbone:
    from graft import build

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build.backbone(TRUNKS[name], corpus=lambda: raws).eval()


@cache
def problem(name: str, probe: str = "logistic", count: int = 160) -> Problem:
    rng = np.random.default_rng(0)
    samples = [MAKERS[name](rng, i % 2) for i in range(count)]
    backbone = trunk(name, [one.raw for one in samples])
    with torch.no_grad():
        features = torch.cat([backbone(backbone.prepare([one.raw])).pooled for one in samples])
    head = Fitted(registry.find("probe", probe)(), 2)
    head.fit(features, torch.tensor([one.label for one in samples]))
    return Problem(Model(backbone, head).eval(), samples, features)


def asked(found: Problem, row: int, target: int | None = None) -> Question:
    one = found.samples[row]
    task = classification(("first", "second"))
    return Question(found.model, task, one.raw, one.label if target is None else target, known=found.features)


def explain(method: str, question: Question) -> Answer:
    if method in BY_GRADIENT:
        pytest.importorskip("captum")
    answer: Answer = registry.find("explainer", method)(question)
    return answer


def inside(answer: Answer, one: Sampled) -> tuple[float, float]:
    """Shares of what speaks for the class, and of the area, that lie in the evidence."""
    values = _map(answer).double().clamp(min=0).numpy()
    mask = evidence(answer, one, values.shape)
    return float((values * mask).sum() / values.sum()), float(mask.mean())


def evidence(answer: Answer, one: Sampled, shape: tuple[int, ...]) -> NDArray[np.float64]:
    a, b, c, d = one.where
    if not isinstance(one.raw, Sound):
        mask = np.zeros(shape)
        mask[int(a) : int(b), int(c) : int(d)] = 1
        return mask
    columns = (np.arange(shape[1]) + 0.5) / shape[1] * one.raw.seconds
    edges = np.array(answer.pitches)
    rows = (edges[1:] >= c) & (edges[:-1] <= d)
    return np.outer(rows, (columns >= a - 0.03) & (columns <= b + 0.03)).astype(float)


# -------------------------------------------------------------------------------------------------- what all keep


@pytest.fixture(params=EXPLAINERS)
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=sorted(TRUNKS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_takes_a_question_and_options_that_all_have_defaults(method: str) -> None:
    first, *options = inspect.signature(registry.find("explainer", method)).parameters.values()
    assert first.name == "question"
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in options)
    assert len(registry.names("explainer")[method]) > 20


def test_answers_or_names_a_method_that_does(method: str, name: str) -> None:
    question = asked(problem(name), 0)
    try:
        answer = explain(method, question)
    except UsageError as error:
        other = error.hint.removeprefix("--method ")
        assert other in EXPLAINERS and method in error.what
        answer = explain(other, question)
    if isinstance(question.raw, Text):
        assert answer.near or [word[:3] for word in answer.words] == spans(question.raw)
    else:
        assert answer.near or (answer.map is not None and bool(answer.map.isfinite().all()))
    if answer.pitches:
        assert answer.map is not None and len(answer.pitches) == len(answer.map) + 1
        assert all(a < b for a, b in zip(answer.pitches, answer.pitches[1:], strict=False))


def test_repeats_and_leaves_the_model_alone(method: str) -> None:
    found = problem("image")
    before = {key: value.clone() for key, value in found.model.state_dict().items()}
    first, again = (explain(method, asked(found, 1)) for _ in range(2))
    assert first.near == again.near and (first.map is None or torch.equal(first.map, _map(again)))
    assert all(torch.equal(value, before[key]) for key, value in found.model.state_dict().items())
    assert all(parameter.grad is None for parameter in found.model.parameters())
    assert not found.model.training


def _map(answer: Answer) -> Tensor:
    assert answer.map is not None
    return answer.map


@pytest.mark.parametrize("name", ["image", "text", "audio"])
def test_says_something_else_of_random_weights(method: str, name: str) -> None:
    """Adebayo et al. 2018, arXiv:1810.03292: what does not depend on the weights explains nothing of the network."""
    if (method, name) in (("gradcam", "text"), ("gradcam", "audio")):
        pytest.skip("these have no map")
    found = problem(name)
    model = copy.deepcopy(found.model)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(7)
        for parameter in model.backbone.parameters():
            parameter.copy_(torch.randn_like(parameter) * parameter.std().nan_to_num(0.1).clamp(min=0.05))
        features = torch.cat([model.backbone(model.backbone.prepare([one.raw])).pooled for one in found.samples])
    other = Problem(model, found.samples, features)
    agree = [_agreement(explain(method, asked(found, row)), explain(method, asked(other, row))) for row in range(4)]
    assert np.mean(agree) < 0.75


def _agreement(a: Answer, b: Answer) -> float:
    """Correlation of weights, or the share of the same neighbours."""
    if a.near:
        return len({row for row, _ in a.near} & {row for row, _ in b.near}) / len(a.near)
    first, second = (one.map.flatten().numpy() if one.map is not None else [word.weight for word in one.words]
                     for one in (a, b))  # fmt: skip
    return float(np.corrcoef(first, second)[0, 1])


# ---------------------------------------------------------------------------------------------- what decides is found


@pytest.mark.parametrize(("method", "least"), [("gradcam", 2.0), ("integrated_gradients", 3.5), ("occlusion", 2.5)])
def test_the_patch_that_decides_is_where_the_map_is(method: str, least: float) -> None:
    """Times as much as its share of the area, which is a tenth."""
    found = problem("image")
    shares = np.array([inside(explain(method, asked(found, row)), found.samples[row]) for row in range(12)])
    assert shares[:, 0].mean() > least * shares[:, 1].mean()


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion"])
def test_the_word_that_decides_weighs_most(method: str) -> None:
    found, hits = problem("text"), 0
    for row in range(20):
        words = explain(method, asked(found, row)).words
        heaviest = max(range(len(words)), key=lambda i: words[i].weight)
        hits += heaviest == found.samples[row].where[0]
    assert hits >= 18


@pytest.mark.parametrize("name", ["audio", "pictures"])
@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion"])
def test_the_tone_that_decides_is_where_the_map_is(name: str, method: str) -> None:
    """In time and in pitch, at least twice its share of the area."""
    found = problem(name)
    shares = np.array([inside(explain(method, asked(found, row)), found.samples[row]) for row in range(10)])
    assert shares[:, 0].mean() > 2 * shares[:, 1].mean()


class Ink(nn.Module):
    """(B, 3, S, S) -> how dark each place is, (B, 1, S / 2, S / 2)."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(-x.mean(1, keepdim=True), 2)


def test_gradcam_of_a_sound_is_laid_out_in_time_and_pitch() -> None:
    """A network whose map is the ink of the spectrogram itself, and a head that counts it: its map is highest where the
    tone is. Networks that slide over pitch, as small ones of random weights, do not tell it so plainly."""
    found = problem("pictures")
    old = found.model.backbone
    backbone = Backbone(old.info, [EachWindow(Ink())], old.preprocess, OverWindows(maps))
    head = nn.Linear(1, 2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0], [0.0]]))
    for one in found.samples[:10]:
        answer = explain("gradcam", Question(Model(backbone, head).eval(), classification(("a", "b")), one.raw, 0))
        values = _map(answer).numpy()
        highest = values >= 0.95 * values.max()
        assert bool((highest <= (evidence(answer, one, values.shape) > 0)).all())


def test_the_neighbours_are_of_its_class() -> None:
    for name in ("image", "text", "audio"):
        found = problem(name)
        near = [row for one in range(6) for row, _ in explain("neighbours", asked(found, one)).near]
        assert np.mean([found.samples[row].label == i // 5 % 2 for i, row in enumerate(near)]) > 0.75
        assert explain("neighbours", asked(found, 3)).near[0] == (3, pytest.approx(1.0, abs=1e-4))


def test_what_speaks_for_one_of_two_classes_speaks_against_the_other() -> None:
    found = problem("image")
    for method in ("occlusion", "gradcam", "integrated_gradients"):
        one, other = (_map(explain(method, asked(found, 0, target))) for target in (0, 1))
        assert torch.allclose(one, -other, atol=1e-4 * float(one.abs().max()))


@pytest.mark.parametrize("method", ["gradcam", "integrated_gradients", "occlusion"])
def test_deletion_and_insertion_beat_chance(method: str) -> None:
    """Petsiuk et al. 2018, arXiv:1806.07421: the log-odds fall sooner when the strongest cells go first, and rise
    sooner when they come first, than in a random order."""
    found, rng = problem("image"), random.Random(0)
    areas = {"map": [0.0, 0.0], "random": [0.0, 0.0]}
    for row in range(8):
        question = asked(found, row)
        order = _order(_map(explain(method, question)))
        for key, cells in (("map", order), ("random", rng.sample(order, len(order)))):
            for i, value in enumerate(_areas(question, cells)):
                areas[key][i] += value / 8
    assert areas["map"][0] < areas["random"][0] - 0.5
    assert areas["map"][1] > areas["random"][1] + 0.5


CELL = 4


def _order(values: Tensor) -> list[tuple[int, int]]:
    means = nn.functional.avg_pool2d(values.float()[None, None], CELL)[0, 0]
    flat = means.flatten().argsort(descending=True).tolist()
    return [(i // means.shape[1] * CELL, i % means.shape[1] * CELL) for i in flat]


def _areas(question: Question, order: list[tuple[int, int]]) -> tuple[float, float]:
    """Means of the log-odds along the way, of deletion and of insertion."""
    x = question.inputs([question.raw]).x
    grey = x.mean((2, 3), keepdim=True).expand_as(x)
    found = []
    for start, end in ((x, grey), (grey, x)):
        steps, now = [], start.clone()
        for top, left in order:
            now[:, :, top : top + CELL, left : left + CELL] = end[:, :, top : top + CELL, left : left + CELL]
            steps.append(now.clone())
        with torch.no_grad():
            found.append(float(question.score(torch.cat(steps)).mean()))
    return found[0], found[1]


# ------------------------------------------------------------------------------------------------------- references


def test_integrated_gradients_are_complete() -> None:
    """Sundararajan et al. 2017, proposition 1: they add up to the difference of the log-odds between the two ends."""
    from graft.explainers._sounds import quietest
    from graft.explainers.integrated_gradients import mean_colour

    for name in ("image", "audio", "pictures"):
        question = asked(problem(name), 2)
        inputs = question.inputs([question.raw])
        front = question.model.backbone.preprocess.json().get("front", {})
        quiet = mean_colour(inputs.x) if name == "image" else quietest(front, inputs.x)
        assert quiet is not None
        with torch.no_grad():
            gap = float(question.score(inputs.x, inputs.mask) - question.score(quiet, inputs.mask))
        assert float(_map(explain("integrated_gradients", question)).sum()) == pytest.approx(gap, rel=0.05, abs=0.05)


def test_integrated_gradients_of_a_text_are_complete() -> None:
    question = asked(problem("text"), 2)
    inputs = question.inputs([question.raw])
    quiet = inputs.x.clone()
    quiet[..., 0] = 0
    with torch.no_grad():
        gap = float(question.score(inputs.x, inputs.mask) - question.score(quiet, inputs.mask))
    total = sum(word.weight for word in explain("integrated_gradients", question).words)
    assert total == pytest.approx(gap, rel=0.05, abs=0.05)


def test_occlusion_is_captums() -> None:
    attr = pytest.importorskip("captum.attr")
    question = asked(problem("image"), 4)
    x = question.inputs([question.raw]).x
    step = max(1, round(SIDE / 10))
    with torch.no_grad():
        theirs = attr.Occlusion(question.score).attribute(
            x, (3, 2 * step, 2 * step), (3, step, step), x.mean((2, 3), keepdim=True).expand_as(x))  # fmt: skip
    assert torch.allclose(_map(explain("occlusion", question)), theirs[0, 0].float(), atol=1e-4)


def test_gradcam_is_the_formula() -> None:
    """The deepest map, weighted by the spatial mean of its gradient."""
    from graft.explainers.gradcam import deepest

    question = asked(problem("image"), 5)
    inputs = question.inputs([question.raw])
    assert deepest(question, inputs) is question.model.backbone.stages[-1]
    maps = question.model.backbone.encode(inputs).x.detach().requires_grad_()
    logits = question.model.head(maps.mean((2, 3)))
    gap = logits[0, question.target] - logits[0, 1 - question.target]
    gradient = torch.autograd.grad(gap, maps)[0]
    cam = (maps * gradient.mean((2, 3), keepdim=True)).sum(1, keepdim=True)
    large = nn.functional.interpolate(cam, (SIDE, SIDE), mode="bilinear")[0, 0]
    assert torch.allclose(_map(explain("gradcam", question)), large.detach().float(), atol=1e-5)


@pytest.mark.parametrize("probe", ["logistic", "knn"])
def test_the_score_of_a_class_is_its_log_odds_and_of_votes_their_share(probe: str) -> None:
    found = problem("image", probe)
    question = asked(found, 6)
    x = question.inputs([question.raw]).x
    with torch.no_grad():
        p = found.model.head(question.features(Inputs(x))).double().softmax(1)[0, question.target]
        wanted = p if probe == "knn" else (p / (1 - p)).log()
        assert float(question.score(x)) == pytest.approx(float(wanted), rel=1e-3)


# -------------------------------------------------------------------------------------------- any head, any trunk


@pytest.mark.parametrize("probe", sorted(registry.names("probe")))
def test_occlusion_takes_any_head(probe: str) -> None:
    found = problem("image", probe, 60)
    answer = explain("occlusion", asked(found, 0))
    assert answer.map is not None and answer.map.shape == (SIDE, SIDE)


def test_a_head_without_gradient_is_refused_by_name() -> None:
    for method in BY_GRADIENT:
        with pytest.raises(UsageError, match="no gradient") as caught:
            explain(method, asked(problem("image", "forest", 60), 0))
        assert caught.value.hint == "--method occlusion"


@pytest.mark.parametrize("name", ["tfidf", "mfcc", "pixels"])
def test_trunks_without_a_network_are_explained_by_occlusion(name: str) -> None:
    from graft import build

    kind = {"tfidf": "text", "mfcc": "audio", "pixels": "image"}[name]
    rng = np.random.default_rng(0)
    samples = [MAKERS[kind](rng, i % 2) for i in range(60)]
    backbone = build.backbone(name, corpus=lambda: [one.raw for one in samples]).eval()
    features = torch.cat([backbone(backbone.prepare([one.raw])).pooled for one in samples])
    head = Fitted(registry.find("probe", "ridge")(), 2)
    head.fit(features, torch.tensor([one.label for one in samples]))
    question = asked(Problem(Model(backbone, head), samples, features), 0)
    answer = explain("occlusion", question)
    assert answer.words or answer.map is not None
    with pytest.raises(UsageError):
        explain("gradcam", question)


def test_labels_are_questions_of_their_own() -> None:
    found = problem("image")
    task = multilabel(("red", "blue"))
    torch.manual_seed(0)
    model = Model(found.model.backbone, task.head(found.model.backbone.info)).eval()
    question = Question(model, task, found.samples[0].raw, 1, known=found.features)
    x = question.inputs([question.raw]).x
    with torch.no_grad():
        assert float(question.score(x)) == pytest.approx(float(model.head(question.features(Inputs(x)))[0, 1]))
    assert _map(explain("gradcam", question)).shape == (SIDE, SIDE)


def test_features_of_all_stages_are_explained_too() -> None:
    found = problem("image")
    backbone = found.model.backbone
    with torch.no_grad():
        features = torch.cat([backbone.every_stage(backbone.prepare([one.raw])) for one in found.samples[:60]])
    head = Fitted(registry.find("probe", "ridge")(), 2)
    head.fit(features, torch.tensor([one.label for one in found.samples[:60]]))
    base = asked(found, 0)
    question = Question(Model(backbone, head), base.task, base.raw, base.target, "stages", features)
    for method in EXPLAINERS:
        assert explain(method, question).near or explain(method, question).map is not None


def test_captum_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "captum.attr", None)
    for method in BY_GRADIENT:
        with pytest.raises(MissingExtra, match="captum"):
            registry.find("explainer", method)(asked(problem("image"), 0))
    assert registry.find("explainer", "occlusion")(asked(problem("image"), 0)).map is not None


# ------------------------------------------------------------------------------------------------------------ texts


def test_words_are_found_and_left_out() -> None:
    text = Text("one  two,\t三四 five", "six")
    found = spans(text)
    halves = (text.text, text.pair or "")
    assert [halves[h][a:b] for h, a, b in found] == ["one", "two,", "三", "四", "five", "six"]
    assert without(text, [found[0], found[2], found[5]]) == Text("  two,\t四 five", "")


def test_pairs_are_explained_in_both_halves() -> None:
    found = problem("text")
    raw = Text("the film was great", "it is awful in this scene")
    for method in ("occlusion", "integrated_gradients"):
        words = explain(method, Question(found.model, classification(("first", "second")), raw, 1)).words
        weight = {
            (word.half, (raw.text, raw.pair or "")[word.half][word.start : word.end]): word.weight for word in words
        }
        assert weight[0, "great"] > 0 > weight[1, "awful"]


def test_a_long_text_is_hidden_in_few_pieces() -> None:
    found = problem("text")
    raw = Text(" ".join(["film"] * 500 + ["great"] + ["plot"] * 500))
    words = explain("occlusion", Question(found.model, classification(("first", "second")), raw, 1)).words
    assert len(words) == 1001 and len({word.weight for word in words}) <= 121
