"""`graft check`: everything that can be said of data before a model is made of them; and the part of it that is so
cheap that `fit` says it, too.

It looks at labels of the test part, too: whether they are wrong, and what leaks are worth. Nothing is chosen by them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence

from graft import build, cleaning, intake, planning, registry, zoo
from graft.checks._seen import Leaking, Seen
from graft.console import Console, duration
from graft.data._audit import require_classes
from graft.errors import DataError, GraftError, Interrupted, MissingExtra
from graft.recipe import AUTO
from graft.recipe import make as make_recipe
from graft.spec import parse
from graft.types import Dataset, Issue, Json, Recipe

SEVERITIES = ("error", "warning", "note")
PLAIN = "linear_probe"  # a strategy with a validation part
SHOWN = 5  # samples of a finding in the table


def quick(dataset: Dataset) -> list[Issue]:
    """Findings of the checks that need no features, of an audited and split data set: the first step of `fit`."""
    return _checked(Seen(dataset)) if dataset.kind != "none" else []


def _checked(seen: Seen) -> list[Issue]:
    found: list[Issue] = []
    for name in registry.names("check"):
        try:
            found += registry.find("check", name)(seen)
        except MissingExtra as error:
            what = f"{name} was not looked for: {error.what}"
            found.append(Issue("not-checked", "note", what, (), error.hint))
    return found


def check(data: str, *, backbone: str, seed: int, test: float, valid: float, sealed: str | None, fix: str | None,
          console: Console) -> Json:  # fmt: skip
    """{"data", "samples", "classes", "splits", "backbone", "issues": [Issue.json()], "checks", "scores": with and
    without leaks or None, "fixed": what cleaning.py wrote or None}. Raises DataError, UsageError.

    What `fit` would refuse is an issue of severity "error", and the rest is looked at all the same.
    """
    began = time.monotonic()
    place = cleaning.place(data, fix) if fix else None
    asked = {"data": data, "backbone": backbone, "strategy": PLAIN, "seed": seed, "test": test, "valid": valid}
    recipe = make_recipe({**asked, "sealed": sealed})
    planning.plan(recipe)
    whole = intake.audited(recipe, console)
    console.found(whole)
    dataset, issues = _divided(whole, recipe)
    console.split_into(dataset)
    seen, more = (Seen(dataset, seed=seed), []) if issues else _seen(dataset, whole, recipe, console)
    issues = _ranked([*issues, *dataset.issues, *more, *_checked(seen), *_not_of(dataset)])
    fixed = cleaning.fix(data, whole, issues, place, sealed) if place else None
    _sum_up(console, issues, time.monotonic() - began)
    _say_of_test(console, seen)
    return {
        "data": data,
        "samples": len(whole),
        "classes": len(whole.classes),
        "splits": dict(Counter(sample.split for sample in dataset.samples if sample.split)),
        "backbone": _trunk(recipe, whole) if seen.features is not None else None,
        "issues": [issue.json() for issue in issues],
        "checks": list(registry.names("check")),
        "scores": _scores(seen.leaking) if seen.leaking else None,
        "fixed": fixed,
    }


def _divided(whole: Dataset, recipe: Recipe) -> tuple[Dataset, list[Issue]]:
    """Split as `fit` would; or as it is, with the reason why `fit` would not."""
    try:
        require_classes(whole)
        return intake.divided(whole, recipe), []
    except DataError as error:
        return whole, [Issue("refused", "error", f"graft fit refuses these data: {error.what}", (), error.hint)]


# -------------------------------------------------------------------------------------------------------- the features


def _seen(dataset: Dataset, whole: Dataset, recipe: Recipe, console: Console) -> tuple[Seen, list[Issue]]:
    """With features, where there are classes to be told apart by them. The default trunk may be missing, and that is
    said; one that was named must be there."""
    try:
        return _with_features(dataset, _leaked(dataset, whole), recipe, console)
    except Interrupted:
        raise
    except GraftError as error:
        if recipe.backbone != AUTO:
            raise
        what = f"nothing was looked at through {_trunk(recipe, whole)}: {error.what}"
        return Seen(dataset, seed=recipe.seed), [Issue("not-checked", "note", what, (), error.hint)]


def _with_features(dataset: Dataset, leaks: Dataset, recipe: Recipe, console: Console) -> tuple[Seen, list[Issue]]:
    from graft.trials import Trials

    trunk = _trunk(recipe, dataset)
    pool = dataset.replace(samples=(*dataset.samples, *leaks.samples))
    trials = Trials(zoo.settled(recipe, pool), pool, ())
    backbone = trials.trunk(trunk).backbone
    zoo.check_modality(backbone.info, dataset)
    cut = intake.as_read(dataset, backbone, parse(recipe.task).options.get("case", "keep"))
    if dataset.kind != "class":
        return Seen(dataset, seed=recipe.seed), cut
    trials.open(trunk, console)
    features = trials.trunk(trunk).view("pooled").float().numpy()
    count = len(dataset)
    return Seen(dataset, features[:count], recipe.seed, leaks, features[count:]), cut


def _trunk(recipe: Recipe, dataset: Dataset) -> str:
    """The one that is asked for, or Graft's own; of transcripts one that hands on frames."""
    if recipe.backbone != AUTO:
        return recipe.backbone
    return build.SPEECH if dataset.kind == "transcript" else zoo.DEFAULTS[dataset.modality]


