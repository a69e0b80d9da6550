"""Ways measured on the same folds of the same samples: what `auto` and `graft compare` stand on.

A way is a trunk with a strategy. Its outcome on a fold is what each test sample of the fold adds to the score, so that
any two ways can be compared in pairs. Nothing here sees the sealed test part, and no task knows more than the training
rows of its fold: neither the words of a language model nor the scale of numbers. Only the names of the classes, or the
symbols of transcripts, are those of the pool as it was given.
"""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import Tensor

from graft import build, held_out, parts, registry, run
from graft.cache import Cache
from graft.checkpoint import load_tensors, save_tensors
from graft.console import Console
from graft.device import autocast, permutation, pick, seeded
from graft.engine import Engine
from graft.errors import DataError
from graft.evidence import Evidence, Score
from graft.features import Feed
from graft.nn.heads import Standardize
from graft.paired import REPEATS, Array, Fold, Hits
from graft.phase import Tell
from graft.scoring import BATCH, predict
from graft.spec import parse
from graft.store import replacing
from graft.train import Loop
from graft.types import Backbone, Dataset, Features, Flow, Json, Model, Predictions, Recipe, Task

PROBED = 256 << 20  # bytes of what probes have said
PASSES, SCRATCH_PASSES = 8_000, 30_000  # samples that a network should see, however few there are
OWN = ("backbone", "strategy", "features")  # fields of a recipe that a way says itself
NO_MATTER = ("data", "valid", "test", "sealed", "budget", "epsilon", "device")  # kept by content and folds, or no fact
Abort = Callable[[float], bool]  # seconds spent on this fold -> whether to give it up


class OutOfTime(Exception):
    """A trial that the budget does not allow to finish; its fold counts for nothing."""


@dataclass(frozen=True)
class Way:
    """One way to solve the task. Two ways with equal fields are the same, and are measured once."""

    backbone: str
    strategy: str
    features: str = "last"
    terms: tuple[str, ...] = ()
    batch_size: int | None = None

    def __str__(self) -> str:
        extra = " of all stages" if self.features == "stages" else ""
        return f"{parse(self.strategy).name}{extra} on {self.backbone}"

    def recipe(self, base: Recipe) -> Recipe:
        """What `graft fit --recipe` repeats: no validation part, as nothing is left to be chosen by it."""
        terms = () if build.is_probe(self.strategy) else (*self.terms, *base.terms)
        return replace(base, backbone=self.backbone, strategy=self.strategy, features=self.features, terms=terms,
                       batch_size=self.batch_size or base.batch_size, valid=0.0)  # fmt: skip


@dataclass
class Trunk:
    """A trunk as it came, before the pool of samples; `features` are kept by their view."""

    backbone: Backbone
    feed: Feed
    features: dict[str, Tensor] = field(default_factory=dict)
    decoding: float = 0.0  # seconds for one sample, once measured
    opened: bool = False

    def view(self, needs: str) -> Tensor:
        """(N, D) features of the whole pool."""
        if needs not in self.features:
            everything = torch.arange(len(self.feed))
            feed = self.feed if needs == "pooled" else self.feed.part(everything, self.backbone, needs=needs)
            self.backbone.eval()
            self.features[needs] = feed.pooled()
        return self.features[needs]


