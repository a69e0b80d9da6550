"""Leave one group out: a recipe repeated once for each group, fitted on all the others and scored on that one.

It says what to expect of a speaker, a patient or a camera that nobody has seen. Nothing of the group that is left out
is used for anything: not for a vocabulary, be it of a trunk or the symbols and word pieces of transcripts, not for the
words of a language model or a dictionary, not to scale features; only the names of classes are those of all samples.
Letters that the others do not have count as errors. Nothing is chosen, so there is no validation part, and the last
epoch counts. Every way is measured on the same folds, so that differences are paired.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from graft import build, groups, intake, registry, run, seen, transcripts, zoo
from graft.console import Console
from graft.data._audit import audit
from graft.errors import DataError, UsageError
from graft.groups import Grouped, Rows
from graft.paired import Array, Fold, corrected
from graft.recipe import AUTO
from graft.spec import parse
from graft.store import read_json
from graft.trials import Trials, Way
from graft.types import Dataset, Issue, Json, Recipe

COPIES = ("exact-copies", "near-copies")  # findings of the audit
PLAIN = (
    "class",
    "answers",
)  # kinds of labels whose metric is a plain mean over samples; of others it is a ratio of sums


def leave_one_out(
    asked: Recipe | str | Path,
    data: str,
    group: str = groups.ANY,
    ways: Sequence[Way] = (),
    *,
    console: Console | None = None,
    folder: Path | None = None,
    device: str | None = None,
) -> Json:
    """A recipe, or the one that the run in a folder came to, on each group of `data`: figures, mean and worst group.

    `ways` are measured in place of the recipe's own; each has its differences from the first one. `folder` keeps what
    each sample adds to the score (trials.jsonl), and what is kept there is not measured again. "scores" are those of
    all samples together, for a metric that is a plain mean over them; of the others, such as word accuracy, F1 of tags
    and R2, there are the figures of each group and their mean.

    It is a figure of the recipe, not of the model that the run has. Where `data` hold samples of the run's sealed test
    part, an opening is recorded. Raises UsageError for "auto" without ways, DataError for fewer than two groups and a
    folder with other trials, and what `fit` raises.
    """
    told, data = console or Console(quiet=True), groups.with_group(data, group)
    recipe, pool = _of_recipe(asked, data, told) if isinstance(asked, Recipe) else _of_run(Path(asked), data)
    recipe = replace(recipe, device=device or recipe.device)
    found = groups.grouped(data, pool, group, "--leave-out")
    folds, dropped = _folds(pool, found)
    pool = pool.replace(samples=tuple(replace(sample, split=None) for sample in pool.samples))
    recipe, chosen = _ways(recipe, pool, ways)
    trials = _measured(recipe, pool, folds, chosen, list(found.rows), told, folder)
    known = {} if isinstance(asked, Recipe) else seen.before(Path(asked), pool)
    if "test" in known:  # only now: what fails before shows nobody anything
        run.open_sealed(Path(str(asked)), f"leave one {group} out of {data}")
    issues = [*pool.issues, *found.issues(), *_few(found), *dropped, *_known(known), *_pretrained(chosen, pool)]
    return {"data": data, "samples": sum(len(fold.test) for fold in folds), "metric": trials.task.metric,
            "ways": [_row(trials, way, chosen[0], found) for way in chosen],
            "seen_before": {name: len(keys) for name, keys in known.items()},
            "issues": [issue.json() for issue in issues]}  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- the data


def _of_run(folder: Path, data: str) -> tuple[Recipe, Dataset]:
    """What the run came to (of "auto": what it chose), and the samples as it has learned to read them."""
    loaded = run.load(folder)
    return loaded.recipe, intake.for_evaluation(data, loaded)


def _of_recipe(recipe: Recipe, data: str, console: Console) -> tuple[Recipe, Dataset]:
    """All labelled samples, whatever parts the data name."""
    dataset = intake.read(replace(recipe, data=data, valid=0.0, test=0.0, sealed=None), console)
    return recipe, dataset.where(lambda sample: sample.label is not None)


def _ways(recipe: Recipe, pool: Dataset, ways: Sequence[Way]) -> tuple[Recipe, tuple[Way, ...]]:
    """The recipe with what the data settle, and what is measured: its own way if no other is named.

    Raises UsageError for a way that cannot be measured on them.
    """
    asked = [way.strategy for way in ways] or [recipe.strategy]
    if any(parse(strategy).name == AUTO for strategy in asked):
        raise UsageError("auto chooses among ways, and is none itself", "name one: --strategy lp_ft, or ridge")
    settled = zoo.settled(replace(recipe, strategy=asked[0]), pool)
    chosen = tuple(ways) or (Way(zoo.one_trunk(settled.backbone), settled.strategy, settled.features),)
    for way in chosen:
        build.check_strategy(way.recipe(settled))
        zoo.settled(way.recipe(settled), pool)
    return settled, chosen


def _folds(pool: Dataset, found: Grouped) -> tuple[tuple[Fold, ...], list[Issue]]:
    """One fold for each group, and what is not trained on because the group that is left out holds a copy of it.

    Raises DataError for fewer than two groups, and where the others of one hold a single class.
    """
    if len(found.rows) < 2:
        what = (
            f"all samples of {pool.name} belong to one group, '{next(iter(found.rows))}': there are no others to fit on"
        )
        raise DataError(what, f"give data with at least two groups in the column {found.column}")
    copies, folds, lost = _copies(pool), [], set[int]()
    for name, test in found.rows.items():
        others = np.concatenate([rows for other, rows in found.rows.items() if other != name])
        shared = np.isin(copies[others], copies[test]) & (copies[others] >= 0)
        lost |= set(others[shared].tolist())
        train = np.sort(others[~shared])
        if pool.kind == "class" and len({pool.samples[i].label for i in train}) < 2:
            what = f"without the group '{name}' fewer than two classes are left to learn from"
            raise DataError(what, "give groups that each hold several classes")
        folds.append(Fold(train, test, np.ones(len(test), bool)))
    return tuple(folds), _dropped(pool, sorted(lost))


def _copies(pool: Dataset) -> Rows:
    """(N,) samples with one number are copies of each other; -1: of none. The audit joins the groups that share a copy,
    so those that it names as copies are looked at once more, as if the data had no groups."""
    named = {key for issue in pool.issues if issue.code in COPIES for key in issue.keys}
    alone = tuple(replace(sample, group=None) for sample in pool.samples if sample.key in named)
    found = {s.key: s.group for s in audit(pool.replace(samples=alone, issues=())).samples} if alone else {}
    numbers = {name: i for i, name in enumerate(dict.fromkeys(filter(None, found.values())))}
    return np.array([numbers.get(found.get(sample.key) or "", -1) for sample in pool.samples], dtype=np.int64)


# --------------------------------------------------------------------------------------------------------- the trials


def _measured(
    recipe: Recipe,
    pool: Dataset,
    folds: tuple[Fold, ...],
    ways: Sequence[Way],
    names: Sequence[str],
    console: Console,
    folder: Path | None,
) -> Trials:
    """Every way on every fold; what a frozen trunk computes is computed once for all of them."""
    trials = Trials(recipe, pool, folds, folder)
    for trunk in dict.fromkeys(way.backbone for way in ways if not _reads(way)):
        zoo.check_modality(trials.trunk(trunk).backbone.info, pool)
        trials.open(trunk, console)
    missing = [(way, k) for way in ways for k in trials.missing(way)]
    with console.phase("trials", len(missing), "groups left out") as bar:
        for done, (way, k) in enumerate(missing):
            if _reads(way) or pool.kind == "transcript":
                _measure_apart(trials, way, k)
            else:
                trials.measure(way, k)
            bar(done + 1, names[k])
    return trials


def _reads(way: Way) -> bool:
    """Whether the trunk makes something of its own, such as a vocabulary, from the samples to learn from."""
    return "corpus" in inspect.signature(registry.find("backbone", parse(way.backbone).name)).parameters


def _measure_apart(trials: Trials, way: Way, fold: int) -> None:
    """With what is made of the samples of the other groups alone: a trunk, or the symbols of transcripts."""
    kept = set(trials.folds[fold].train.tolist())
    samples = [replace(s, split="train" if i in kept else "test") for i, s in enumerate(trials.pool.samples)]
    pool = trials.pool.replace(samples=tuple(samples))
    if pool.kind == "transcript":
        pool = transcripts.with_symbols(pool, **transcripts.options(parse(trials.recipe.task).options))
    alone = Trials(trials.recipe, pool, trials.folds)
    if not _reads(way):
        alone.share(way.backbone, trials)
    zoo.check_modality(alone.trunk(way.backbone).backbone.info, alone.pool)
    alone.measure(way, fold)
    trials.keep(way, fold, alone.hits[way][fold], alone.seconds[way])


def _row(trials: Trials, way: Way, first: Way, found: Grouped) -> Json:
    """A way's figures, and its difference from the first way: Student's t over the groups."""
    each = {name: trials.hits[way][k] for k, name in enumerate(found.rows)}
    metric, everything = trials.task.metric, np.concatenate(list(each.values()))
    named = {"way": f"{way.strategy}{' of all stages' * (way.features == 'stages')} on {way.backbone}",
             "strategy": way.strategy, "backbone": way.backbone, "features": way.features}  # fmt: skip
    apart = None if way == first else corrected(_differences(trials, way, first), 0.0, len(everything) / len(each))
    return named | {
        "scores": {metric: groups.score(everything)._asdict()} if trials.pool.kind in PLAIN else {},
        **groups.summary(metric, found.column, each),
        "gain": apart._asdict() if apart else None,
        "seconds": round(trials.seconds[way], 2),
    }


def _differences(trials: Trials, a: Way, b: Way) -> Array:
    """(G,) of the means of the groups."""
    return np.array([(trials.hits[a][k] - trials.hits[b][k]).mean() for k in range(len(trials.folds))])


# -------------------------------------------------------------------------------------------------------- the findings


def _few(found: Grouped) -> list[Issue]:
    if len(found.rows) > 2:
        return []
    what = "there are only two groups: their mean has an interval, but hardly a meaning"
    return [Issue("two-groups", "warning", what, tuple(found.rows), "give more groups")]


def _dropped(pool: Dataset, rows: Sequence[int]) -> list[Issue]:
    keys = tuple(pool.samples[i].key for i in rows)
    what = f"{len(keys)} samples are not trained on while a group with a copy of them is left out"
    return [Issue("copies-between-groups", "note", what, keys)] if keys else []


def _known(known: seen.Seen) -> list[Issue]:
    """What is left out is fitted anew; but the way itself may have been chosen by these samples."""
    learned = tuple(key for name in ("train", "valid") for key in known.get(name, ()))
    what = "the run was made with these samples: models are fitted anew here, but its recipe may be chosen by them"
    found = [Issue("seen-before", "note", what, learned)] if learned else []
    return [*found, *seen.issues({name: keys for name, keys in known.items() if name == "test"})]


def _pretrained(ways: Sequence[Way], pool: Dataset) -> list[Issue]:
    """Trunks of other runs that have seen these samples, the left out ones among them."""
    found = []
    for trunk in dict.fromkeys(way.backbone for way in ways):
        known = {key for run_folder in _runs(trunk) for keys in seen.before(run_folder, pool).values() for key in keys}
        keys = tuple(sample.key for sample in pool.samples if sample.key in known)
        what = f"{trunk} was pretrained on these samples, those of each left out group among them"
        found += [Issue("pretrained-on", "warning", what, keys, "pretrain on other data")] if keys else []
    return found


def _runs(trunk: str) -> Iterator[Path]:
    """The folders of the runs that a trunk went through, the last one first, as far as they are still there."""
    source, record = trunk, None
    while parse(source).name == "trained":
        folder = Path(parse(source).target or "")
        if (folder / "splits.jsonl").is_file():
            yield folder
        record = (record["config"] or {}).get("backbone") if record else read_json(folder / "backbone.json")
        if record is None:
            return
        source = record["source"]
