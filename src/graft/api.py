"""The verbs: fit, pretrain, predict, evaluate. The command line has the same names and the same arguments."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from graft import augment, optim, registry, run
from graft.checkpoint import Checkpoints
from graft.console import Console
from graft.data._audit import audit, require_classes
from graft.data._sniff import open_data
from graft.data._split import split
from graft.device import pick, precision, seeded
from graft.errors import DataError, IntegrityError, UsageError, did_you_mean
from graft.evaluate import baselines
from graft.evaluate import predict as predict_rows
from graft.features import Cache, Feed
from graft.pretrained import export_trunk
from graft.recipe import make as make_recipe
from graft.spec import parse
from graft.store import read_json, require_space, write_json
from graft.train import Loop
from graft.types import Backbone, Dataset, Issue, Json, Metric, Model, Predictions, Recipe, Result, Task

PRETRAIN = {"backbone": "small", "strategy": "full(epochs=30, lr=0.1, head_lr=0.1)", "optimizer": "sgd",
            "schedule": "one_cycle", "weight_decay": 5e-4, "label_smoothing": 0.1, "batch_size": 128,
            "test": 0.0, "valid": 0.05, "ema": 0.999, "clip": 0.0}  # fmt: skip


def fit(
    data: str | None = None,
    *,
    recipe: Recipe | str | Path | None = None,
    out: str | None = None,
    resume: bool = False,
    console: Console | None = None,
    controls: bool = True,
    **options: Any,
) -> Json:
    """Adapt a pretrained model to labelled data; returns the run's result, which is also in its result.json.

    `options` are the fields of Recipe. With `resume`, the run in `out` is started, continued, or said to be done.
    Raises UsageError, DataError, ResourceError, Interrupted.
    """
    asked = _recipe(data, recipe, options)
    plan(asked)
    folder = _claim(asked, out, resume)
    if resume and (folder / "result.json").exists():
        return {**read_json(folder / "result.json"), "resumed": "already done"}
    return _Job(asked, folder, console or Console(quiet=True), controls).go()


def pretrain(data: str, **options: Any) -> Json:
    """Train a trunk from random weights by the same loop, and write it beside the run as trunk.safetensors + .json."""
    options = {**PRETRAIN, **{key: value for key, value in options.items() if value is not None}}
    result = fit(data, controls=False, **options)
    if result.get("resumed") != "already done":
        export_trunk(Path(result["run"]), result)
    return result


def predict(folder: str | Path, data: str, *, device: str = "auto") -> tuple[list[Json], list[Issue]]:
    """One row for each readable input: path, label, probability; and the list of what could not be read."""
    loaded = run.load(Path(folder))
    dataset = audit(open_data(data))
    rows = loaded.task.rows(_predictions(loaded, dataset, device))
    named = [{"path": s.key, **row} for s, row in zip(dataset.samples, rows, strict=True)]
    return named, list(dataset.issues)


def evaluate(folder: str | Path, data: str, *, device: str = "auto") -> Json:
    """Figures with intervals of a run on other labelled data. What it shares with the run's own data is said."""
    loaded = run.load(Path(folder))
    dataset = audit(open_data(data))
    dataset = _same_classes(dataset, loaded.classes)
    overlap, issues = _overlap(loaded.folder, dataset)
    if overlap.get("test"):
        run.open_sealed(loaded.folder, f"graft evaluate {data}")
    predictions, targets = _predictions(loaded, dataset, device), dataset.targets()
    return {"run": str(folder), "data": data, "samples": len(dataset), "scores": _json(loaded.task.measure(predictions, targets)),
            "report": loaded.task.report(predictions, targets), "seen_before": overlap,
            "issues": [issue.json() for issue in (*dataset.issues, *issues)]}  # fmt: skip


# -------------------------------------------------------------------------------------------------------- planning


def plan(recipe: Recipe) -> None:
    """Find every name and try every option before the data are read, so that a typo costs a second."""
    for kind, text in (("backbone", recipe.backbone), ("task", recipe.task), ("strategy", recipe.strategy),
                       *(("term", term) for term in recipe.terms)):  # fmt: skip
        registry.find(kind, parse(text).name)
    optim.schedule(recipe.schedule)
    augment.build(recipe.augment)
    precision(recipe.precision, pick(recipe.device))
    if recipe.batchnorm not in ("auto", "train", "eval"):
        raise UsageError(
            f"batchnorm is '{recipe.batchnorm}'", did_you_mean(recipe.batchnorm, ["auto", "train", "eval"])
        )
    if recipe.batch_size < 1 or recipe.accumulate < 1:
        raise UsageError("batch_size and accumulate must be at least 1", "--batch-size 64")
    if not (0 < recipe.valid < 1 and 0 <= recipe.test < 1 and recipe.valid + recipe.test < 0.9):
        raise UsageError(
            f"valid={recipe.valid} and test={recipe.test} leave too little to train on", "--valid 0.15 --test 0.15"
        )


