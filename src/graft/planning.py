"""What is asked, before any data are read: a recipe of all that was said, every name found, every option tried."""

from __future__ import annotations

import inspect
import shlex
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from graft import augment, augment_sound, build, optim, registry, zoo
from graft.clock import seconds
from graft.data._sniff import open_data, with_columns
from graft.device import pick, precision
from graft.errors import DataError, UsageError
from graft.recipe import AUTO, PRETEXT, pretext
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
    "ema": 0.0,
    "augment": "none",
    "test": 0.0,
}
SCRATCH, FURTHER = "full(epochs=100, lr=2e-3, head_lr=2e-3)", "full(epochs=20, lr=5e-4, head_lr=2e-3)"
LEAST = 4  # images
# the task makes its own views; batch_size and valid: _of_few
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
    _check_pretext(recipe)
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


def _check_pretext(recipe: Recipe) -> None:
    """What goes with a task that makes its labels, and its views, of the samples themselves; and what only with it."""
    task = parse(recipe.task).name
    if not pretext(task):
        if recipe.watch is not None:
            what = "--watch is for trunks that learn without labels; with labels the score of each epoch says more"
            raise UsageError(what, f"leave --watch out, or --task {PRETEXT['image'][0]}")
        return
    if parse(recipe.strategy).name == AUTO:
        what = f"{task} pretrains a trunk: there are no labels that a way could be chosen by"
        raise UsageError(what, f"graft pretrain DATA --task {recipe.task}, and then graft fit --backbone trained:RUN")
    _moving(recipe.strategy)
    usual = Recipe("")
    for flag, own in (("augment", (usual.augment, "none")), ("views", (0,)), ("mix", (None,))):
        if getattr(recipe, flag) not in own:
            raise _own_views(task, flag)


def _own_views(task: str, flag: str) -> UsageError:
    options = ", ".join(_of_views(task))
    hint = f"leave --{flag} out" + (f"; its views have options: --task '{task}({options})'" if options else "")
    return UsageError(f"{task} makes its own views of each sample: --{flag} does not go with it", hint)


def _of_views(task: str) -> list[str]:
    """The options of a task that are those of its views, with their defaults."""
    known = inspect.signature(registry.find("task", task)).parameters
    return [f"{name}={known[name].default}" for name in ("scale", "colour", "share") if name in known]


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
    asked for, by what the images say themselves; a trunk that has learned something goes on more slowly. Few images
    make small batches, or there would be a step or two in an epoch."""
    asked, opened = parse(said.get("task", AUTO)).name, open_data(data)
    labels = any(sample.label is not None for sample in opened.samples)
    if asked not in (AUTO, *PRETEXT["image"]) or (asked == AUTO and labels):
        if not labels:
            registry.find("task", asked)  # a typo is none of labels
            what = f"{asked} learns from labels, and {opened.name} has none"
            raise DataError(what, f"leave --task out, or --task {PRETEXT['image'][0]}: it needs none")
        return {**PRETRAIN, **said, "strategy": _with_rates(said, str(PRETRAIN["strategy"]))}
    if len(opened) < LEAST:
        what = f"{opened.name} holds {len(opened)} images, which are too few to learn a trunk from"
        raise DataError(what, "give some hundreds, without labels; or take a trunk as it is: graft fit")
    task = PRETEXT["image"][0] if asked == AUTO else said["task"]
    if said.get("augment", "none") != "none":
        raise _own_views(parse(task).name, "augment")
    trunk = parse(str(said.get("backbone", PRETRAIN_SELF["backbone"])))
    scratch = trunk.name == PRETRAIN_SELF["backbone"] or trunk.options.get("pretrained") is False
    strategy = _moving(_with_rates(said, SCRATCH if scratch else FURTHER))
    return {**PRETRAIN_SELF, **_of_few(len(opened)), **said, "strategy": strategy, "task": task}


def _with_rates(said: Json, usual: str) -> str:
    """The strategy that is asked for; of "full" without a rate, such as full(epochs=3), with the usual rates."""
    text = str(said.get("strategy", usual))
    asked, ours = parse(text), parse(usual)
    if asked.name != ours.name or "lr" in asked.options:
        return text
    rates = {key: ours.options[key] for key in ("lr", "head_lr") if key in ours.options and key not in asked.options}
    return str(asked.with_options(**rates)) if rates else text


def _of_few(images: int) -> Json:
    """A batch of about an eighth of them, a power of two from 16 to 256; and a validation part of about 100, which is
    not more than a fifth of them nor less than a twentieth."""
    size = 1 << (images // 8).bit_length()
    return {"batch_size": min(256, max(16, size)), "valid": round(min(0.2, max(0.05, 100 / max(1, images))), 3)}


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


def worth(result: Json) -> tuple[str, str]:
    """What to do with a trunk that has been pretrained: whether it is better than what it began with, or than the one
    that nobody has to train, and how it is fitted. Data that have classes are named."""
    folder = Path(result["run"])
    recipe, trunk = read_json(folder / "recipe.json"), read_json(folder / "backbone.json")
    before = recipe["backbone"] if trunk["sha256"] else zoo.DEFAULTS[trunk["modality"]]
    watched = any(look["knn"] is not None for look in result.get("watch") or ())
    known = watched or not pretext(recipe["task"])
    data, own = recipe["watch"] or (recipe["data"] if known else "LABELLED"), f"trained:{folder}"
    compared = ["graft", "compare", data, "--strategy", "ridge", "--backbone", before, "--backbone", own]
    return f"{shlex.join(compared)}   # is it better?", shlex.join(["graft", "fit", data, "--backbone", own])
