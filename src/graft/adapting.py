"""A finished run adapted to another domain: a new speaker, another camera. What comes of it is a run of its own.

An adaptation that takes `inputs` learns from samples without their labels, and is shown those of the run beside them,
if they are still there; any other one is a strategy that begins where the run ended. Whether it helps is measured on
samples whose labels it has not used: all of them for the former; for the latter by folds, so that no sample is scored
by a model that was fitted to it. Samples of the run's sealed test part are left out, so that they stay sealed, and the
run's folder is only read.
"""

from __future__ import annotations

import copy
import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from graft import build, intake, paired, registry, run, seen
from graft.adapted import prove, write
from graft.console import Console, Figure, figure
from graft.data._sniff import open_data
from graft.device import pick
from graft.domains import BATCH, batches, by_content, source_of
from graft.errors import DataError, UsageError
from graft.features import Feed
from graft.freeze import FEW
from graft.groups import score
from graft.nn import heads
from graft.nn.fitted import Fitted
from graft.paired import Array, Fold, Gain
from graft.phase import Tell
from graft.scoring import predict
from graft.spec import Spec, parse
from graft.store import sha256, write_json
from graft.tables import points
from graft.train import Loop
from graft.trials import batch_for, fit_scale
from graft.types import (
    Dataset,
    Issue,
    Json,
    Metric,
    Model,
    Predictions,
    Recipe,
)

AFFINE = {"weight", "bias"}  # the arrays of a probe that is a linear layer
WORDS = {"helps": "adaptation helps", "hurts": "adaptation hurts", "unclear": "whether it helps cannot be told"}


@final
class Outcome(NamedTuple):
    """What the labelled samples say: before, after, the paired difference, and on what it was measured."""

    before: Metric
    after: Metric
    gain: Gain
    on: str

    @property
    def word(self) -> str:
        return "helps" if self.gain.low > 0 else "hurts" if self.gain.high < 0 else "unclear"


def asked_for(method: str) -> Spec:
    """The adaptation and its options. Raises UsageError for one that does not exist, and for a wrong option."""
    asked = parse(method)
    plugin = registry.find("adaptation", asked.name)
    asked.check(plugin, *([None] * (3 if unlabelled(asked) else 1)))
    return asked


def unlabelled(asked: Spec) -> bool:
    """Whether it learns from the samples alone."""
    return "inputs" in inspect.signature(registry.find("adaptation", asked.name)).parameters