def _recipe(data: str | None, recipe: Recipe | str | Path | None, options: Json) -> Recipe:
    """Defaults, then the recipe file, then what was said on top of it."""
    base = recipe.json() if isinstance(recipe, Recipe) else read_json(Path(recipe)) if recipe else {}
    given = {key: value for key, value in options.items() if value is not None}
    return make_recipe({**base, **given, **({"data": data} if data else {})})


def _claim(recipe: Recipe, out: str | None, resume: bool) -> Path:
    """The run folder, new, or one that may be continued."""
    folder = run.new_folder(recipe.data, out)
    if not (folder / "recipe.json").exists():
        return folder
    if not resume:
        raise UsageError(f"{folder} holds a run already", "add --resume to go on with it, or choose another --out")
    changed = run.difference(make_recipe(read_json(folder / "recipe.json")), recipe)
    if changed:
        raise DataError(
            f"{folder} was made by another recipe ({'; '.join(changed)})", "repeat its options, or choose another --out"
        )
    return folder


# -------------------------------------------------------------------------------------------------------- one run


@dataclass
class _Job:
    """fit, step by step: data -> split -> backbone -> task -> model -> strategy -> loop -> scores -> run folder."""

    recipe: Recipe
    folder: Path
    console: Console
    controls: bool

    def go(self) -> Json:
        began, recipe, console = time.monotonic(), self.recipe, self.console
        dataset = self._data()
        with seeded(recipe.seed, "backbone"):
            backbone = run.build_backbone(recipe.backbone)
        console.trunk(backbone.info, backbone.preprocess.json())
        self._check_same_data(dataset)
        run.begin(self.folder, recipe, dataset, backbone)
        task = run.build_task(
            recipe,
            dataset.classes,
            tuple(dataset.part("train").targets().bincount(minlength=len(dataset.classes)).tolist()),
        )
        model = run.build_model(recipe, backbone, task).to(pick(recipe.device))
        require_space(self.folder, 8 * sum(p.numel() * 4 for p in model.parameters()))
        train, valid, test = (self._feed(dataset, backbone, task, name) for name in ("train", "valid", "test"))
        compared = self._baselines(task, train, test if len(test) else valid)
        results = self._train(model, task, train, valid)
        return self._finish(model, task, dataset, valid, test, compared, results, began)

    def _data(self) -> Dataset:
        recipe, console = self.recipe, self.console
        with console.phase("reading", 0) as bar:
            dataset = audit(open_data(recipe.data), progress=lambda done, total: bar(done))
        require_classes(dataset)
        console.found(dataset)
        dataset = split(dataset, valid=recipe.valid, test=recipe.test, seed=recipe.seed, sealed=recipe.sealed)
        console.split_into(dataset)
        console.issues(dataset.issues)
        return dataset

    def _check_same_data(self, dataset: Dataset) -> None:
        path = self.folder / "data.json"
        if path.exists() and read_json(path)["fingerprint"] != run.fingerprint(dataset):
            raise DataError(
                f"the data have changed since {self.folder} was begun", "choose another --out to start anew"
            )

    def _feed(self, dataset: Dataset, backbone: Backbone, task: Task, name: str) -> Feed:
        recipe, device = self.recipe, pick(self.recipe.device)
        views = augment.build(recipe.augment) if name == "train" else None
        return Feed(dataset.part(name), backbone, device=device, dtype=precision(recipe.precision, device), augment=views,
                    views=recipe.views, seed=recipe.seed, needs=task.needs, cache=Cache.default())  # fmt: skip

    def _baselines(self, task: Task, train: Feed, feed: Feed) -> dict[str, dict[str, Metric]]:
        """Measured on the trunk as it came, before it is trained; on the same samples as the final score."""
        if not self.controls:
            return {}
        train.backbone.eval()
        return baselines(task, train, feed)

    def _train(self, model: Model, task: Task, train: Feed, valid: Feed) -> list[Result]:
        strategy = parse(self.recipe.strategy)
        flow = strategy.bind(registry.find("strategy", strategy.name), model)
        checkpoints = Checkpoints(self.folder / "ckpt")
        with self.console.training() as story:

            def tell(event: Json) -> None:
                story(event)
                if event["event"] not in ("step", "phase") and not event.get("again"):
                    run.append(self.folder, event)

            return Loop(model, task, train, valid, self.recipe, checkpoints, tell).run(self._with_terms(model, flow))

    def _with_terms(self, model: Model, flow: Any) -> Iterator[Any]:
        """Any term can join any strategy: the recipe's terms are added to every phase that moves the trunk."""
        made = tuple(parse(t).bind(registry.find("term", parse(t).name), model) for t in self.recipe.terms)
        result = None
        while True:
            try:
                phase = flow.send(result)
            except StopIteration:
                return
            result = yield replace(phase, terms=(*phase.terms, *made))

    def _finish(
        self, model: Model, task: Task, dataset: Dataset, valid: Feed, test: Feed,
        compared: dict[str, dict[str, Metric]], results: list[Result], began: float,
    ) -> Json:  # fmt: skip
        validated = predict_rows(model, task, valid)
        run.save_model(self.folder, model)
        self._prove(task, valid, validated)
        result: Json = {"run": str(self.folder), "backbone": str(self.recipe.backbone), "strategy": self.recipe.strategy,
                        "task": self.recipe.task, "splits": {k: v["samples"] for k, v in run.counts(dataset)["splits"].items()},
                        "valid": _json(task.measure(validated, valid.targets))}  # fmt: skip
        result |= {"test": {}, "report": task.report(validated, valid.targets), "openings": 0}
        if len(test):
            result["openings"] = run.open_sealed(self.folder, "final evaluation of fit")
            tested = predict_rows(model, task, test)
            figures = task.measure(tested, test.targets)
            result |= {"test": _json(figures), "report": task.report(tested, test.targets)}
            self.console.scores(figures, "sealed test")
        else:
            self.console.scores(task.measure(validated, valid.targets), "valid")
        result["baselines"] = {name: _json(figures) for name, figures in compared.items()}
        result["phases"] = [dict(r.__dict__) for r in results]
        result |= {"seconds": round(time.monotonic() - began, 2), "issues": [i.json() for i in dataset.issues]}
        write_json(self.folder / "result.json", result)
        for name, figures in compared.items():
            self.console.scores({k: v for k, v in figures.items() if k == task.metric}, name)
        self.console.say(f"saved         {self.folder}, read back and compared")
        return result

    def _prove(self, task: Task, valid: Feed, expected: Predictions) -> None:
        """Nothing is called saved before it was read back and gives the same predictions."""
        loaded = run.load(self.folder)
        feed = Feed(valid.dataset.replace(samples=valid.dataset.samples[:64]), loaded.model.backbone, device=valid.device,
                    dtype=valid.dtype, needs=task.needs)  # fmt: skip
        again = predict_rows(loaded.model.to(valid.device), loaded.task, feed).values
        if not torch.allclose(
            again, expected.values[: len(again)], atol=1e-3 if valid.dtype is not torch.float32 else 1e-4
        ):
            raise IntegrityError(
                f"{self.folder}: the saved model predicts otherwise than the trained one", "report this as a bug"
            )


