"""From what a recipe says to what runs: the backbone, the task, the model, and the flow of phases.

A strategy is a file of strategies/, which trains by gradients, or one of probes/, which is fitted to frozen features.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import fields, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graft import augment, augment_sound, registry
from graft.backbones._sounds import Sounds
from graft.backbones._terms import Terms
from graft.backbones._tokens import Tokens
from graft.device import seeded
from graft.errors import DataError, UsageError, did_you_mean
from graft.nn.fitted import Fitted
from graft.nn.tied import Tied
from graft.recipe import AUTO, pretext
from graft.spec import Spec, parse
from graft.types import Backbone, Corpus, Dataset, Flow, Model, Phase, Preprocess, Raw, Recipe, Task

TASKS = {"class": "classification", "labels": "multilabel", "number": "regression", "tags": "token_classification",
         "answers": "question_answering", "transcript": "ctc", "none": "mlm"}  # fmt: skip
ANY = ("O", "B-a")  # classes that every task takes, that of tags too
GENERAL = ("head", "loss", "label_smoothing", "class_weights")  # fields of a recipe that are options of tasks
SPEECH = "cnn_tdnn"  # Graft's own trunk that hands on frames
Samples = Callable[[Backbone], Tensor]  # another trunk -> (N, D), what it makes of the training samples
MOST = 1e30  # the largest number that is learned: what is kept is float32


def backbone(text: str, corpus: Corpus | None = None) -> Backbone:
    asked = parse(text)
    source = registry.find("backbone", asked.name)
    if corpus is not None and "corpus" in inspect.signature(source).parameters:
        source = partial(source, corpus=corpus)
    return asked.bind(source)  # type: ignore[no-any-return]


def corpus(dataset: Dataset) -> Corpus:
    """The texts of the samples that may be learned from. Raises DataError, when it is called, for other samples."""

    def refused() -> Iterable[Raw]:
        what = f"this trunk is for text, and {dataset.name} holds {dataset.modality} samples"
        raise DataError(what, f"leave it out, or choose a trunk for {dataset.modality}: graft list backbone")

    if dataset.modality != "text":
        return refused
    return lambda: (dataset.load(sample) for sample in dataset.samples if sample.split not in ("valid", "test"))


def suited(backbone: Backbone, task: Task) -> Backbone:
    """The backbone as the task's head needs it, made of the same stages.

    A head that says something of every word must see them all: long texts are read in windows, and none is cut.
    Raises UsageError for a trunk that knows no order of words.
    """
    made = backbone.preprocess
    if task.needs != "tokens" or not isinstance(made, Tokens | Terms | Sounds):
        return backbone
    if isinstance(made, Sounds):
        return _hearing(backbone, made, None if task.kind == "transcript" else made.heard)
    if isinstance(made, Terms):
        what = f"{backbone.info.source} says nothing of single words, which is what the task asks for"
        raise UsageError(what, "choose another trunk: --backbone minilm, lstm or vectors")
    return _reading(backbone, replace(made, long="windows"))


def _hearing(backbone: Backbone, made: Sounds, heard: float | None) -> Backbone:
    """So many seconds of a sound; of what is said in it no moment may be left out. Raises UsageError for a trunk that
    hands on no frames, seen on silence."""
    with torch.inference_mode():
        tokens = backbone.eval()(made.batch([torch.zeros(made.rate)])).tokens
    if tokens is None:
        what = f"{backbone.info.source} says nothing of single moments of a sound, which is what the task asks for"
        raise UsageError(what, f"choose another trunk: --backbone {SPEECH}, or transformers:<a wav2vec2>")
    return _reading(backbone, replace(made, heard=heard))


def _reading(backbone: Backbone, preprocess: Preprocess) -> Backbone:
    return Backbone(backbone.info, list(backbone.stages), preprocess, backbone.readout, backbone.heads)


def task(
    recipe: Recipe,
    classes: tuple[str, ...],
    counts: tuple[int, ...] | None = None,
    scale: tuple[float, float] | None = None,
    texts: tuple[str, ...] | None = None,
) -> Task:
    """The recipe's general options as far as they were said, then the task's own. `counts` are the training samples of
    each class, `scale` the mean and deviation of training labels that are numbers, `texts` training transcripts. Raises
    UsageError for an option that the task does not have."""
    asked = parse(recipe.task)
    function = registry.find("task", asked.name)
    known = inspect.signature(function).parameters
    defaults = {one.name: one.default for one in fields(Recipe)}
    said = {key: getattr(recipe, key) for key in GENERAL if getattr(recipe, key) != defaults[key]}
    for key in [key for key in said if key not in known]:
        raise UsageError(f"{asked.name} has no {key}", f"leave --{key.replace('_', '-')} out")
    facts = {"counts": counts, "scale": scale, "texts": texts}
    options = {key: value for key, value in facts.items() if key in known and value is not None}
    return Spec(asked.name, asked.target, {**options, **said, **asked.options}).bind(function, classes)  # type: ignore[no-any-return]


def without_labels(recipe: Recipe) -> bool:
    """Whether the task makes its labels from the samples themselves."""
    return pretext(recipe.task)


def task_for(recipe: Recipe, dataset: Dataset) -> Task:
    """The task, of "auto" the one for such labels, with what it has to know of those to learn from: of the train part,
    or of all that is not divided yet."""
    train = dataset.where(lambda sample: sample.split not in ("valid", "test"))
    labels = [sample.label for sample in train.samples if sample.label is not None]
    counts = None
    if dataset.kind in ("class", "labels"):
        each = Counter(label for found in labels for label in ([found] if dataset.kind == "class" else found))
        counts = tuple(each[name] for name in dataset.classes)
    named = replace(recipe, task=TASKS[dataset.kind]) if recipe.task == AUTO else recipe
    texts = tuple(labels) if dataset.kind == "transcript" else None
    return task(named, dataset.classes, counts, _scale(labels) if dataset.kind == "number" else None, texts)


def _scale(labels: list[float]) -> tuple[float, float]:
    """Mean and deviation, 1 where all are the same. Raises DataError for numbers too large to be learned."""
    values = np.asarray(labels, dtype=np.float64)
    largest = float(np.abs(values).max(initial=0.0))
    if largest > MOST:
        raise DataError(f"a label is {largest:g} in size, and numbers up to {MOST:g} can be learned",
                        "divide the labels by a constant, or take their logarithm")  # fmt: skip
    return float(values.mean()), float(values.std()) or 1.0


def model(recipe: Recipe, backbone: Backbone, task: Task) -> Model:
    """A probe's head is made by its fit; every other one begins at random."""
    if is_probe(recipe.strategy):
        return Model(backbone, probe(recipe, len(task.classes)))
    with seeded(recipe.seed, "head"):
        head = task.head(backbone.info)
    if isinstance(head, Tied):
        head.tie(backbone)
    return Model(backbone, head)


