"""The verbs: fit, rank, compare, pretrain, predict, evaluate, adapt. The command line has the same names and arguments.

What only training needs is imported by the verbs that train: `predict` answers in the time that torch takes to load.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft import build, pages, run, seen, zoo
from graft.claims import claim, page_place
from graft.console import Console
from graft.data._audit import unreadable
from graft.data._sniff import with_columns
from graft.device import pick
from graft.engine import Engine
from graft.errors import Interrupted, UsageError
from graft.features import Feed
from graft.hub import folder_of
from graft.intake import for_evaluation, for_prediction, pool_of
from graft.pages import check_language
from graft.planning import modality, of_images, of_sounds, of_words, plan, recipe_of
from graft.recipe import AUTO
from graft.recipe import make as make_recipe
from graft.store import read_json
from graft.types import Dataset, Issue, Json, Predictions, Recipe

if TYPE_CHECKING:
    from graft.trials import Way
    from graft.trust import Looked


def fit(
    data: str | None = None,
    *,
    text: str | None = None,
    label: str | None = None,
    pair: str | None = None,
    recipe: Recipe | str | Path | None = None,
    out: str | None = None,
    resume: bool = False,
    console: Console | None = None,
    controls: bool = True,
    report: bool = True,
    language: str = "en",
    **options: Any,
) -> Json:
    """Adapt a pretrained model to labelled data; returns the run's result, which is also in its result.json.

    `text`, `label` and `pair` name columns, as data.csv(text='body') does. `options` are the fields of Recipe. With
    `resume`, the run in `out` is started, continued, or said to be done; "made" then lists those of report.html and
    README.md that were missing. `report`: whether these are made, the report in `language` (en or zh).
    Raises UsageError, DataError, MissingExtra, ResourceError, IntegrityError, Interrupted.
    """
    from graft.job import Job

    check_language(language)
    asked = recipe_of(data, recipe, options, text=text, label=label, pair=pair)
    plan(asked)
    folder = claim(asked, out, resume)
    if resume and (folder / "result.json").exists():
        return _done(folder, report, language, console or Console(quiet=True))
    try:
        with run.locked(folder):
            return Job(asked, folder, console or Console(quiet=True), controls, report, language).go()
    finally:
        run.drop_if_empty(folder)


def _done(folder: Path, report: bool, language: str, console: Console) -> Json:
    """The result of a finished run; what was killed after it was written gets its report and its model card now."""
    made: list[str] = []
    if report and pages.missing(folder):
        with run.locked(folder):
            made = pages.make(folder, None, language, console)
            run.drop_if_empty(folder)
    return {**read_json(folder / "result.json"), "already_done": True, **({"made": made} if made else {})}


def rank(
    data: str,
    *,
    text: str | None = None,
    label: str | None = None,
    pair: str | None = None,
    backbones: Sequence[str] = (),
    console: Console | None = None,
    seed: int = 0,
    test: float = 0.15,
    sealed: str | None = None,
) -> Json:
    """How well pretrained trunks suit the data, without training: one row each, the best first, with a standard error.

    The test part that `fit` with the same seed, test and sealed would seal is left out. Raises UsageError, DataError,
    MissingExtra.
    """
    from graft.trials import Trials

    data = with_columns(data, text=text, label=label, pair=pair)
    asked = {"data": data, "strategy": AUTO, "backbone": " + ".join(backbones) or AUTO, "seed": seed, "test": test}
    recipe = make_recipe({**asked, "sealed": sealed})
    plan(recipe)
    told = console or Console(quiet=True)
    pool = pool_of(recipe, told)
    zoo.require_classes(pool, "the ranking")
    recipe = zoo.settled(recipe, pool)
    rows = zoo.ranked(Trials(recipe, pool, ()), zoo.trunks(recipe.backbone, pool.modality, pool.kind), told)
    together = zoo.of_groups(pool)
    told.issues(together)
    return {"data": data, "samples": len(pool), "best": rows[0]["backbone"], "trunks": rows,
            "issues": [issue.json() for issue in (*pool.issues, *together)]}  # fmt: skip


def compare(
    data: str,
    *,
    strategies: Sequence[str],
    text: str | None = None,
    label: str | None = None,
    pair: str | None = None,
    backbones: Sequence[str] = (),
    console: Console | None = None,
    **options: Any,
) -> Json:
    """Every strategy on every trunk, on the same folds with the same seeds, with paired differences from the best.

    `options` are the fields of Recipe. The sealed test part is not looked at. Raises what `fit` raises.
    """
    from graft.paired import folds
    from graft.trials import Trials
    from graft.verdict import compared

    if not strategies or AUTO in strategies:
        what = "auto chooses among ways, and is none itself" if strategies else "there is nothing to compare"
        raise UsageError(what, "name the ways to compare: --strategy ridge --strategy lp_ft")
    data = with_columns(data, text=text, label=label, pair=pair)
    said = {key: value for key, value in options.items() if value is not None}
    base = make_recipe({**said, "data": data, "strategy": AUTO, "backbone": " + ".join(backbones) or AUTO})
    for way in _ways(base, strategies, "image"):
        plan(way.recipe(base))
    told = console or Console(quiet=True)
    pool = pool_of(base, told)
    zoo.require_enough(pool)
    base = zoo.settled(base, pool)
    ways = _ways(base, strategies, pool.modality)
    for way in ways:
        zoo.settled(way.recipe(base), pool)
    trials = Trials(base, pool, folds(pool, base.valid or 0.15, base.seed))
    for trunk in dict.fromkeys(way.backbone for way in ways):
        zoo.check_modality(trials.trunk(trunk).backbone.info, pool)
    return {"data": data, "samples": len(pool), "folds": len(trials.folds), "ways": compared(trials, ways, told),
            "issues": [issue.json() for issue in pool.issues]}  # fmt: skip


def _ways(base: Recipe, strategies: Sequence[str], modality: str) -> list[Way]:
    """Every strategy on every trunk that is named, or on the default one."""
    from graft.trials import Way

    asked = zoo.DEFAULTS[modality] if base.backbone == AUTO else base.backbone
    return [Way(trunk, strategy, base.features if build.is_probe(strategy) else "last")
            for trunk in zoo.trunks(asked) for strategy in dict.fromkeys(strategies)]  # fmt: skip


def pretrain(
    data: str, *, text: str | None = None, label: str | None = None, pair: str | None = None, **options: Any
) -> Json:
    """Train a trunk by the same loop, without anything to transfer it to yet; `options` are those of `fit`.

    It begins with random weights or, with a `backbone` that has some, with its own: continued pretraining. Images and
    sounds with labels are learned by these, unless a `task` such as simclr says otherwise; without labels images are
    told apart by their views, texts learned by guessing hidden words, sounds by guessing hidden frames. Labels that
    such a task does not see, or those of `watch`, say how the trunk comes on ("watch" of the result). A trunk of images
    or sounds is written beside the run as trunk.safetensors + .json. Every run is a trunk, too: trained:<its folder>.
    Raises what `fit` raises.
    """
    from graft.pretrained import export_trunk

    data = with_columns(data, text=text, label=label, pair=pair)
    said = {key: value for key, value in options.items() if value is not None}
    kind = modality(data, said)
    if kind == "text":
        return fit(data, controls=False, **of_words(said))
    said = of_sounds(data, said) if kind == "audio" else of_images(data, said)
    result = fit(data, controls=False, **said)
    if not (Path(result["run"]) / "trunk.json").exists():
        export_trunk(Path(result["run"]), result)
    return result


def check(
    data: str,
    *,
    text: str | None = None,
    label: str | None = None,
    pair: str | None = None,
    backbone: str = AUTO,
    seed: int = 0,
    test: float = 0.15,
    valid: float = 0.15,
    sealed: str | None = None,
    fix: str | None = None,
    console: Console | None = None,
) -> Json:
    """What is wrong with labelled data, before anything is learned: "issues", each with severity, count, files and what
    to do, and "scores" of a probe with and without the leaks, if there are any.

    `backbone` is the trunk whose features are looked at, `seed`, `test`, `valid` and `sealed` those of the split that
    `fit` would make. `fix` is a folder for a cleaned copy, or a .csv for a list; the data are never written.
    Raises UsageError, DataError, MissingExtra, ResourceError.
    """
    from graft import checking

    data = with_columns(data, text=text, label=label, pair=pair)
    told = console or Console(quiet=True)
    return checking.check(
        data, backbone=backbone, seed=seed, test=test, valid=valid, sealed=sealed, fix=fix, console=told
    )


def predict(
    folder: str | Path,
    data: str,
    *,
    text: str | None = None,
    label: str | None = None,
    pair: str | None = None,
    coverage: float = 0.9,
    sets: str = "lac",
    abstain_below: float | None = None,
    device: str = "auto",
) -> tuple[list[Json], list[Issue]]:
    """One row for each input: path, label, probability (None, and error, for what cannot be read); and the findings.

    Of a run that has learned how sure it may be (trust.json), the probability is calibrated, "set" holds the classes
    that cover the truth with the stated `coverage` (`sets`: lac, aps, or class for each class alone), and "unlike" says
    that the sample is unlike the training data. With `abstain_below`, a less probable label is None, "abstained" is
    true and "candidate" is the label that it would have been.
    """
    from graft import trust

    loaded = run.load(folder_of(folder))
    asked = trust.asked(loaded, coverage, sets, abstain_below)
    dataset = for_prediction(with_columns(data, text=text, label=label, pair=pair), loaded)
    predictions, words, looked = _predictions(loaded, dataset, device)
    rows = trust.said(loaded, predictions, looked, asked)
    named = [{"path": sample.key, **row} for sample, row in zip(dataset.samples, rows, strict=True)]
    failed = [{"path": key, "label": None, "probability": None, "error": reason}
              for key, reason in unreadable(dataset.issues).items()]  # fmt: skip
    return [*named, *failed], [*dataset.issues, *words]


def evaluate(
    folder: str | Path,
    data: str,
    *,
    text: str | None = None,
    label: str | None = None,
    pair: str | None = None,
    by: str | None = None,
    leave_out: str | None = None,
    unlike: str | None = None,
    device: str = "auto",
    console: Console | None = None,
) -> Json:
    """Figures with intervals of a run on labelled data; what these share with the run's own data is said.

    `by` names a column of groups, such as speakers ("group": the one that the reader finds): "groups" are then the
    figures of each, their mean and the worst. `leave_out` names one, too, and is no question to the model: its recipe
    is fitted anew to all groups but one, for each of them, and scored on that one. `unlike` names other data, of none
    of the classes: how well the run tells them from `data` is in "confidence".
    Raises UsageError, DataError, IntegrityError.
    """
    from graft import groups, trust
    from graft.job import figures_json

    data = with_columns(data, text=text, label=label, pair=pair)
    if leave_out is not None:
        return _left_out(folder_of(folder), data, leave_out, by, device, console)
    data = groups.with_group(data, by) if by else data
    loaded = run.load(folder_of(folder))
    sure = trust.required(loaded, "--unlike") if unlike else trust.read(loaded.folder)
    strange = for_prediction(unlike, loaded) if unlike else None
    dataset = for_evaluation(data, loaded)
    found = groups.grouped(data, dataset, by, "--by") if by else None
    known = seen.before(loaded.folder, dataset)
    (predictions, words, looked), targets = _predictions(loaded, dataset, device), loaded.task.targets(dataset)
    sureness = trust.evaluated(sure, predictions, looked, targets) if sure else {}
    if sure and strange:
        sureness |= trust.told_apart(sure, predictions, looked, *_predictions(loaded, strange, device)[::2])
    scores, report = loaded.task.measure(predictions, targets), loaded.task.report(predictions, targets)
    divided = {"groups": groups.by_group(loaded.task, predictions, targets, found)} if found else {}
    if "test" in known:  # only now: what fails before shows nobody anything
        run.open_sealed(loaded.folder, f"graft evaluate {data}")
    learned = [*seen.issues(known), *seen.unknown(loaded.folder)]
    issues = [*dataset.issues, *learned, *words, *(found.issues() if found else ())]
    return {
        "run": str(folder),
        "data": data,
        "samples": len(dataset),
        "scores": figures_json(scores),
        **divided,
        **({"confidence": sureness} if sureness else {}),
        "seen_before": {name: len(keys) for name, keys in known.items()},
        "report": report,
        "issues": [issue.json() for issue in issues],
    }


def _left_out(folder: Path, data: str, column: str, by: str | None, device: str, console: Console | None) -> Json:
    """The recipe of a run on each group that it was not fitted to."""
    from graft.left_out import leave_one_out

    if by is not None:
        raise UsageError("--by is about the run's model, and --leave-out fits others", f"leave out --by {by}")
    with _again():
        found = leave_one_out(folder, data, column, console=console, device=device)
    way = found.pop("ways")[0]
    return {"run": str(folder), **found, "way": way["way"], "scores": way["scores"], "left_out": column,
            "groups": {name: way[name] for name in ("column", "metric", "groups", "mean", "worst")},
            "seconds": way["seconds"]}  # fmt: skip


def adapt(
    folder: str | Path,
    data: str,
    *,
    text: str | None = None,
    label: str | None = None,
    pair: str | None = None,
    method: str = "adabn",
    out: str | None = None,
    device: str = "auto",
    console: Console | None = None,
) -> Json:
    """Adapt a finished run to another domain, such as a new speaker; the result is a run of its own, in `out`.

    `method`: adabn (BatchNorm statistics of the new samples, without labels), tune or refit (labelled samples), with
    options: "tune(epochs=20, lr=1e-4)". Where there are labels, the run is scored before and after on samples whose
    labels were not used, with the paired difference. Raises UsageError, DataError, IntegrityError.
    """
    from graft.adapting import Adaptation, asked_for

    asked, loaded = asked_for(method), run.load(folder_of(folder))
    data = with_columns(data, text=text, label=label, pair=pair)
    made = claim(replace(loaded.recipe, data=data), out, resume=False)
    try:
        with run.locked(made), _again():
            return Adaptation(loaded, data, asked, made, console or Console(quiet=True), device).go()
    finally:
        run.drop_if_empty(made)


def explain(
    folder: str | Path,
    file: str,
    *,
    method: str = AUTO,
    target: str | None = None,
    out: str | None = None,
    device: str = "auto",
    console: Console | None = None,
) -> Json:
    """Why a run says what it says of one sample (a file, or a text): writes a picture to `out`, else
    <file>-<method>.png in the working folder.

    `method`: gradcam, integrated_gradients, occlusion, neighbours (graft list explainer), or auto; `target` is the
    class to be explained, the predicted one unless given. Raises UsageError, DataError, MissingExtra.
    """
    from graft import explaining

    found, told = folder_of(folder), console or Console(quiet=True)
    return explaining.explain(found, file, method=method, target=target, out=out, device=device, console=told)


def report(
    folder: str | Path,
    *,
    language: str = "en",
    price: float | None = None,
    watts: float | None = None,
    out: str | None = None,
) -> Json:
    """Write the report of a finished run anew: {"run", "report": path}, and "card": path of the model card if there was
    none and the report is not written elsewhere (`out`).

    `language`: en or zh; `price` of an hour of this machine, in any currency; `watts` that it draws, else an estimate.
    Raises UsageError, DataError.
    """
    from graft import hub
    from graft.reporting import card, page

    check_language(language)
    hub.refuse(folder, "has no report: what it would show stays with whoever made the run", "graft report RUN")
    place = page_place(out, Path(folder)) if out and (Path(folder) / "recipe.json").is_file() else None
    made = page.write(Path(folder), language=language, price=price, watts=watts, out=place)
    lacks = out is None and not (Path(folder) / card.NAME).exists()
    return {"run": str(folder), "report": str(made), **({"card": str(card.write(Path(folder)))} if lacks else {})}


def push(folder: str | Path, name: str, *, dry_run: bool = False, private: bool = False) -> Json:
    """Upload a run to the Hugging Face Hub as user/name: data only, with a card. `dry_run` only lists the files.

    Raises UsageError, DataError, IntegrityError, ResourceError.
    """
    from graft import hub

    return hub.push(Path(folder), name, dry_run=dry_run, private=private)


def load(folder: str | Path) -> run.Loaded:
    """A run, checked and ready to predict: a folder, or "hub:user/name", which is downloaded once. What `graft predict`
    and the other verbs take as RUN may be either, too."""
    return run.load(folder_of(folder))


@contextmanager
def _again() -> Iterator[None]:
    """What keeps no checkpoints begins anew."""
    try:
        yield
    except Interrupted as stop:
        raise Interrupted(stop.exit_code - 128, "interrupted", "run the same command again") from None


# -------------------------------------------------------------------------------------------- predict and evaluate


def _predictions(loaded: run.Loaded, dataset: Dataset, device: str) -> tuple[Predictions, list[Issue], Looked]:
    """And what is to be said of how they were made, and how far from the training data the samples are."""
    from graft import trust

    where, view = pick(device), loaded.task.view
    words: list[str] = []
    model, engine = loaded.model.to(where).eval(), Engine.of(replace(loaded.recipe, device=str(where)), words.append)
    needs = build.needs(loaded.recipe, loaded.task)
    feed = Feed(dataset, model.backbone, device=where, augment=view, needs=needs, targets=(), engine=engine, keep=False)
    said, looked = trust.predicted(loaded, feed)
    return said, [Issue("engine", "note", word) for word in words], looked
