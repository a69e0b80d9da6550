"""Which pretrained trunks there are to choose from, and how well each suits a data set before anything is trained.

The order is that of the leave-one-out ridge probe. Trunks whose difference from the best one lies within one standard
error, over the same samples, are called ties and stand in the order of their size: the cheaper one first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from graft import augment, augment_sound, build, registry
from graft.backbones import bundled
from graft.console import Console
from graft.data._sniff import options_of, without_options
from graft.errors import DataError, GraftError, UsageError
from graft.recipe import AUTO, PRETEXT, pretext
from graft.spec import parse
from graft.types import Backbone, Dataset, Info, Issue, Json, Recipe

if TYPE_CHECKING:  # with what they import they take a second, and `graft predict` needs none of it
    from graft.evidence import Score
    from graft.trials import Trials

MOST = 10_000  # samples that are scored: the cost of some scores grows with their square
DEFAULTS = {
    "image": bundled.DEFAULT,
    "text": "minilm",
    "audio": "bundled:words8k",
}  # the trunk that nobody has named, by modality
HOME = ("bundled", "local", "small", "toy", "pixels", "minilm", "vectors", "lstm", "tfidf", "bert", "cnn_tdnn", "mfcc",
        "trained")  # sources that never need a network  # fmt: skip
LABELS = {"class": "classes", "labels": "several labels for each sample", "number": "numbers", "tags": "tags of words",
          "answers": "answers to questions", "transcript": "transcripts", "none": "no labels"}  # fmt: skip


def trunks(asked: str, modality: str = "image", kind: str = "class") -> tuple[str, ...]:
    """The specs that a recipe's backbone names, joined by " + "; "auto" stands for all that need no network, of
    transcripts those that hand on frames."""
    if asked == AUTO and modality == "image":
        return tuple(f"bundled:{name}" for name in bundled.names("image"))
    if asked == AUTO and modality == "audio":
        pictures = () if kind == "transcript" else (f"spectrogram:{bundled.DEFAULT}",)
        return (*(f"bundled:{name}" for name in bundled.names("audio")), *pictures)
    if asked == AUTO:
        return (DEFAULTS[modality],)
    return tuple(dict.fromkeys(str(parse(text)) for text in re.split(r"\s+\+\s+", asked.strip())))


def settled(recipe: Recipe, dataset: Dataset) -> Recipe:
    """What the data decide: the task where it was left open, and the trunk, which only the strategy auto leaves open.

    Raises UsageError for a task, a probe, a mixing or views that take other labels or samples than these, and for an
    option that the task does not have.
    """
    task = build.TASKS[dataset.kind] if recipe.task == AUTO else recipe.task
    takes = build.task(replace(recipe, task=task), build.ANY, (1, 1)).kind  # those of the data may be none
    if takes == "none" and recipe.strategy == AUTO:
        raise UsageError(f"{parse(task).name} pretrains a trunk, and has nothing to choose by", "graft pretrain")
    _check_pretraining(parse(task).name, dataset)
    if takes != dataset.kind:
        what = f"{parse(task).name} learns from {LABELS[takes]}, and {dataset.name} has {LABELS[dataset.kind]}"
        raise UsageError(what, _other_task(takes, recipe, dataset))
    _check_ways(recipe, dataset)
    trunk = DEFAULTS[dataset.modality] if recipe.backbone == AUTO and recipe.strategy != AUTO else recipe.backbone
    return replace(recipe, task=task, backbone=trunk)


def _check_pretraining(task: str, dataset: Dataset) -> None:
    """Raises UsageError for a task that makes its labels of other samples than these."""
    own = PRETEXT[dataset.modality]
    if task not in own and pretext(task):
        what = f"{task} is not for {dataset.modality} samples, which {dataset.name} holds"
        raise UsageError(what, f"--task {own[0]}")


def _check_ways(recipe: Recipe, dataset: Dataset) -> None:
    has = f"{dataset.name} has {LABELS[dataset.kind]}"
    if recipe.strategy != AUTO and build.is_probe(recipe.strategy):
        require_classes(dataset, recipe.strategy)
    if recipe.mix is not None and (dataset.modality != "image" or dataset.kind != "class"):
        what = f"mix={recipe.mix} blends images and their classes; {has}, and holds {dataset.modality} samples"
        raise UsageError(what, "leave --mix out")
    check = {"image": augment.build, "audio": augment_sound.build}.get(dataset.modality)
    if check:
        check(recipe.augment)
    else:
        _check_views(recipe, dataset)


def _check_views(recipe: Recipe, dataset: Dataset) -> None:
    """Texts have none; what a recipe says by itself is no word of the user's."""
    usual = Recipe("").augment, "none"
    for flag, said in (("--augment", recipe.augment not in usual), ("--views", recipe.views > 0)):
        if said:
            what = f"{flag} makes views of images and sounds, and {dataset.name} holds {dataset.modality} samples"
            raise UsageError(what, f"leave {flag} out")