def views(recipe: Recipe, backbone: Backbone, task: Task, part: str) -> Any:
    """What makes the views of a part's samples: the task's own, else in training what the recipe says of images or
    sounds."""
    if task.view is not None:
        return task.view
    builders = {"image": augment.build, "audio": augment_sound.build}
    build_view = builders.get(backbone.info.modality)
    made: Any = build_view(recipe.augment) if part == "train" and build_view else None
    return augment_sound.uncut(made) if task.kind == "transcript" else made


def probe(recipe: Recipe, classes: int) -> Fitted:
    """The head of a recipe whose strategy is a probe, not yet fitted."""
    asked = parse(recipe.strategy)
    return Fitted(asked.bind(registry.find("probe", asked.name)), classes)


def flow(recipe: Recipe, model: Model, samples: Samples | None = None, classes: tuple[str, ...] | None = None) -> Flow:
    """The strategy, as far as its first phase: an impossible argument is said before anything is written.

    Any term can join any strategy: the recipe's terms are added to each phase. `samples`: what another trunk makes of
    the training samples as they are, and `classes`, those of the data, for terms that ask for them.
    """
    if is_probe(recipe.strategy):
        return _fitted(model, parse(recipe.strategy).name)
    phases = _phases(recipe, model)
    first = next(phases, None)
    known = {"samples": samples, "classes": classes, "mix": recipe.mix, "still": _trains_above(first, model)}
    return _with_terms(first, phases, _terms(recipe, model, known))


