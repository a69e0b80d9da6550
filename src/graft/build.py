"""From what a recipe says to what runs: the backbone, the task, the model, and the flow of phases.

A strategy is a file of strategies/, which trains by gradients, or one of probes/, which is fitted to frozen features.
"""

from __future__ import annotations

from dataclasses import replace

from graft import registry
from graft.device import seeded
from graft.errors import UsageError, did_you_mean
from graft.nn.fitted import Fitted
from graft.recipe import AUTO
from graft.spec import Spec, parse
from graft.types import Backbone, Flow, Model, Phase, Recipe, Task


def backbone(text: str, pretrained: bool = True) -> Backbone:
    asked = parse(text)
    source = registry.find("backbone", asked.name)
    return (asked if pretrained else asked.with_options(pretrained=False)).bind(source)  # type: ignore[no-any-return]


def task(recipe: Recipe, classes: tuple[str, ...], counts: tuple[int, ...] | None = None) -> Task:
    """The recipe's general options, then the task's own."""
    asked = parse(recipe.task)
    general = {"head": recipe.head, "loss": recipe.loss, "label_smoothing": recipe.label_smoothing,
               "class_weights": recipe.class_weights, "counts": counts}  # fmt: skip
    options = {**general, **asked.options}
    return Spec(asked.name, asked.target, options).bind(registry.find("task", asked.name), classes)  # type: ignore[no-any-return]


def model(recipe: Recipe, backbone: Backbone, task: Task) -> Model:
    """A probe's head is made by its fit; every other one begins at random."""
    if is_probe(recipe.strategy):
        return Model(backbone, probe(recipe, len(task.classes)))
    with seeded(recipe.seed, "head"):
        return Model(backbone, task.head(backbone.info))


def probe(recipe: Recipe, classes: int) -> Fitted:
    """The head of a recipe whose strategy is a probe, not yet fitted."""
    asked = parse(recipe.strategy)
    return Fitted(asked.bind(registry.find("probe", asked.name)), classes)


def flow(recipe: Recipe, model: Model) -> Flow:
    """The strategy, as far as its first phase: an impossible argument is said before anything is written.

    Any term can join any strategy: the recipe's terms are added to each phase.
    """
    if is_probe(recipe.strategy):
        return _fitted(model, parse(recipe.strategy).name)
    strategy = parse(recipe.strategy)
    phases: Flow = strategy.bind(registry.find("strategy", strategy.name), model)
    asked = [parse(text) for text in recipe.terms]
    terms = tuple(term.bind(registry.find("term", term.name), model) for term in asked)
    return _with_terms(next(phases, None), phases, terms)


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
    while phase is not None:
        result = yield replace(phase, terms=(*phase.terms, *terms))  # type: ignore[arg-type]
        try:
            phase = flow.send(result)
        except StopIteration:
            return