@final
@dataclass
class Adaptation:
    """`go` adapts, measures and writes a new run into an empty folder; returns what its result.json holds.

    Raises UsageError for a network that the method cannot adapt, DataError for data that it cannot use.
    """

    loaded: run.Loaded
    data: str
    asked: Spec
    folder: Path
    console: Console
    device: str = "auto"

    def go(self) -> Json:
        began = time.monotonic()
        self.plugin: Callable[..., Any] = registry.find("adaptation", self.asked.name)
        self.where = pick(self.device)
        self.loaded.model.to(self.where)
        self.issues: list[Issue] = []
        model, recipe, dataset, outcome = self._by_samples() if unlabelled(self.asked) else self._by_labels()
        self._say(outcome)
        about = {"parent": str(self.loaded.folder), "manifest": sha256(self.loaded.folder / "manifest.json"),
                 "method": str(self.asked), "data": self.data, "samples": len(dataset),
                 "labels_used": not unlabelled(self.asked)}  # fmt: skip
        kept = replace(self.loaded.recipe, strategy=recipe.strategy)
        write(self.folder, self.loaded.folder, model, kept, dataset.replace(classes=self.loaded.classes), about)
        few = dataset.replace(samples=dataset.samples[:BATCH])
        prove(self.folder, lambda made: self._said(made, few).values, model)
        result = {"run": str(self.folder), "adapted_from": about, "data": self.data, "method": str(self.asked),
                  "samples": len(dataset), "metric": self.loaded.task.metric, **_json(outcome),
                  "issues": [issue.json() for issue in self.issues],
                  "seconds": round(time.monotonic() - began, 2)}  # fmt: skip
        write_json(self.folder / "result.json", result)
        self.console.row("saved", f"{self.folder} (read back, same predictions)")
        return result

    # -------------------------------------------------------------------------------------------- without labels

    def _by_samples(self) -> tuple[Model, Recipe, Dataset, Outcome | None]:
        """All samples are learned from, and those that have a label are scored: it was not used."""
        dataset = self._unsealed(intake.for_prediction(self.data, self.loaded))
        self._found(dataset)
        scored, model = self._labelled(), copy.deepcopy(self.loaded.model)
        new, old = self._feed(dataset, model), self._source()
        with self.console.phase("adapting", len(dataset), "samples") as bar:
            self.asked.bind(self.plugin, model, lambda stage: batches(new, stage),
                            old and (lambda stage: batches(old, stage)))  # fmt: skip
            bar(len(dataset), str(self.asked))
        if scored is None:
            return model, self.loaded.recipe, dataset, None
        before, after = (self._each(self._said(one, scored), scored) for one in (self.loaded.model, model))
        apart = paired.bootstrapped(after - before)
        on = f"on {len(scored)} labelled samples, whose labels were not used"
        return model, self.loaded.recipe, dataset, Outcome(score(before), score(after), apart, on)

    def _source(self) -> Feed | None:
        """What the run has learned from, as it saw it; None, and a word, where too few of these are still there."""
        dataset = source_of(self.loaded)
        if dataset is None:
            what = (
                "the samples that the run has learned from are not there any more: its BatchNorm statistics are taken "
            )
            self.issues.append(Issue("no-source", "note", what + "for theirs"))
            return None
        return self._feed(dataset, copy.deepcopy(self.loaded.model))

    def _labelled(self) -> Dataset | None:
        """What can be scored; None, and a word, where the data have no labels that the run knows."""
        try:
            return self._unsealed(intake.for_evaluation(self.data, self.loaded), said=True)
        except DataError as error:
            self.issues.append(Issue("not-scored", "note", f"whether it helps is not measured: {error.what}"))
            return None

    # ----------------------------------------------------------------------------------------------- with labels

    def _by_labels(self) -> tuple[Model, Recipe, Dataset, Outcome | None]:
        """Folds first, then all labelled samples."""
        if all(sample.label is None for sample in open_data(self.data).samples):
            what = f"{self.asked.name} learns from labelled samples, and {self.data} has no labels"
            raise DataError(what, "--method adabn, which needs none")
        dataset = intake.for_evaluation(self.data, self.loaded)
        dataset = self._unsealed(dataset)
        self._found(dataset)
        model, recipe = self._trainable(dataset)
        feed = self._feed(dataset, model, recipe)
        feed.decode()
        if self.loaded.task.needs == "pooled":
            feed.pooled()  # parts of this feed share it, as far as a part of the trunk stands still
        outcome = self._crossed(model, recipe, feed)
        with self.console.training() as story:
            self._fit(model, recipe, feed, torch.arange(len(feed)), story)
        return model, recipe, dataset, outcome

    def _first(self, model: Model) -> None:
        """An impossible option is said before anything is trained."""
        next(self.asked.bind(self.plugin, copy.deepcopy(model)), None)

    def _trainable(self, dataset: Dataset) -> tuple[Model, Recipe]:
        """The run's network. For a method that cannot take its probe, one that is linear becomes a linear layer."""
        model, recipe = copy.deepcopy(self.loaded.model), self._suited(dataset)
        arrays = dict(model.head.named_buffers())
        try:
            self._first(model)
            return model, recipe
        except UsageError:
            if not (isinstance(model.head, Fitted) and arrays.keys() == AFFINE and recipe.features == "last"):
                raise
        recipe = replace(recipe, strategy=f"solved(probe={parse(recipe.strategy).name!r})")
        made = build.model(recipe, model.backbone, self.loaded.task).to(self.where)
        fit_scale(made, self._feed(dataset, made, recipe).pooled())
        heads.set_affine(made.head, arrays["weight"], arrays["bias"])
        self._first(made)
        return made, recipe

    def _suited(self, dataset: Dataset) -> Recipe:
        """Steps for few samples; moving BatchNorm keeps its statistics, which a few samples would only blur."""
        recipe = self.loaded.recipe
        still = "eval" if recipe.batchnorm == "auto" and len(dataset) < FEW else recipe.batchnorm
        size = batch_for(len(dataset), recipe.batch_size)
        return replace(recipe, valid=0.0, terms=(), mix=None, batchnorm=still, batch_size=size)

    def _fit(self, model: Model, recipe: Recipe, feed: Feed, rows: Tensor, tell: Tell) -> None:
        """Nothing validates it: the last epoch counts."""
        task, needs = self.loaded.task, build.needs(recipe, self.loaded.task)
        train = feed.part(rows, model.backbone, build.views(recipe, model.backbone, task, "train"), needs)
        nothing = feed.part(rows[:0], model.backbone, task.view, needs)
        Loop(model, task, train, nothing, recipe, None, tell).run(self.asked.bind(self.plugin, model))
        model.eval()

    def _crossed(self, model: Model, recipe: Recipe, feed: Feed) -> Outcome | None:
        """Before and after on each fold's test part, of models that were adapted on the rest; None where the samples
        are too few for folds."""
        try:
            folds = paired.folds(by_content(feed.dataset), 0.15, recipe.seed)
            folds = folds[: max(1, len(folds) // paired.REPEATS)]  # each sample is scored once
        except DataError as error:
            self.issues.append(Issue("not-scored", "warning", f"whether it helps is not measured: {error.what}", (),
                                     "give some more labelled samples of each class"))  # fmt: skip
            return None
        was, now = {}, {}
        with self.console.progress("folds", len(folds)) as bar:
            for k, fold in enumerate(folds):
                was[k], now[k] = self._fold(model, recipe, feed, fold)
                bar(k + 1)
        before, after = (score(np.concatenate(list(each.values()))) for each in (was, now))
        many = f"{len(folds)} folds" if len(folds) > 1 else "a part that was held out"
        on = f"on {many} of {len(feed)} samples, each scored by a model that has not learned from it"
        return Outcome(before, after, paired.gain(now, was, folds), on)

    def _fold(self, model: Model, recipe: Recipe, feed: Feed, fold: Fold) -> tuple[Array, Array]:
        one, rows = copy.deepcopy(model), torch.from_numpy(fold.test)
        self._fit(one, recipe, feed, torch.from_numpy(fold.train), lambda event: None)
        part = feed.dataset.replace(samples=tuple(feed.dataset.samples[i] for i in rows.tolist()))
        before, after = (self._each(self._said(m, part, feed, rows), part) for m in (self.loaded.model, one))
        return before, after

    # ------------------------------------------------------------------------------------------------ what both need

    def _unsealed(self, dataset: Dataset, said: bool = False) -> Dataset:
        """Without the samples of the run's sealed test part. Raises DataError where nothing else is there."""
        sealed = set(seen.before(self.loaded.folder, dataset).get("test", ()))
        if sealed and not said:
            what = "samples of the run's sealed test part are left out: they stay sealed"
            self.issues.append(Issue("sealed", "note", what, tuple(sealed)))
        left = tuple(replace(s, split="train") for s in dataset.samples if s.key not in sealed)
        if not left:
            what = f"all samples of {dataset.name} are of the run's sealed test part"
            raise DataError(what, "give other data")
        return dataset.replace(samples=left)

    def _found(self, dataset: Dataset) -> None:
        self.console.row("data", f"{self.data}: {len(dataset):,} samples")
        self.issues += dataset.issues

    def _feed(self, dataset: Dataset, model: Model, recipe: Recipe | None = None) -> Feed:
        """In float32, and kept for this adaptation only."""
        recipe, task = recipe or self.loaded.recipe, self.loaded.task
        targets = task.targets(dataset) if dataset.kind == task.kind else ()
        return Feed(dataset, model.backbone, device=self.where, augment=task.view, views=recipe.views,
                    seed=recipe.seed, needs=build.needs(recipe, task), targets=targets)  # fmt: skip

    def _said(
        self, model: Model, dataset: Dataset, shared: Feed | None = None, rows: Tensor | None = None
    ) -> Predictions:
        """`shared` has these samples as its `rows`, decoded."""
        task = self.loaded.task
        if shared is None or rows is None:
            feed = self._feed(dataset, model)
        else:
            feed = shared.part(rows, model.backbone, task.view, shared.needs)
        return predict(model, task, feed, 0 if task.view else len(model.backbone.stages))

    def _each(self, said: Predictions, dataset: Dataset) -> Array:
        return self.loaded.task.each(said, self.loaded.task.targets(dataset)).numpy()

    def _say(self, outcome: Outcome | None) -> None:
        metric = self.loaded.task.metric
        if outcome is not None:
            self.console.row("before", f"{metric} {_figure(metric, outcome.before)}")
            self.console.row("after", f"{metric} {_figure(metric, outcome.after)}")
            self.console.row(
                "verdict", f"{WORDS[outcome.word]}: {points(outcome.gain._asdict(), metric)} ({outcome.on})"
            )
        if outcome is not None and outcome.word == "hurts":
            what = "the adapted run is worse on these samples than the run that it was made of"
            self.issues.append(
                Issue("worse", "warning", what, (), f"keep {self.loaded.folder}, or try another --method")
            )
        self.console.issues(self.issues)


def _json(outcome: Outcome | None) -> Json:
    if outcome is None:
        return {"before": None, "after": None, "gain": None, "word": "unknown", "measured_on": ""}
    return {"before": outcome.before._asdict(), "after": outcome.after._asdict(), "gain": outcome.gain._asdict(),
            "word": outcome.word, "measured_on": outcome.on}  # fmt: skip


def _figure(metric: str, found: Metric) -> str:
    return figure(metric, Figure(*found))