def check_flow(recipe: Recipe, model: Model, task: Task) -> None:
    """Raises what `flow` raises, and leaves the model as it was: what a strategy puts into it is taken out again.

    Raises UsageError too for a strategy that begins with a trunk whose first stages stand still, where the task has to
    show it the samples in its own way.
    """
    if is_probe(recipe.strategy):
        return
    with closing(_phases(recipe, model)) as phases:
        first = next(phases, None)
        above, still = _trains_above(first, model), first is not None and _stands_still(first, model)
    if still and task.kind == "none" and task.view is not None:
        raise _plain(parse(recipe.task).name)
    _terms(recipe, model, {"samples": None, "classes": task.classes, "mix": recipe.mix, "still": above})


def _plain(task: str) -> UsageError:
    what = f"the first stages of the trunk stand still, and so see plain samples, not the views of {task}"
    return UsageError(what, "move all of it: --strategy full, or --strategy 'discriminative(head_epochs=0)'")


def _trains_above(phase: Phase | None, model: Model) -> bool:
    """Whether a phase takes steps, in which terms have a say, above first stages that stand still."""
    return phase is not None and phase.solve is None and _stands_still(phase, model)


def _stands_still(phase: Phase, model: Model) -> bool:
    """Whether nothing moves of the first stage that has weights: it then sees each sample once, as it is."""
    moving = {id(p) for group in phase.groups for p in group.params}
    weights = next((own for stage in model.backbone.stages if (own := list(stage.parameters()))), [])
    return not any(id(p) in moving for p in weights)


def _terms(recipe: Recipe, model: Model, known: Mapping[str, object]) -> tuple[object, ...]:
    """The recipe's terms, each given what it asks for by name of what is `known`; what one of them owns begins at
    random, as the seed says."""
    made = []
    for i, asked in enumerate(map(parse, recipe.terms)):
        with seeded(recipe.seed, "term", i):
            term = registry.find("term", asked.name)
            given = {key: known[key] for key in known.keys() & inspect.signature(term).parameters.keys()}
            made.append(asked.bind(partial(term, **given), model))
    return tuple(made)


def _phases(recipe: Recipe, model: Model) -> Flow:
    strategy = parse(recipe.strategy)
    return strategy.bind(registry.find("strategy", strategy.name), model)  # type: ignore[no-any-return]


def is_probe(strategy: str) -> bool:
    return parse(strategy).name in registry.names("probe")


def needs(recipe: Recipe, task: Task) -> str:
    """The view of the trunk that heads take: that of the task, or for probes the means of every stage."""
    return "stages" if recipe.features == "stages" else task.needs


def check_strategy(recipe: Recipe) -> None:
    """Raises UsageError for a strategy or an option that does not exist, or does not go with the rest of the recipe."""
    asked = parse(recipe.strategy)
    if asked.name == AUTO:
        asked.check(lambda: None)
        if recipe.head != "linear":
            raise UsageError("auto chooses the head itself", "leave --head out, or name a strategy: --strategy lp_ft")
    elif is_probe(recipe.strategy):
        asked.check(registry.find("probe", asked.name))
        _check_probe(recipe, asked)
    elif asked.name in registry.names("strategy"):
        asked.check(registry.find("strategy", asked.name), None)
    else:
        known = [AUTO, *registry.names("strategy"), *registry.names("probe")]
        raise UsageError(f"there is no strategy called '{asked.name}'", did_you_mean(asked.name, known))
    if recipe.features not in ("last", "stages"):
        raise UsageError(f"there are no features '{recipe.features}'", "choose from: last, stages")
    if recipe.features == "stages" and not is_probe(recipe.strategy):
        hint = "--strategy ridge --features stages"
        raise UsageError(f"features=stages is for probes, and {asked.name} is none", hint)


def _check_probe(recipe: Recipe, asked: Spec) -> None:
    if recipe.head != "linear" or recipe.terms:
        given = f"--head {recipe.head}" if recipe.head != "linear" else "--terms"
        raise UsageError(f"{asked.name} is fitted in one step: {given} does not go with it", f"leave {given} out")


def _fitted(model: Model, name: str) -> Flow:
    head = model.head
    assert isinstance(head, Fitted)
    yield Phase(name, (), 0, solve=head.fit)


def _with_terms(phase: Phase | None, flow: Flow, terms: tuple[object, ...]) -> Flow:
    with closing(flow):
        while phase is not None:
            result = yield replace(phase, terms=(*phase.terms, *terms))  # type: ignore[arg-type]
            try:
                phase = flow.send(result)
            except StopIteration:
                return