@final
class Trials:
    """Outcomes of ways on folds, kept in memory and, line by line, in a folder: trials.jsonl, which says of what.

    Raises DataError where what is kept is of other samples, folds or weights, or of another recipe.
    """

    def __init__(self, recipe: Recipe, pool: Dataset, folds: tuple[Fold, ...], folder: Path | None = None, *,
                 keep_said: bool = False) -> None:  # fmt: skip
        """`keep_said`: what trained ways say of test rows stays in the folder, for `held_out`."""
        self.recipe, self.pool, self.folds, self.folder = recipe, pool, folds, folder
        self.said = folder / run.SAID if folder and keep_said and pool.kind == "class" else None
        self.task = build.task_for(recipe, pool)
        self.targets = self.task.targets(pool)
        self.device = pick(recipe.device)
        self.trunks: dict[str, Trunk] = {}
        self.hits: dict[Way, Hits] = {}
        self.seconds: dict[Way, float] = {}
        self._probed: dict[tuple[Way, int], Tensor] = {}  # what probes said of held-out rows
        self._tasks: dict[int, Task] = {}
        self._weights: dict[str, str] = {}  # the hashes of the trunks whose outcomes are kept
        self._load()
        self.resumed = bool(self.hits)

    # ---------------------------------------------------------------------------------------------------- the trunks

    def trunk(self, text: str) -> Trunk:
        """Built once, with the seed of the recipe for what is random in it."""
        if text not in self.trunks:
            with seeded(self.recipe.seed, "backbone"):
                backbone = build.suited(build.backbone(text, build.corpus(self.pool)), self.task)
            feed = Feed(self.pool, backbone, device=self.device, seed=self.recipe.seed, views=self.recipe.views,
                        needs=self.task.needs, cache=Cache.default(), targets=self.targets,
                        engine=Engine.of(self.recipe))  # fmt: skip
            self._require_weights(text, backbone.info.sha256)
            self.trunks[text] = Trunk(backbone.to(self.device), feed)
        return self.trunks[text]

    def share(self, text: str, other: Trials) -> None:
        """Take a trunk, and what is known of the same samples through it, from trials with other targets."""
        trunk = other.trunk(text)
        feed = copy.copy(trunk.feed)
        feed.targets = self.targets
        self.trunks[text] = replace(trunk, feed=feed)

    def open(self, text: str, console: Console) -> None:
        """The features of the whole pool, with a bar."""
        trunk, total = self.trunk(text), len(self.pool)
        with console.phase("features", total, "samples") as bar:
            trunk.feed.tell, trunk.feed.engine.say = lambda done, _: bar(done, text), console.say
            self.prepare(Way(text, "linear_probe"))
            bar(total, text)
        trunk.feed.tell, trunk.opened = None, True

    def milliseconds(self, text: str, few: int = 32) -> float:
        """Time of one sample through a trunk, decoding left out; the faster of two batches."""
        trunk, rows = self.trunk(text), torch.arange(min(few, len(self.pool)))
        trunk.backbone.eval()
        times = []
        for _ in range(2):
            inputs = trunk.feed.part(rows, trunk.backbone).batch(rows, 0)
            began = time.perf_counter()
            with torch.inference_mode():
                trunk.backbone(inputs).pooled.sum().item()  # waits for a GPU
            times.append(time.perf_counter() - began)
        return 1000 * min(times) / len(rows)

    def extraction(self, text: str, few: int = 32) -> float:
        """Seconds that the features of the whole pool take, decoding included; 0 when they are there."""
        trunk = self.trunk(text)
        if trunk.opened or trunk.features:
            return 0.0
        if not trunk.decoding:
            rows, began = torch.arange(min(few, len(self.pool))), time.perf_counter()
            trunk.feed.batch(rows, 0)
            trunk.decoding = (time.perf_counter() - began) / len(rows)
        return (trunk.decoding + self.milliseconds(text) / 1000) * len(self.pool)

    def parameters(self, text: str) -> int:
        return self.trunk(text).backbone.info.parameters

    def prior(self, text: str) -> float:
        """What the trunk's card says of it, before any data: ranking/static.py."""
        info = self.trunk(text).backbone.info
        facts = Evidence(np.eye(2), np.arange(2), 2, None, info.parameters, info.source_accuracy)
        found: Score = registry.find("ranker", "static")(facts)
        return found.value

    def pretrained(self, way: Way) -> bool:
        """Whether the trunk's weights come from somewhere; random ones have no hash."""
        return bool(self.trunk(way.backbone).backbone.info.sha256)

    def pace(self, text: str, batch_size: int, few: int = 64) -> float:
        """Seconds that training everything takes for one sample, views and all; the faster of two short trainings."""
        way, times = Way(text, "full(epochs=2)", batch_size=batch_size), []
        rows = torch.from_numpy(self.folds[0].train[:few])
        for _ in range(2):
            model, loop, flow = self._prepared(way, 0, rows)
            began = time.perf_counter()
            loop.run(flow)
            times.append(time.perf_counter() - began)
        return min(times) / (2 * len(rows))

    # ---------------------------------------------------------------------------------------------------- the trials

    def measure(self, way: Way, fold: int, abort: Abort | None = None) -> Model | None:
        """Fit on the fold's training rows and score its test rows; returns the trained model, None for a probe."""
        began, trained = time.monotonic(), None
        if build.is_probe(way.strategy):
            probabilities = self._probe(way, fold)
            self._keep_probed(way, fold, probabilities)
        else:
            trained = self.train(way, fold, abort)
            probabilities = self.predict(trained, way, fold)
            self._remember(way, fold, probabilities)
        self.keep(way, fold, self._each(probabilities, fold), time.monotonic() - began)
        return trained

    def train(self, way: Way, fold: int, abort: Abort | None = None) -> Model:
        """A fresh copy of the trunk, trained by the way's strategy. Raises OutOfTime when `abort` says so."""
        began = time.monotonic()

        def tell(event: Json) -> None:
            if abort and event["event"] == "step" and abort(time.monotonic() - began):
                raise OutOfTime

        model, loop, flow = self._prepared(way, fold, torch.from_numpy(self.folds[fold].train), tell)
        loop.run(flow)
        return model.eval()

    def _prepared(self, way: Way, fold: int, rows: Tensor, tell: Tell = lambda event: None) -> tuple[Model, Loop, Flow]:
        """All that a training on some rows needs; nothing validates it, as nothing is chosen by it."""
        recipe, trunk = way.recipe(self.recipe), self.trunk(way.backbone)
        trunk.feed.decode()
        backbone, task = copy.deepcopy(trunk.backbone), self._task(fold)
        model = build.model(recipe, backbone, task).to(self.device)
        if task.needs == "pooled":
            fit_scale(model, trunk.view("pooled")[rows])
        train = trunk.feed.part(rows, backbone, build.views(recipe, backbone, task, "train"), task.needs)
        nothing = trunk.feed.part(rows[:0], backbone, task.view, task.needs)
        loop = Loop(model, task, train, nothing, recipe, None, tell)
        samples = lambda other: seen_by(other, train, Engine.of(self.recipe))  # noqa: E731
        return model, loop, build.flow(recipe, model, samples, task.classes)

    def predict(self, model: Model, way: Way, fold: int) -> Tensor:
        """What the task says of the fold's test rows: for classes (n, C) probabilities."""
        trunk, rows = self.trunk(way.backbone), torch.from_numpy(self.folds[fold].test)
        feed = trunk.feed.part(rows, model.backbone, self.task.view, self.task.needs)
        return predict(model, self._task(fold), feed).values

    def weights(self, way: Way, fold: int, state: parts.State, made_of: Sequence[Way]) -> None:
        """Score a way whose weights are at hand already: an average of others, which cost what those cost to train."""
        backbone = copy.deepcopy(self.trunk(way.backbone).backbone)
        model = build.model(way.recipe(self.recipe), backbone, self._task(fold)).to(self.device)
        model.load_state_dict(state)
        began = time.monotonic()
        probabilities = self.predict(model, way, fold)
        self._remember(way, fold, probabilities)
        each = self._each(probabilities, fold)
        trained = sum(self.seconds[one] / len(self.hits[one]) for one in made_of)
        self.keep(way, fold, each, trained + time.monotonic() - began)

    # -------------------------------------------------------------------------------- what was said of held-out samples

    def held_out(self, way: Way) -> tuple[Tensor, Tensor, int] | None:
        """Rows (n,) of the pool, each at most once, the probabilities (n, C) that a way gives them without having been
        fitted to them, and how many such rows there were: at most `held_out.room` are kept. A probe that an interrupted
        run has measured is fitted again, to features that are there; of a trained way it is what was written when it
        was measured. None where nothing was, as by an older version: to train it again is not in the budget."""
        known = {k: self._by_probe(way, k) if build.is_probe(way.strategy) else self._recalled(way, k)
                 for k in self._once()}  # fmt: skip
        kept = {k: said for k, said in known.items() if said is not None}
        if not kept:
            return None
        rows = [torch.from_numpy(self.folds[k].test)[self.held(k)] for k in kept]
        return torch.cat(rows), torch.cat([*kept.values()]).float().cpu(), sum(len(self.folds[k].test) for k in kept)

    def held(self, fold: int) -> Tensor:
        """Which of a fold's test rows are kept, (n,) in ascending order: all, unless the classes are too many."""
        count = len(self.folds[fold].test)
        most = max(1, held_out.room(len(self.pool.classes)) // len(self._once()))
        return permutation(count, self.recipe.seed, "held", fold)[:most].sort().values

    def _once(self) -> range:
        """The folds of the first repeat, whose test parts share no sample."""
        return range(max(1, len(self.folds) // REPEATS))

    def _keep_probed(self, way: Way, fold: int, probabilities: Tensor) -> None:
        """In memory, as long as it is little: a probe may take a minute to fit again."""
        kept = sum(one.nbytes for one in self._probed.values())
        if self.pool.kind == "class" and fold in self._once() and kept + probabilities.nbytes < PROBED:
            self._probed[way, fold] = probabilities[self.held(fold)]

    def _by_probe(self, way: Way, fold: int) -> Tensor:
        found = self._probed.get((way, fold))
        return self._probe(way, fold)[self.held(fold)] if found is None else found

    def _remember(self, way: Way, fold: int, probabilities: Tensor) -> None:
        """On the disk at once: an interrupted run goes on without it in memory."""
        if self.said is None or fold not in self._once():
            return
        self.said.mkdir(exist_ok=True)
        with replacing(self.said / self._named(way, fold)) as temporary:
            save_tensors(temporary, {"probabilities": probabilities[self.held(fold)].float()})

    def _recalled(self, way: Way, fold: int) -> Tensor | None:
        path = self.said / self._named(way, fold) if self.said and fold in self.hits.get(way, {}) else None
        return load_tensors(path)["probabilities"] if path and path.exists() else None

    def _named(self, way: Way, fold: int) -> str:
        return f"{_hash(asdict(way))[:16]}-{fold}.safetensors"

    def constant(self) -> Way | None:
        """What says the same of every sample, such as the most frequent class, as a way; None: the task has none."""
        way = Way("no trunk", "majority")
        for fold in self.missing(way):
            rows, asked = torch.from_numpy(self.folds[fold].train), len(self.folds[fold].test)
            nothing = torch.empty(len(rows), 0), torch.empty(asked, 0)
            said = self._task(fold).baselines(nothing[0], self.targets[rows], nothing[1])
            if not said:
                return None
            self.keep(way, fold, self._each(next(iter(said.values())).values, fold), 0.0)
        return way

    def features(self, way: Way) -> Tensor:
        """(N, D) what a probe sees of the pool."""
        return self.trunk(way.backbone).view("stages" if way.features == "stages" else "pooled")

    def prepare(self, way: Way) -> None:
        """Run the trunk of a way on the pool, as far as it stands still."""
        if build.is_probe(way.strategy):
            self.features(way)
        elif self.task.needs == "pooled":
            self.trunk(way.backbone).view("pooled")
        else:
            self.trunk(way.backbone).feed.warm()

    def _probe(self, way: Way, fold: int) -> Tensor:
        recipe, rows = way.recipe(self.recipe), self.folds[fold]
        features = self.features(way)
        head = build.probe(recipe, len(self.pool.classes))
        head.fit(features[rows.train], self.targets[rows.train])
        task = self._task(fold)
        with torch.inference_mode():  # in blocks: k-NN holds a row for each training sample
            return torch.cat([task.predict(head, Features(few)).values for few in features[rows.test].split(BATCH)])

    def _task(self, fold: int) -> Task:
        """It knows of the labels what the training rows of the fold say; no way has a task of its own."""
        if fold not in self._tasks:
            train = tuple(self.pool.samples[i] for i in self.folds[fold].train)
            self._tasks[fold] = build.task_for(self.recipe, self.pool.replace(samples=train))
        return self._tasks[fold]

    def _each(self, said: Tensor, fold: int) -> Array:
        truth = self.targets[torch.from_numpy(self.folds[fold].test)]
        return self._task(fold).each(Predictions(said, self.pool.classes), truth).numpy()

    # ------------------------------------------------------------------------------------------------ what is kept

    def keep(self, way: Way, fold: int, each: Array, seconds: float) -> None:
        self.hits.setdefault(way, {})[fold] = each
        self.seconds[way] = self.seconds.get(way, 0.0) + seconds
        if not self.folder:
            return
        line = {
            "way": asdict(way),
            "fold": fold,
            "each": each.tolist(),
            "seconds": round(seconds, 3),
            "of": self._about,
        }
        trunk = self.trunks.get(way.backbone)
        run.append(self.folder, line | ({"weights": trunk.backbone.info.sha256} if trunk else {}), run.TRIALS)

    def missing(self, way: Way) -> list[int]:
        return [k for k in range(len(self.folds)) if k not in self.hits.get(way, {})]

    def _load(self) -> None:
        """What an interrupted run has measured; a half line at the end is measured again."""
        path = self.folder / run.TRIALS if self.folder else None
        text = path.read_text(encoding="utf-8") if path and path.exists() else ""
        if self.folder and text and not text.endswith("\n"):
            run.append(self.folder, {}, run.TRIALS, start="\n")
        for record in (record for line in text.splitlines() if (record := _record(line))):
            self._require_same(record.get("of"))
            way = Way(**{**record["way"], "terms": tuple(record["way"]["terms"])})
            self.hits.setdefault(way, {})[record["fold"]] = np.array(record["each"])
            self.seconds[way] = self.seconds.get(way, 0.0) + record["seconds"]
            if "weights" in record:
                self._weights[way.backbone] = record["weights"]

    @cached_property
    def _about(self) -> dict[str, str]:
        """Hashes of what decides outcomes, but for the trunk: labelled samples, folds, the rest of the recipe."""
        names = [sample.digest or sample.key for sample in self.pool.samples]
        rows = [[[names[i] for i in part] for part in (fold.train, fold.test)] for fold in self.folds]
        recipe = {key: value for key, value in self.recipe.json().items() if key not in OWN + NO_MATTER}
        return {"data": run.fingerprint(self.pool), "folds": _hash(rows), "recipe": _hash(recipe)}

    def _require_same(self, kept: dict[str, str] | None) -> None:
        """Raises DataError. What an older version kept in a run folder says nothing: the run itself looks after it."""
        assert self.folder is not None, "something is kept"
        if kept is None and (self.folder / "data.json").exists():
            return
        changed = [name for name, value in self._about.items() if kept and kept.get(name) != value]
        if kept is None or changed:
            said = f"is of other trials: not the same {', '.join(changed)}" if kept else "does not say of what it is"
            raise _other(f"{self.folder / run.TRIALS} {said}")

    def _require_weights(self, text: str, found: str) -> None:
        if self._weights.get(text, found) != found:
            assert self.folder is not None, "something is kept"
            raise _other(f"{self.folder / run.TRIALS} is of other trials: {text} had other weights")


def _record(line: str) -> Json | None:
    """None for a line that was cut short."""
    try:
        return json.loads(line)  # type: ignore[no-any-return]
    except json.JSONDecodeError:
        return None


def _hash(record: object) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _other(what: str) -> DataError:
    return DataError(what, "name another folder, or delete the file, and everything is measured anew")


def seen_by(other: Backbone, train: Feed, engine: Engine) -> Tensor:
    """(N, D) what another trunk, a teacher, makes of the samples of a feed as they are. How far it is goes where the
    feed tells it, and so, inside a loop, it can be interrupted."""
    device, cache, tell = train.device, train.cache, train.tell
    with autocast(device, torch.float32):  # a step asks, and its own precision is not the teacher's
        return Feed(train.dataset, other, device=device, cache=cache, engine=engine, tell=tell, targets=()).pooled()


def fit_scale(model: Model, features: Tensor) -> None:
    """Give a head that standardises the scale of the training features (N, D)."""
    for module in model.head.modules():
        if isinstance(module, Standardize):
            module.fit(features)


def epochs_for(samples: int, passes: int = PASSES, most: int = 60) -> int:
    """Few samples are shown more often (Kolesnikov et al. 2020, arXiv:1912.11370, fix the steps, not the epochs)."""
    least = int(np.clip(round(20_000 / max(1, samples)), 1, 5))
    return int(np.clip(round(passes / max(1, samples)), least, most))


def batch_for(samples: int, asked: int) -> int:
    """At least ten steps an epoch, where there are samples enough for batches of 8."""
    return max(8, min(asked, 1 << int(np.log2(max(8, samples / 10)))))