# --------------------------------------------------------------------------------------------------------- helpers


def _json(figures: dict[str, Metric]) -> Json:
    return {name: metric._asdict() for name, metric in figures.items()}


def _predictions(loaded: run.Loaded, dataset: Dataset, device: str) -> Predictions:
    where = pick(device)
    feed = Feed(dataset, loaded.model.backbone, device=where, needs=loaded.task.needs)
    return predict_rows(loaded.model.to(where), loaded.task, feed)


def _same_classes(dataset: Dataset, classes: tuple[str, ...]) -> Dataset:
    """The run's classes in the run's order; labels that it never saw are refused by name."""
    foreign = sorted({s.label for s in dataset.samples if s.label is not None} - set(classes))
    if foreign:
        raise DataError(f"{dataset.name} has classes that the run does not know: {', '.join(foreign[:5])}",
                        f"the run knows: {', '.join(classes[:20])}")  # fmt: skip
    if not any(s.label for s in dataset.samples):
        raise DataError(
            f"{dataset.name} has no labels to compare with", "graft predict gives labels to unlabelled data"
        )
    return dataset.replace(classes=classes)


def _overlap(folder: Path, dataset: Dataset) -> tuple[dict[str, int], list[Issue]]:
    """How many samples the run has seen before, by split."""
    where = {line["sha256"]: line["split"] for line in run.splits(folder)}
    keys: dict[str, list[str]] = {}
    for sample in dataset.samples:
        if sample.digest in where:
            keys.setdefault(where[sample.digest], []).append(sample.key)
    issues = [Issue("seen-before", "warning" if name != "test" else "note", f"samples of the run's own {name} part", tuple(found))
              for name, found in keys.items()]  # fmt: skip
    return {name: len(found) for name, found in keys.items()}, issues