def _other_task(takes: str, recipe: Recipe, dataset: Dataset) -> str:
    """The task for these labels; for classes that are numbers how to read them as such."""
    if takes != "number" or dataset.kind != "class" or not all(map(_is_number, dataset.classes)):
        return f"--task {build.TASKS[dataset.kind]}"
    column = options_of(recipe.data).get("label", "column")
    return f"{without_options(recipe.data)}(number={column!r}), or --task classification"


def _is_number(label: str) -> bool:
    try:
        return math.isfinite(float(label))
    except ValueError:
        return False


def require_classes(dataset: Dataset, name: str) -> None:
    """Raises UsageError where something that learns classes meets labels of another kind."""
    if dataset.kind != "class":
        what = f"{name} learns classes, and {dataset.name} has {LABELS[dataset.kind]}"
        raise UsageError(what, "graft fit, which finds a way itself; or --strategy lp_ft")


def one_trunk(asked: str) -> str:
    """For strategies that take one trunk. Raises UsageError where several are named."""
    found = trunks(asked)
    if len(found) > 1:
        raise UsageError(f"{len(found)} backbones, but this strategy takes one", "--strategy auto chooses among them")
    return asked


def check_modality(info: Info, dataset: Dataset) -> None:
    if info.modality != dataset.modality:
        what = f"{info.source} is for {info.modality}, and {dataset.name} holds {dataset.modality} samples"
        raise DataError(what, f"leave it out, or choose a trunk for {dataset.modality}: graft list backbone")


def require_pretrained(trials: Trials, asked: Sequence[str]) -> None:
    """Raises UsageError where no trunk has anything to transfer."""
    if not any(trials.trunk(text).backbone.info.sha256 for text in asked):
        what = f"{', '.join(asked)}: none of the trunks has pretrained weights, so there is nothing to transfer"
        default = DEFAULTS[trials.pool.modality]
        raise UsageError(what, f"--backbone {default}, or name a strategy: --strategy full")


def require_enough(dataset: Dataset) -> None:
    """Raises DataError where there is too little to choose by: fewer than two samples for each class on average."""
    labelled = sum(sample.label is not None for sample in dataset.samples)
    if labelled < 2 * (len(dataset.classes) if dataset.kind != "transcript" else 1):
        what = f"{labelled} samples of {len(dataset.classes)} classes are too few to choose a trunk or a strategy by"
        raise DataError(what, "give two samples of each class at least, or name a way: --strategy centroid --test 0")


def ranked(trials: Trials, asked: Sequence[str], console: Console) -> list[Json]:
    """One row for each trunk, the best first. Raises DataError when no trunk could be scored."""
    rows, hits = [], []
    for text in asked:
        check_modality(trials.trunk(text).backbone.info, trials.pool)
        trials.open(text, console)
        scores = _scores(trials, text)
        hits.append(scores["loo_ridge"].each)
        rows.append(_row(trials, text, scores))
    return _ordered(rows, hits)


