"""What is asked, before any data are read: a recipe of all that was said, every name found, every option tried."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from graft import augment, augment_sound, build, optim, registry, zoo
from graft.clock import seconds
from graft.data._sniff import open_data, with_columns
from graft.device import pick, precision
from graft.errors import UsageError
from graft.recipe import AUTO, PRETEXT
from graft.recipe import make as make_recipe
from graft.spec import parse
from graft.store import read_json
from graft.types import Json, Recipe

UNKNOWN = "unexpected"  # of a keyword, as Python says it
PRETRAIN = {
    "backbone": "small",
    "strategy": "full(epochs=30, lr=0.1, head_lr=0.1)",
    "head": "linear(standardize=False)",
    "optimizer": "sgd",
    "schedule": "one_cycle",
    "weight_decay": 5e-4,
    "label_smoothing": 0.1,
    "batch_size": 128,
    "clip": 0.0,
    "ema": 0.999,
    "valid": 0.05,
    "test": 0.0,
}  # Smith & Topin 2018; Goyal et al. 2017
PRETRAIN_SELF = {
    "backbone": "small",
    "optimizer": "adamw",
    "schedule": "cosine(warmup=0.1)",
    "weight_decay": 1e-4,
    "batch_size": 256,
    "ema": 0.0,
    "augment": "none",
    "valid": 0.05,
    "test": 0.0,
}  # the task makes its own views
PRETRAIN_TEXT = {
    "backbone": "bert",
    "task": "mlm",
    "optimizer": "adamw",
    "schedule": "cosine(warmup=0.1)",
    "weight_decay": 0.01,
    "batch_size": 32,
    "ema": 0.99,
    "valid": 0.05,
    "test": 0.0,
}  # Devlin et al. 2019, but for the cosine

PRETRAIN_SOUND = {
    "backbone": "cnn_tdnn",
    "strategy": "full(epochs=20, lr=3e-3, head_lr=3e-3)",
    "optimizer": "adamw",
    "schedule": "one_cycle",
    "weight_decay": 0.05,
    "head": "linear(standardize=False)",
    "label_smoothing": 0.1,
    "batch_size": 64,
    "ema": 0.999,
    "valid": 0.05,
    "test": 0.0,
}


def recipe_of(data: str | None, recipe: Recipe | str | Path | None, options: Json, **columns: str | None) -> Recipe:
    """Defaults, then the recipe file, then what was said on top of it. Columns become options of the data."""
    base = recipe.json() if isinstance(recipe, Recipe) else _read_recipe(Path(recipe)) if recipe else {}
    said = {key: value for key, value in options.items() if value is not None}
    named = data or str(base.get("data") or "")
    return make_recipe({**base, **said, **({"data": with_columns(named, **columns)} if named else {})})


def _read_recipe(path: Path) -> Json:
    if not path.is_file():
        raise UsageError(f"there is no recipe {path}", "give the recipe.json of a run")
    record = read_json(path)
    if not isinstance(record, dict):
        raise UsageError(f"{path} is not a recipe", "give the recipe.json of a run")
    return record


def plan(recipe: Recipe) -> None:
    """Find every name and try every option before the data are read, so that a typo costs a second."""
    trunks = zoo.trunks(recipe.backbone) if recipe.strategy == AUTO else [recipe.backbone]
    trunks = [zoo.one_trunk(trunk) for trunk in trunks if trunk != AUTO]
    build.check_strategy(recipe)
    plugins = [*(("backbone", trunk) for trunk in trunks), ("task", _task(recipe))]
    for kind, text in [*plugins, *(("term", term) for term in recipe.terms)]:
        asked, leading = parse(text), (None,) if kind == "term" else ()
        plugin = registry.find(kind, asked.name)
        if kind != "task":  # its general options are tried below
            asked.check(plugin, *leading)
    precision(recipe.precision, pick(recipe.device))
    parse(recipe.engine).bind(registry.find("engine", parse(recipe.engine).name))  # its library is there
    optim.check(recipe.optimizer, recipe.schedule)
    _check_views(recipe)
    build.task(replace(recipe, task=_task(recipe)), build.ANY, (1, 1))
    _check_numbers(recipe)


def _task(recipe: Recipe) -> str:
    """What is asked for, or else the first task that takes the general options: which one it is, the data will say."""
    for task in build.TASKS.values() if recipe.task == AUTO else ():
        with suppress(UsageError):
            build.task(replace(recipe, task=task), build.ANY, (1, 1))
            return task
    return build.TASKS["class"] if recipe.task == AUTO else recipe.task


def _check_views(recipe: Recipe) -> None:
    """What neither images nor sounds know; which of these there are, the data will say."""
    augment.check("none", recipe.mix)
    try:
        augment.build(recipe.augment)
    except UsageError as of_images:
        try:
            augment_sound.build(recipe.augment)
        except UsageError as of_sounds:
            raise _of_both(of_images, of_sounds) from None


def _of_both(images: UsageError, sounds: UsageError) -> UsageError:
    """The refusal of the kind of views that was meant: whose name, and then whose options, are known."""
    for unknown in ("there is no augmentation", UNKNOWN):
        wrong = [unknown in error.what for error in (images, sounds)]
        if wrong[0] != wrong[1]:
            return sounds if wrong[0] else images
    return UsageError(images.what, f"of images: {images.hint}; of sounds: {sounds.hint}")


def _check_numbers(recipe: Recipe) -> None:
    if recipe.batchnorm not in ("auto", "train", "eval"):
        raise UsageError(f"there is no batchnorm '{recipe.batchnorm}'", "choose from: auto, train, eval")
    for name, least in (
        ("batch_size", 1),
        ("accumulate", 1),
        ("views", 0),
        ("clip", 0),
        ("ema", 0),
        ("weight_decay", 0),
    ):
        if getattr(recipe, name) < least:
            raise UsageError(f"{name} is {getattr(recipe, name)}", f"{name} must be at least {least}")
    if recipe.patience is not None and recipe.patience < 1:
        raise UsageError(f"patience is {recipe.patience}", "an epoch at least: --patience 3")
    if recipe.ema >= 1:
        raise UsageError(f"ema is {recipe.ema}", "a decay lies below 1, for example --ema 0.99")
    seconds(recipe.budget)
    if not 0 <= recipe.epsilon < 100:
        raise UsageError(f"epsilon is {recipe.epsilon}", "points of accuracy: --epsilon 0.3")
    if not (0 <= recipe.valid < 1 and 0 <= recipe.test < 1 and recipe.valid + recipe.test <= 0.9):
        what = f"valid={recipe.valid} and test={recipe.test} are not shares that leave enough to train on"
        raise UsageError(what, "--valid 0.15 --test 0.15")


def modality(data: str, said: Json) -> str:
    """As the task says; without one, as the data are."""
    task = parse(said.get("task", AUTO)).name
    found = [kind for kind, names in PRETEXT.items() if task in names]
    return found[0] if found else open_data(data).modality


def of_images(data: str, said: Json) -> Json:
    """The options of a run that learns a trunk of images: by their labels, or where there are none, or where it is
    asked for, by what the images say themselves; a trunk that has learned something goes on more slowly."""
    asked = parse(said.get("task", AUTO)).name
    if asked == AUTO and any(sample.label is not None for sample in open_data(data).samples):
        return {**PRETRAIN, **said}
    if asked != AUTO and asked not in PRETEXT["image"]:
        return {**PRETRAIN, **said}
    trunk = parse(str(said.get("backbone", PRETRAIN_SELF["backbone"])))
    scratch = trunk.name == PRETRAIN_SELF["backbone"] or trunk.options.get("pretrained") is False
    strategy = "full(epochs=100, lr=2e-3, head_lr=2e-3)" if scratch else "full(epochs=20, lr=5e-4, head_lr=2e-3)"
    strategy = _moving(str(said.get("strategy", strategy)))
    task = PRETEXT["image"][0] if asked == AUTO else said["task"]
    return {**PRETRAIN_SELF, **said, "strategy": strategy, "task": task}


def of_sounds(data: str, said: Json) -> Json:
    """The options of a run that learns a trunk of sounds: by their labels, or where there are none by hidden frames."""
    opened, hidden = open_data(data), PRETEXT["audio"][0]
    asked = parse(said.get("task", AUTO)).name
    if asked == hidden or (asked == AUTO and all(sample.label is None for sample in opened.samples)):
        return {**PRETRAIN_SOUND, "task": hidden, "head": "linear", "label_smoothing": 0.0, **said}
    classes = opened.kind == "class"
    return {**PRETRAIN_SOUND, **({} if classes else {"head": "linear", "label_smoothing": 0.0}), **said}


def of_words(said: Json) -> Json:
    """The options of a run that guesses words: a trunk that has learned something goes on more slowly."""
    trunk = parse(str(said.get("backbone", PRETRAIN_TEXT["backbone"])))
    scratch = trunk.name == PRETRAIN_TEXT["backbone"] or trunk.options.get("pretrained") is False
    strategy = str(said.get("strategy", "full(epochs=3, lr=5e-4, head_lr=5e-4)" if scratch else "full(epochs=3)"))
    asked = {**PRETRAIN_TEXT, **said, "strategy": _moving(strategy)}
    return asked if parse(asked["task"]).name != AUTO else {**asked, "task": PRETRAIN_TEXT["task"]}


def _moving(strategy: str) -> str:
    """The strategy, if all of a trunk can move by it. Raises UsageError otherwise."""
    if parse(strategy).name == AUTO or build.is_probe(strategy):
        what = f"{parse(strategy).name} is no way to pretrain a trunk: all of it has to move"
        raise UsageError(what, "--strategy full, or leave it out")
    return strategy
