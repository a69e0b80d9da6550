"""The last layers move: a prefix that runs once, against one that runs again in every epoch.

    python benchmarks/prefix.py --data $GRAFT_DATA [--cases ...] [--rounds 3] [--epochs 5] [--quick]

Both sides are Graft's own loop with the same weights, pictures or texts, order, batches and steps; the peer is told
that neither memory nor disk has room. The cache begins empty and is written to disk inside the clock.
"""

from __future__ import annotations

import csv
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _options
import torch
from _race import Lap, race
from precision import pictures

from graft import api, build
from graft.cache import Cache
from graft.data._audit import audit
from graft.data._sniff import open_data
from graft.data._split import split
from graft.device import seeded
from graft.engine import Engine
from graft.features import Feed
from graft.recipe import Recipe
from graft.scoring import predict
from graft.train import Loop
from graft.types import Dataset, Model

assert api  # the registry of the whole package is loaded before any clock starts
CPU = torch.device("cpu")
GOAL = 2.0
RESNET = "torchvision:resnet18(pretrained=False)"


@dataclass(frozen=True)
class Case:
    name: str
    data: str  # pictures or texts
    backbone: str
    last: int
    precision: str


CASES = (
    Case("ResNet-18 at 224 px, last stage, bf16", "pictures", RESNET, 1, "bf16"),
    Case("tiny64, last stage, bf16", "pictures", "bundled:tiny64", 1, "bf16"),
    Case("MiniLM, last block, bf16", "texts", "minilm", 1, "bf16"),
    Case("MiniLM, last two blocks, bf16", "texts", "minilm", 2, "bf16"),
)


def dataset(kind: str, data: Path, folder: Path, size: int) -> Dataset:
    """Real samples: pictures of CIFAR-10, or news."""
    if kind == "pictures":
        train, _ = pictures("cifar10_png", size // 10, 1)(data, folder)
        return split(audit(open_data(train)))
    with (data / "ag_news_test" / "test.csv").open(encoding="utf-8", newline="") as file:
        rows = [(f"{title}. {body}", label) for label, title, body in csv.reader(file)][:size]
    with (folder / "news.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return split(audit(open_data(str(folder / "news.csv"))))


@dataclass
class Bench:
    case: Case
    data: Dataset
    recipe: Recipe
    model: Model

    @staticmethod
    def make(case: Case, data: Dataset, epochs: int) -> Bench:
        strategy = f"full(epochs={epochs}, last={case.last})"
        recipe = Recipe("x", backbone=case.backbone, strategy=strategy, augment="none",
                        batch_size=32, precision=case.precision, device="cpu", batchnorm="train")  # fmt: skip
        with seeded(0, "backbone"):
            backbone = build.backbone(case.backbone)
        return Bench(case, data, recipe, build.model(recipe, backbone, build.task_for(recipe, data)))

    def run(self, kept: bool) -> Lap:
        model, task = deepcopy(self.model), build.task_for(self.recipe, self.data)
        with tempfile.TemporaryDirectory() as cold, _memory(None if kept else "0"):
            engine = Engine.of(self.recipe)
            train, valid, test = (
                Feed(part, model.backbone, device=CPU, cache=Cache(Path(cold)) if kept else None, engine=engine,
                     targets=task.targets(part)) for part in map(self.data.part, ("train", "valid", "test"))
            )  # fmt: skip
            self._decoded(train, valid, test)
            began = time.perf_counter()
            Loop(model, task, train, valid, self.recipe, None, lambda event: None).run(build.flow(self.recipe, model))
            seconds = time.perf_counter() - began
            return Lap(seconds, task.score(predict(model, task, test), test.targets)["accuracy"])

    def _decoded(self, *feeds: Feed) -> None:
        """Before the clock, on both sides: what is compared is the network."""
        with _memory(None):
            for feed in feeds:
                feed.decode()


def compared(case: Case, data: Path, size: int, epochs: int, rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench.make(case, dataset(case.data, data, Path(folder), size), epochs)
        return race(case.name, lambda: bench.run(True), lambda: bench.run(False), name="prefix run again",
                    rounds=rounds, goal=GOAL)  # fmt: skip


@contextmanager
def _memory(limit: str | None) -> Iterator[None]:
    before = os.environ.pop("GRAFT_MEMORY", None)
    if limit is not None:
        os.environ["GRAFT_MEMORY"] = limit
    try:
        yield
    finally:
        os.environ.pop("GRAFT_MEMORY", None)
        if before is not None:
            os.environ["GRAFT_MEMORY"] = before


def main() -> None:
    parser = _options.with_data(_options.parser(__doc__, "a quarter of the samples, one round"))
    parser.add_argument("--cases", nargs="+", default=[""], help="parts of their names; default: all")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--samples", type=int, default=800)
    asked = _options.read(parser, "cifar10_png", "ag_news_test")
    size = asked.samples // 4 if asked.quick else asked.samples
    chosen = [case for case in CASES if any(part in case.name for part in asked.cases)]
    rows = [compared(case, asked.data, size, asked.epochs, asked.rounds) for case in chosen]
    _options.finish("prefix", rows, {"samples": size, "epochs": asked.epochs}, asked)


if __name__ == "__main__":
    main()
