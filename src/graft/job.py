"""One run, step by step: data -> split -> backbone -> task -> model -> strategy -> loop -> scores -> run folder."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import torch

from graft import build, held_out, intake, pages, run, tables, trust, watching, zoo
from graft.cache import Cache
from graft.checkpoint import Checkpoints
from graft.clock import Clock, seconds
from graft.console import Console
from graft.contest import Contest
from graft.device import pick, seeded
from graft.engine import Engine
from graft.errors import DataError, IntegrityError, UsageError
from graft.features import Feed
from graft.freeze import FEW
from graft.ladder import Ladder
from graft.paired import bootstrapped, folds
from graft.phase import Tell
from graft.recipe import AUTO
from graft.recipe import make as make_recipe
from graft.scoring import predict
from graft.showing.show import show
from graft.spec import parse
from graft.store import read_json, require_space, write_json
from graft.train import Loop
from graft.trials import Trials, fit_scale, seen_by
from graft.types import Backbone, Dataset, Json, Metric, Model, Predictions, Recipe, Result, Task
from graft.verdict import verdict
from graft.watching import Watch

Scores = dict[str, Metric]
# What the console shows; result.json has all.
HEADLINES = ("accuracy", "word_accuracy", "top5", "f1", "exact", "f1_micro", "f1_macro", "subset_accuracy", "r2",
             "pearson", "spearman", "wer", "cer", "perplexity", "explained", "retrieval", "spread", "loss")  # fmt: skip


@final
@dataclass
class Job:
    """`go` runs it to the end, from wherever an interrupted one stopped, and returns what result.json holds."""

    recipe: Recipe
    folder: Path
    console: Console
    controls: bool = True
    report: bool = True
    language: str = "en"
    began: float = field(default_factory=time.monotonic)
    chosen: Json = field(default_factory=dict)  # what auto has to say

    def go(self) -> Json:
        dataset = self._choose(self._data())
        task = build.task_for(self.recipe, dataset)
        with seeded(self.recipe.seed, "backbone"):
            backbone = build.backbone(zoo.one_trunk(self.recipe.backbone), build.corpus(dataset))
        zoo.check_modality(backbone.info, dataset)
        backbone = build.suited(backbone, task)
        self.console.trunk(backbone.info, backbone.preprocess.json())
        dataset = self._with_cut(dataset, backbone)
        model = build.model(self.recipe, backbone, task).to(pick(self.recipe.device))
        build.check_flow(self.recipe, model, task)  # an impossible argument is said before anything is written
        known = watching.labelled(self.recipe, dataset)
        self._begin(dataset)
        run.begin_model(self.folder, backbone)
        require_space(self.folder, 8 * sum(4 * p.numel() for p in model.parameters()))
        engine = Engine.of(self.recipe, self.console.say)
        train, valid, test = (self._feed(dataset, backbone, task, name, engine) for name in ("train", "valid", "test"))
        with self.console.training() as story:
            compared = self._before(model, task, (train, valid, test), story)
            watch = watching.watch(self.recipe, known, train, valid)
            results = self._train(model, task, (train, valid), watch, story)
        return self._finish(model, task, dataset, (train, valid, test), compared, results)

    # ------------------------------------------------------------------------------------------------------ before

    def _data(self) -> Dataset:
        dataset = intake.read(self.recipe, self.console)
        self.recipe = zoo.settled(self.recipe, dataset)
        return dataset

    def _with_cut(self, dataset: Dataset, backbone: Backbone) -> Dataset:
        """The data set with what its trunk does not read of it, which is said now."""
        case = parse(self.recipe.task).options.get("case", "keep")
        issues = intake.as_read(dataset, backbone, case)
        self.console.issues(issues)
        return dataset.replace(issues=(*dataset.issues, *issues))

    def _choose(self, dataset: Dataset) -> Dataset:
        """With auto: begin the run folder, climb the ladder, and go on with the recipe that it came to."""
        if self.recipe.valid and self.recipe.strategy != AUTO:
            return dataset
        whole = intake.joined(dataset)
        if self.recipe.strategy == AUTO:
            pool = dataset.where(lambda sample: sample.split != "test")
            zoo.require_enough(pool)
            fresh = not (self.folder / "recipe.json").exists()
            self._begin(whole)
            try:
                self._climb(pool)
            except (UsageError, DataError):  # too small a budget, data that cannot be divided
                if fresh:
                    run.forget(self.folder)
                raise
        return whole

    def _climb(self, pool: Dataset) -> None:
        """What an interrupted run has chosen already stays chosen."""
        if (self.folder / run.CHOSEN).exists():
            self.recipe = make_recipe(read_json(self.folder / run.CHOSEN))
            self.chosen = read_json(self.folder / "ladder.json")
            return
        recipe, clock = self.recipe, Clock(seconds(self.recipe.budget), self.began)
        parts = folds(pool, recipe.valid or 0.15, recipe.seed)
        if recipe.batchnorm == "auto" and len(parts[0].train) < FEW <= len(pool):
            recipe = replace(recipe, batchnorm="train")  # one mode for all: what is measured is what is delivered
        trials = Trials(recipe, pool, parts, self.folder, keep_said=True)
        clock.began -= min(sum(trials.seconds.values()), 0.8 * clock.budget)  # what an interrupted run has spent
        trunks = zoo.trunks(recipe.backbone, pool.modality, pool.kind)
        for text in trunks:
            zoo.check_modality(trials.trunk(text).backbone.info, pool)
        zoo.require_pretrained(trials, trunks)
        ladder = Ladder(Contest(trials, clock, self.console), trunks, recipe.epsilon / 100)
        way = ladder.climb()
        self.recipe = way.recipe(recipe)
        held_out.keep(self.folder, trials, way)
        self.chosen = {"verdict": verdict(ladder), "rungs": [rung.json() for rung in ladder.rungs],
                       "budget": clock.budget, "seconds": round(time.monotonic() - self.began, 2)}  # fmt: skip
        write_json(self.folder / "ladder.json", self.chosen)
        write_json(self.folder / run.CHOSEN, self.recipe.json())
        tables.verdict(self.console, self.chosen["verdict"])

    def _begin(self, dataset: Dataset) -> None:
        path = self.folder / "data.json"
        if path.exists() and read_json(path)["fingerprint"] != run.fingerprint(dataset):
            raise DataError(
                f"the data have changed since {self.folder} was begun", "choose another --out to start anew"
            )
        if not self.chosen:
            run.begin(self.folder, self.recipe, dataset)

    def _feed(self, dataset: Dataset, backbone: Backbone, task: Task, name: str, engine: Engine) -> Feed:
        recipe, device, part = self.recipe, pick(self.recipe.device), dataset.part(name)
        return Feed(
            part,
            backbone,
            device=device,
            augment=build.views(recipe, backbone, task, name),
            views=recipe.views,
            seed=recipe.seed,
            needs=build.needs(recipe, task),
            cache=Cache.default(),
            targets=task.targets(part),
            engine=engine,
        )

    def _before(self, model: Model, task: Task, feeds: tuple[Feed, Feed, Feed], story: Tell) -> dict[str, Predictions]:
        """What the trunk says as it came: the head's scale, and the baselines' predictions for the samples of the final
        score. They are compared with the labels when the sealed part is opened, not before."""
        train, valid, test = feeds
        for feed in feeds:
            feed.tell = lambda done, total: story({"event": "features", "done": done, "total": total})
        model.eval()
        if task.needs == "pooled":
            fit_scale(model, train.pooled())
        asked = test if len(test) else valid
        if not self.controls or not len(asked):
            return {}
        seen = [feed.pooled() if task.needs == "pooled" else torch.empty(len(feed), 0) for feed in (train, asked)]
        return task.baselines(seen[0], train.targets, seen[1])

    # ------------------------------------------------------------------------------------------------------- train

    def _train(
        self, model: Model, task: Task, feeds: tuple[Feed, Feed], watch: Watch | None, story: Tell
    ) -> list[Result]:
        def tell(event: Json) -> None:
            story(event)
            if event["event"] == "resumed":
                run.rewind(self.folder, event["phase"], event["epoch"])
            if event["event"] not in ("step", "phase", "features") and not event.get("again"):
                run.append(self.folder, event)
            if watch and event["event"] == "epoch" and watching.due(event["epoch"], event["epochs"]):
                self._look(watch, model, event, story)

        if watch and not run.events(self.folder, "watch"):
            self._look(watch, model, watching.START, story)
        checkpoints = Checkpoints(self.folder / "ckpt")
        flow = build.flow(self.recipe, model, lambda other: self._by(other, feeds[0]), task.classes)
        results = Loop(model, task, *feeds, self.recipe, checkpoints, tell).run(flow)
        if watch and run.events(self.folder, "watch")[-1]["phase"] != watching.END["phase"]:
            last = {**watching.END, "epoch": results[-1].best_epoch + 1, "valid": results[-1].valid}
            self._look(watch, model, last, story)
        return results

    def _look(self, watch: Watch, model: Model, epoch: Json, story: Tell) -> None:
        """How a trunk comes on without labels; that it has collapsed is said at once, and once."""
        before, event = run.events(self.folder, "watch"), watch.event(model, epoch)
        story(event)
        run.append(self.folder, event)
        if not any(watching.collapses(before)):
            self.console.issues(watching.issues([*before, event], self.recipe))

    def _by(self, other: Backbone, train: Feed) -> torch.Tensor:
        return seen_by(other, train, Engine.of(self.recipe, self.console.say))

    # ------------------------------------------------------------------------------------------------------- after

    def _finish(
        self,
        model: Model,
        task: Task,
        dataset: Dataset,
        feeds: tuple[Feed, Feed, Feed],
        compared: dict[str, Predictions],
        results: list[Result],
    ) -> Json:
        """Save, read back, then open the sealed test part, once."""
        train, valid, test = feeds
        still = min((result.boundary for result in results), default=0)  # what never moved is not run again
        validated = predict(model, task, valid, still) if len(valid) else None
        learned = trust.learn(self.folder, model, task, train, valid, validated, still)
        run.save_model(self.folder, model)
        self._prove(model, task, valid if len(valid) else train)
        scores: Scores = {}
        tested: Scores = {}
        report: Json = {}
        said, asked = validated, valid
        if validated is not None:
            scores, report = task.measure(validated, valid.targets), task.report(validated, valid.targets)
        if len(test):
            (said, looked), asked = trust.looked(learned, model, task, test, still), test
            run.open_sealed(self.folder, "final evaluation of fit")
            tested, report = task.measure(said, test.targets), task.report(said, test.targets)
        truth = asked.targets
        baselines = {name: task.measure(theirs, truth) for name, theirs in compared.items()}
        shown = {name: figure for name, figure in (tested or scores).items() if name in HEADLINES}
        self.console.scores(shown, "sealed test" if tested else "valid")
        for name, figures in baselines.items():
            self.console.scores({task.metric: figures[task.metric]}, name)
        watched = list({(e["phase"], e["epoch"]): e for e in run.events(self.folder, "watch")}.values())
        issues = [*dataset.issues, *watching.issues(watched, self.recipe)]
        result = {**self.chosen, **self._result(dataset, scores, tested, baselines)} | {
            "over_baselines": {name: self._over(task, said, theirs, truth) for name, theirs in compared.items()},
            "phases": [dict(r.__dict__) for r in results],
            "report": report,
            "issues": [issue.json() for issue in issues],
            **({"watch": watched} if watched else {}),
        }
        if learned and said and tested:
            result["confidence"] = trust.evaluated(learned, said, looked, test.targets)
            self.console.sure({**result["confidence"], "sets": {"lac": result["confidence"]["sets"]["lac"]}})
        write_json(self.folder / "result.json", result)
        self.console.say(f"saved         {self.folder} (read back, same predictions)")
        if self.report and said:
            sure = learned.calibrated(said) if learned else said
            tell = lambda: show(self.folder, model, task, train, asked, sure, result, self.console)  # noqa: E731
            pages.make(self.folder, tell, self.language, self.console)
        return result

    def _over(self, task: Task, said: Predictions | None, theirs: Predictions, truth: Any) -> Json:
        """How much better than a baseline on the same samples: in pairs, as two intervals that overlap say little."""
        assert said is not None, "baselines are of the scored samples"
        return bootstrapped((task.each(said, truth) - task.each(theirs, truth)).numpy())._asdict()

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

    def _prove(self, model: Model, task: Task, feed: Feed) -> None:
        """Nothing is called saved before it was read back and gives the same predictions, from the files on."""
        loaded = run.load(self.folder)
        few = feed.dataset.replace(samples=feed.dataset.samples[:64])
        pair = (model, loaded.model.to(feed.device))
        feeds = (Feed(few, m.backbone, device=feed.device, augment=task.view, needs=feed.needs, targets=())
                 for m in pair)  # fmt: skip
        ours, read = (predict(m, task, again).values for m, again in zip(pair, feeds, strict=True))
        if not torch.allclose(ours, read, atol=1e-5):
            what = f"{self.folder}: the saved model predicts otherwise than the trained one"
            raise IntegrityError(what, "this is a bug of Graft: please report it with recipe.json and environment.json")


def figures_json(figures: Scores) -> Json:
    return {name: metric._asdict() for name, metric in figures.items()}
