"""One run, step by step: data -> split -> backbone -> task -> model -> strategy -> loop -> scores -> run folder."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

import torch

from graft import augment, registry, run
from graft.checkpoint import Checkpoints
from graft.console import Console
from graft.data._audit import audit, require_classes
from graft.data._sniff import open_data
from graft.data._split import split
from graft.device import pick, precision, seeded
from graft.errors import DataError, IntegrityError
from graft.features import Cache, Feed
from graft.nn.heads import Standardize
from graft.phase import Tell
from graft.scoring import predict
from graft.spec import parse
from graft.store import read_json, require_space, write_json
from graft.train import Loop
from graft.types import Backbone, Dataset, Flow, Json, Metric, Model, Phase, Predictions, Recipe, Result, Task, Term

Scores = dict[str, Metric]
HEADLINES = ("accuracy", "top5", "f1_macro", "loss")  # the console's; result.json has them all


@final
@dataclass
class Job:
    """`go` runs it to the end, from wherever an interrupted one stopped, and returns what result.json holds."""

    recipe: Recipe
    folder: Path
    console: Console
    controls: bool = True
    began: float = field(default_factory=time.monotonic)

    def go(self) -> Json:
        dataset = self._data()
        with seeded(self.recipe.seed, "backbone"):
            backbone = run.build_backbone(self.recipe.backbone)
        self.console.trunk(backbone.info, backbone.preprocess.json())
        task = run.build_task(self.recipe, dataset.classes, _class_counts(dataset))
        model = run.build_model(self.recipe, backbone, task).to(pick(self.recipe.device))
        flow = self._flow(model)
        self._begin(dataset, backbone)
        require_space(self.folder, 8 * sum(4 * p.numel() for p in model.parameters()))
        train, valid, test = (self._feed(dataset, backbone, task, name) for name in ("train", "valid", "test"))
        with self.console.training() as story:
            compared = self._before(model, task, (train, valid, test), story)
            results = self._train(flow, model, task, (train, valid), story)
        return self._finish(model, task, dataset, (valid, test), compared, results)

    # ------------------------------------------------------------------------------------------------------ before

    def _data(self) -> Dataset:
        recipe, console = self.recipe, self.console
        opened = open_data(recipe.data)
        with console.phase("reading", len(opened), "samples") as bar:
            dataset = audit(opened, progress=lambda done, total: bar(done))
        require_classes(dataset)
        console.found(dataset)
        dataset = split(dataset, valid=recipe.valid, test=recipe.test, seed=recipe.seed, sealed=recipe.sealed)
        console.split_into(dataset)
        console.issues(dataset.issues)
        return dataset

    def _begin(self, dataset: Dataset, backbone: Backbone) -> None:
        path = self.folder / "data.json"
        if path.exists() and read_json(path)["fingerprint"] != run.fingerprint(dataset):
            raise DataError(
                f"the data have changed since {self.folder} was begun", "choose another --out to start anew"
            )
        run.begin(self.folder, self.recipe, dataset, backbone)

    def _feed(self, dataset: Dataset, backbone: Backbone, task: Task, name: str) -> Feed:
        recipe, device = self.recipe, pick(self.recipe.device)
        return Feed(
            dataset.part(name),
            backbone,
            device=device,
            dtype=precision(recipe.precision, device),
            augment=augment.build(recipe.augment) if name == "train" else None,
            views=recipe.views,
            seed=recipe.seed,
            needs=task.needs,
            cache=Cache.default(),
        )

    def _before(self, model: Model, task: Task, feeds: tuple[Feed, Feed, Feed], story: Tell) -> dict[str, Predictions]:
        """What the trunk says as it came: the head's scale, and the baselines' predictions for the samples of the final
        score. They are compared with the labels when the sealed part is opened, not before."""
        train, valid, test = feeds
        for feed in feeds:
            feed.tell = lambda done, total: story({"event": "features", "done": done, "total": total})
        model.eval()
        for module in model.head.modules():
            if isinstance(module, Standardize):
                module.fit(train.pooled())
        if not self.controls:
            return {}
        return task.baselines(train.pooled(), train.targets, (test if len(test) else valid).pooled())

    # ------------------------------------------------------------------------------------------------------- train

    def _flow(self, model: Model) -> Flow:
        """The strategy, as far as its first phase: an impossible argument is said before anything is written.

        Any term can join any strategy: the recipe's terms are added to each phase.
        """
        strategy = parse(self.recipe.strategy)
        flow: Flow = strategy.bind(registry.find("strategy", strategy.name), model)
        asked = [parse(text) for text in self.recipe.terms]
        terms = tuple(term.bind(registry.find("term", term.name), model) for term in asked)
        return _with_terms(next(flow, None), flow, terms)

    def _train(self, flow: Flow, model: Model, task: Task, feeds: tuple[Feed, Feed], story: Tell) -> list[Result]:
        def tell(event: Json) -> None:
            story(event)
            if event["event"] == "resumed":
                run.rewind(self.folder, event["phase"], event["epoch"])
            if event["event"] not in ("step", "phase", "features") and not event.get("again"):
                run.append(self.folder, event)

        checkpoints = Checkpoints(self.folder / "ckpt")
        return Loop(model, task, *feeds, self.recipe, checkpoints, tell).run(flow)

    # ------------------------------------------------------------------------------------------------------- after

    def _finish(
        self,
        model: Model,
        task: Task,
        dataset: Dataset,
        feeds: tuple[Feed, Feed],
        compared: dict[str, Predictions],
        results: list[Result],
    ) -> Json:
        """Save, read back, then open the sealed test part, once."""
        valid, test = feeds
        still = min((result.boundary for result in results), default=0)  # what never moved is not run again
        validated = predict(model, task, valid, still)
        run.save_model(self.folder, model)
        self._prove(model, task, valid)
        scores, report = task.measure(validated, valid.targets), task.report(validated, valid.targets)
        tested: Scores = {}
        if len(test):
            predictions = predict(model, task, test, still)
            run.open_sealed(self.folder, "final evaluation of fit")
            tested, report = task.measure(predictions, test.targets), task.report(predictions, test.targets)
        truth = (test if tested else valid).targets
        baselines = {name: task.measure(said, truth) for name, said in compared.items()}
        shown = {name: figure for name, figure in (tested or scores).items() if name in HEADLINES}
        self.console.scores(shown, "sealed test" if tested else "valid")
        for name, figures in baselines.items():
            self.console.scores({task.metric: figures[task.metric]}, name)
        result = self._result(dataset, scores, tested, baselines) | {
            "phases": [dict(r.__dict__) for r in results],
            "report": report,
            "issues": [issue.json() for issue in dataset.issues],
        }
        write_json(self.folder / "result.json", result)
        self.console.say(f"saved         {self.folder} (read back, same predictions)")
        return result

    def _result(self, dataset: Dataset, valid: Scores, test: Scores, compared: dict[str, Scores]) -> Json:
        parts = run.counts(dataset)["splits"]
        return {
            "run": str(self.folder),
            "data": self.recipe.data,
            "backbone": self.recipe.backbone,
            "strategy": self.recipe.strategy,
            "task": self.recipe.task,
            "splits": {name: part["samples"] for name, part in parts.items()},
            "valid": figures_json(valid),
            "test": figures_json(test),
            "test_openings": len(read_json(self.folder / "sealed.json")) if test else 0,
            "baselines": {name: figures_json(figures) for name, figures in compared.items()},
            "seconds": round(time.monotonic() - self.began, 2),
        }

    def _prove(self, model: Model, task: Task, valid: Feed) -> None:
        """Nothing is called saved before it was read back and gives the same predictions, from the files on."""
        loaded = run.load(self.folder)
        few = valid.dataset.replace(samples=valid.dataset.samples[:64])
        ours, read = (
            predict(m, task, Feed(few, m.backbone, device=valid.device, needs=task.needs)).values
            for m in (model, loaded.model.to(valid.device))
        )
        if not torch.allclose(ours, read, atol=1e-5):
            what = f"{self.folder}: the saved model predicts otherwise than the trained one"
            raise IntegrityError(what, "this is a bug of Graft: please report it with recipe.json and environment.json")


def _with_terms(phase: Phase | None, flow: Flow, terms: tuple[Term, ...]) -> Flow:
    while phase is not None:
        result = yield replace(phase, terms=(*phase.terms, *terms))
        try:
            phase = flow.send(result)
        except StopIteration:
            return


def figures_json(figures: Scores) -> Json:
    return {name: metric._asdict() for name, metric in figures.items()}


def _class_counts(dataset: Dataset) -> tuple[int, ...]:
    targets = dataset.part("train").targets()
    return tuple(targets[targets >= 0].bincount(minlength=len(dataset.classes)).tolist())