def _scores(trials: Trials, text: str) -> dict[str, Score]:
    """Every ranker that can be applied to this trunk."""
    from graft.evidence import Evidence
    from graft.rows import threads_for

    trunk, rows = trials.trunk(text), _few(trials)
    features = trunk.view("pooled")[rows]
    evidence = Evidence(features.float().numpy(), trials.targets[rows].numpy(), len(trials.pool.classes),
                        _source(trunk.backbone, features), trunk.backbone.info.parameters,
                        trunk.backbone.info.source_accuracy)  # fmt: skip
    found: dict[str, Score] = {}
    with threads_for(features.numel()):
        for name in registry.names("ranker"):
            try:
                found[name] = registry.find("ranker", name)(evidence)
            except DataError:
                if name == "loo_ridge":
                    raise
    return found


def _few(trials: Trials) -> torch.Tensor:
    """Labelled rows, at most MOST of them, every k-th of each class."""
    targets, groups = trials.targets.numpy(), [s.group if s.in_copies else None for s in trials.pool.samples]
    first = {group: i for i, group in reversed(list(enumerate(groups))) if group}
    alone = np.array([group is None or first[group] == i for i, group in enumerate(groups)])  # a copy finds its twin
    rows = np.flatnonzero((targets >= 0) & alone)
    if len(rows) <= MOST:
        return torch.from_numpy(rows)
    order = rows[np.argsort(targets[rows], kind="stable")]
    return torch.from_numpy(np.sort(order[np.linspace(0, len(order) - 1, MOST).round().astype(int)]))


def _source(backbone: Backbone, features: torch.Tensor) -> np.ndarray | None:
    """(N, Z) what the checkpoint's own head says, where it has one on the pooled features."""
    head = backbone.heads.get("classes")
    if head is None:
        return None
    with torch.inference_mode():
        try:
            return head(features).float().softmax(1).double().numpy()  # type: ignore[no-any-return]
        except (RuntimeError, IndexError):
            return None  # its head takes another view than the pooled one


def _row(trials: Trials, text: str, scores: dict[str, Score]) -> Json:
    info = trials.trunk(text).backbone.info
    best = scores["loo_ridge"]
    return {
        "backbone": text,
        "score": best.value,
        "se": best.se,
        "tie": False,
        "parameters": info.parameters,
        "milliseconds": round(trials.milliseconds(text), 3),
        "features": info.dim,
        "licence": info.licence,
        "pretrained_on": info.pretrained_on,
        "offline": _at_home(text),
        "scores": {name: {"value": s.value, "se": None if np.isnan(s.se) else s.se} for name, s in scores.items()},
    }


def of_groups(dataset: Dataset) -> list[Issue]:
    """The scores leave out one sample at a time, and samples of one group resemble each other."""
    names = {sample.own_group for sample in dataset.samples if sample.own_group}
    if len(names) < 2:
        return []
    what = f"the data name {len(names)} groups, which these scores do not keep apart: for new ones they are too high"
    return [Issue("groups-in-rank", "warning", what, (), "graft compare, or graft evaluate --leave-out group, does")]


def _at_home(trunk: str) -> bool:
    """Of spectrograms the trunk that looks at them."""
    asked = parse(trunk)
    inner = asked.target or asked.options.get("trunk")
    return _at_home(str(inner)) if asked.name == "spectrogram" and inner else asked.name in HOME


def _ordered(rows: list[Json], hits: list[np.ndarray | None]) -> list[Json]:
    order = sorted(range(len(rows)), key=lambda i: -rows[i]["score"])
    top = hits[order[0]]
    ties = [i for i in order if _within_noise(top, hits[i])]
    for i in ties:
        rows[i]["tie"] = len(ties) > 1
    ties.sort(key=lambda i: (rows[i]["parameters"], -rows[i]["score"]))
    return [rows[i] for i in (*ties, *(i for i in order if i not in ties))]


def _within_noise(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    from graft.paired import within_one_error

    if a is None or b is None:
        raise GraftError("the leave-one-out probe gave no parts to compare", "this is a bug of Graft: please report it")
    return within_one_error(a - b)