def _leaked(dataset: Dataset, whole: Dataset) -> Dataset:
    """The samples that the split left out, and whose copies stand in the test part."""
    left_out = {key for issue in dataset.issues if issue.code == "leak" for key in issue.keys}
    tested = {sample.group for sample in dataset.samples if sample.split == "test" and sample.group}
    return whole.where(lambda sample: sample.key in left_out and sample.group in tested)


def _scores(found: Leaking) -> Json:
    """Accuracies of the probe on one test part, and their paired difference."""
    return {"metric": "accuracy", "test": len(found.given), "leaks": found.copies,
            **{name: metric._asdict() for name, metric in found.scores.items()}}  # fmt: skip


# ------------------------------------------------------------------------------------------------------ what is said


def _not_of(dataset: Dataset) -> Iterator[Issue]:
    if dataset.kind not in ("class", "none"):
        what = (f"the labels are {zoo.LABELS[dataset.kind]}: wrong labels, shortcuts, imbalance and what leaks are "
                "worth are looked for among classes only")  # fmt: skip
        yield Issue("not-checked", "note", what)


def _ranked(issues: Sequence[Issue]) -> list[Issue]:
    """The worst first, and then what concerns most samples."""
    return sorted(issues, key=lambda issue: (SEVERITIES.index(issue.severity), -len(issue.keys)))


def _sum_up(console: Console, issues: Sequence[Issue], seconds: float) -> None:
    counts = Counter(issue.severity for issue in issues)
    found = [f"{counts[name]} {name}{'s' * (counts[name] > 1)}" for name in SEVERITIES if counts[name]]
    console.row(
        "checked", f"{', '.join(found) or 'nothing found'} in {duration(seconds)}; no file of yours was written"
    )


def _say_of_test(console: Console, seen: Seen) -> None:
    if seen.features is not None and any(sample.split == "test" for sample in seen.dataset.samples):
        console.row("test part", "its labels were looked at, too; nothing is chosen by them")


def table(result: Json) -> list[str]:
    """Lines for standard output: the findings, the worst first, each with some of its samples and what to do."""
    lines = [line for issue in result["issues"] for line in _lines(issue)]
    fixed = result["fixed"]
    return [*(lines or ["no findings"]), *(cleaning.told(fixed) if fixed else [])]


def _lines(issue: Json) -> Iterator[str]:
    indent = " " * 9
    count = f" ({issue['count']:,})" if issue["count"] else ""
    yield f"{issue['severity']:<8} {issue['code']}{count}: {issue['what']}"
    details = issue.get("details") or [""] * issue["count"]
    for key, detail in list(zip(issue["keys"], details, strict=True))[:SHOWN]:
        yield f"{indent}  {key}{f': {detail}' if detail else ''}"
    if issue["count"] > SHOWN:
        yield f"{indent}  and {issue['count'] - SHOWN:,} more"
    if issue["hint"]:
        yield f"{indent}-> {issue['hint']}"
