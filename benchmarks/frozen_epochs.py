"""Whatever is frozen runs once: the classical transfer recipe as a plain loop and as Graft, in one run.

    python benchmarks/frozen_epochs.py --data $GRAFT_DATA [--quick] [--cases vgg16 resnet18] [--rounds 3]

The plain loop is what tutorials write: every epoch sends every image through the trunk again, frozen stages in eval
mode and under no_grad. Both sides decode each image once, inside the clock; use the same uint8 pixels, channels_last
layout, initial weights, order of samples, optimiser and rule for the best epoch; and score the valid part after each
epoch. Graft starts with an empty cache and writes it to disk. Testing is outside the clock, by one same function.
The plain loop is in float32; `-bf16` is Graft in bfloat16, its default where the processor has it. `graft fit` is the
whole command: audit of the files, baselines, sealed test, run folder, reading it back.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import _options
import numpy as np
import torch
from _report import paired
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from graft import api, build, parts, registry, run
from graft.backbones import bundled
from graft.backbones._images import Images
from graft.cache import Cache
from graft.data._audit import audit
from graft.data._sniff import open_data
from graft.data._split import split
from graft.device import permutation, seeded
from graft.engine import Engine
from graft.features import Feed
from graft.recipe import Recipe
from graft.scoring import predict
from graft.spec import parse
from graft.train import Loop
from graft.types import Dataset, Model, Task

CPU = torch.device("cpu")
HEAD_LR, LR, BATCH = 1e-4, 1e-5, 32
HEAD = "mlp(hidden=(1024,), dropout=0.0, standardize=False)"  # Dense 1024 + Dense 10
NATIVE = 32  # CIFAR-10's own resolution: no resizing of the pictures that the plain recipe feeds as they are


@dataclass(frozen=True)
class Case:
    """`last` stages of the trunk move with the head; 0 is the frozen recipe."""

    name: str
    backbone: str
    weights: str
    last: int = 0
    epochs: int = 20
    goal: float | None = None  # how many times as fast as the plain loop it is to be
    precision: str = "fp32"  # Graft's; the plain loop computes in float32

    @property
    def strategy(self) -> str:
        if self.last == 0:
            return f"linear_probe(epochs={self.epochs}, lr={HEAD_LR})"
        return f"full(epochs={self.epochs}, lr={LR}, head_lr={HEAD_LR}, last={self.last})"

    def recipe(self, data: Path) -> Recipe:
        return Recipe(str(data), backbone=self.backbone, strategy=self.strategy, head=HEAD, optimizer="adam",
                      schedule="constant", weight_decay=0.0, batch_size=BATCH, clip=0.0, ema=0.0, augment="none",
                      batchnorm="train", precision=self.precision, device="cpu")  # fmt: skip


def cases(data: Path) -> Iterator[Case]:
    random = "random, seed 0 (the published ones need a network): times are real, accuracies are of random features"
    yield Case("vgg16", f"torchvision:vgg16(pretrained=False, size={NATIVE})", random)
    yield Case("vgg16-bf16", f"torchvision:vgg16(pretrained=False, size={NATIVE})", random, goal=25.0, precision="bf16")
    yield Case("resnet18", "torchvision:resnet18(pretrained=False, size=96)", random, last=1, epochs=10, goal=2.0)
    file = data / "weights" / "resnet_cifar10_akamaster" / "resnet20-12fca82f.th"
    if file.is_file():
        real = "akamaster's ResNet-20, trained on CIFAR-10 itself: accuracies mean something, transfer is not the point"
        yield Case("resnet20", f"local:{file}(arch='resnet_cifar(depth=20)')", real)
    if "tiny64" in bundled.names():
        yield Case("tiny64", "bundled:tiny64", "bundled:tiny64")
        yield Case("tiny64-last", "bundled:tiny64", "bundled:tiny64", last=1, epochs=10, goal=2.0)


# --------------------------------------------------------------------------------------------------- the plain loop


class Plain:
    """The tutorial's loop. `frozen` runs again in every epoch, in eval mode and without a graph."""

    def __init__(self, case: Case, model: Model) -> None:
        stages = list(model.backbone.stages)
        cut = stages.index(parts.stages(model, case.last)[0]) if case.last else len(stages)
        self.preprocess = model.backbone.preprocess
        self.frozen, self.moving, self.head = nn.Sequential(*stages[:cut]), nn.Sequential(*stages[cut:]), model.head
        groups = [{"params": list(self.head.parameters()), "lr": HEAD_LR}]
        groups += [{"params": list(self.moving.parameters()), "lr": LR}] * bool(case.last)
        self.optimizer = torch.optim.Adam(groups)

    def fit(self, model: Model, data: Dataset, epochs: int) -> tuple[float, float]:
        """Seconds in all, and of these those for the valid part. The weights of the best epoch stay."""
        began, scoring, best, kept = time.perf_counter(), 0.0, (-1.0, 0.0), model.state_dict()
        pixels, targets = self.decode(data.part("train")), data.part("train").targets()
        valid, truth = self.decode(data.part("valid")), data.part("valid").targets()
        model.eval()
        for epoch in range(epochs):
            self.epoch(pixels, targets, permutation(len(targets), 0, "order", 0, epoch))
            start = time.perf_counter()
            score = self.score(valid, truth)
            if score > best:
                best, kept = score, deepcopy(model.state_dict())
            scoring += time.perf_counter() - start
        model.load_state_dict(kept)
        return time.perf_counter() - began, scoring

    def decode(self, data: Dataset) -> Tensor:
        """(N, 3, R, R) uint8."""
        return torch.stack([self.preprocess.sample(Image.open(sample.source)) for sample in data.samples])

    def epoch(self, pixels: Tensor, targets: Tensor, order: Tensor) -> None:
        self.moving.train()
        self.head.train()
        for rows in order.split(BATCH):
            self.optimizer.zero_grad()
            F.cross_entropy(self.logits(pixels[rows]), targets[rows]).backward()
            self.optimizer.step()

    def score(self, pixels: Tensor, targets: Tensor) -> tuple[float, float]:
        """Accuracy and minus the loss, which decides between epochs of one accuracy, as it does in Graft."""
        self.moving.eval()
        self.head.eval()
        with torch.no_grad():
            found = torch.cat([self.logits(few) for few in pixels.split(64)])
        return float((found.argmax(1) == targets).float().mean()), -float(F.cross_entropy(found, targets))

    def logits(self, pixels: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.frozen(self.preprocess.batch(pixels).x)
        return self.head(self.moving(x).mean((2, 3)))  # type: ignore[no-any-return]


# ---------------------------------------------------------------------------------------------------- the comparison


class Outcome(NamedTuple):
    seconds: float
    cpu: float  # seconds of all threads: what a busy machine distorts least
    scoring: float  # of these, seconds for the valid part; 0 where they are not measured apart
    right: NDArray[np.bool_]  # (N,) on the test part
    probabilities: Tensor  # (N, C) on the test part


@dataclass
class Bench:
    """One case on one subset: the same initial weights for every run of either side."""

    case: Case
    recipe: Recipe
    data: Dataset
    task: Task
    model: Model
    start: dict[str, Tensor]

    @staticmethod
    def make(case: Case, folder: Path) -> Bench:
        recipe = case.recipe(folder)
        data = split(audit(open_data(str(folder))))
        with seeded(0, "backbone"):
            backbone = build.backbone(case.backbone)
        if isinstance(backbone.preprocess, Images) and backbone.preprocess.size == NATIVE:
            backbone.preprocess = replace(backbone.preprocess, resize=NATIVE)
        task = build.task_for(recipe, data)
        model = build.model(recipe, backbone, task)
        return Bench(case, recipe, data, task, model, deepcopy(model.state_dict()))

    def plain(self) -> Outcome:
        self._restart()
        began = time.process_time()
        seconds, scoring = Plain(self.case, self.model).fit(self.model, self.data, self.case.epochs)
        return self._tested(seconds, time.process_time() - began, scoring)

    def graft(self) -> Outcome:
        """Feed + Loop with an empty cache: decoding, extraction, writing the cache, training, scoring."""
        self._restart()
        with tempfile.TemporaryDirectory() as cold:
            began, cpu = time.perf_counter(), time.process_time()
            train, valid = (self._feed(name, Cache(Path(cold))) for name in ("train", "valid"))
            flow = parse(self.case.strategy).bind(registry.find("strategy", parse(self.case.strategy).name), self.model)
            Loop(self.model, self.task, train, valid, self.recipe, None, lambda event: None).run(flow)
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        return self._tested(seconds, cpu, 0.0)

    def command(self) -> float:
        """Seconds of the whole `graft fit`, with an empty cache."""
        with tempfile.TemporaryDirectory() as cold:
            os.environ["GRAFT_CACHE"] = cold
            began = time.perf_counter()
            api.fit(recipe=self.recipe, out=f"{cold}/run")
            return time.perf_counter() - began

    def _restart(self) -> None:
        self.model.load_state_dict(self.start)
        self.model.requires_grad_(True).zero_grad()

    def _feed(self, name: str, cache: Cache | None = None) -> Feed:
        engine = Engine.of(self.recipe)
        return Feed(self.data.part(name), self.model.backbone, device=CPU, cache=cache, engine=engine)

    def _tested(self, seconds: float, cpu: float, scoring: float) -> Outcome:
        test = self._feed("test")
        values = predict(self.model, self.task, test).values
        return Outcome(seconds, cpu, scoring, (values.argmax(1) == test.targets).numpy(), values)


def compare(case: Case, folder: Path, rounds: int) -> dict[str, Any]:
    """Both sides in turn, the first to go changing with each round; medians."""
    bench = Bench.make(case, folder)
    ours, theirs, whole = [], [], []
    for number in range(rounds):
        for side in ("plain", "graft") if number % 2 == 0 else ("graft", "plain"):
            (theirs if side == "plain" else ours).append(getattr(bench, side)())
            print(f"  {case.name} {side}: {(theirs if side == 'plain' else ours)[-1].seconds:.1f} s", flush=True)
        whole.append(bench.command())
    return {**row(case, theirs, ours, whole), "weights": case.weights, "counts": run.counts(bench.data)["splits"],
            "recipe": bench.recipe.json() | {"data": "the subset", "backbone": _public(case.backbone)}}  # fmt: skip


def _public(backbone: str) -> str:
    """Without the folders of this machine."""
    return re.sub(r"local:.*/", "local:$GRAFT_DATA/weights/.../", backbone)


def row(case: Case, theirs: list[Outcome], ours: list[Outcome], whole: list[float]) -> dict[str, Any]:
    plain, graft = median(o.seconds for o in theirs), median(o.seconds for o in ours)
    lean = median(o.seconds - o.scoring for o in theirs)  # as if the plain loop never looked at the valid part
    a, b = theirs[0], ours[0]
    return {
        "case": case.name, "moves": f"head + last {case.last}" if case.last else "head", "epochs": case.epochs,
        "what": f"{case.epochs} epochs of {case.name}, {'its last stage' if case.last else 'frozen'}",
        "graft_s": graft, "peer": "plain loop", "peer_s": plain, "ratio": plain / graft, "goal": case.goal,
        "graft_score": float(b.right.mean()), "peer_score": float(a.right.mean()), "ratio_unscored": lean / graft,
        "cpu_ratio": median(o.cpu for o in theirs) / median(o.cpu for o in ours), "graft_fit_s": median(whole),
        "same_label": float((a.probabilities.argmax(1) == b.probabilities.argmax(1)).float().mean()),
        "largest_gap": float((a.probabilities - b.probabilities).abs().max()),
        "accuracy": paired(a.right, b.right),
        "all_seconds": {"plain": [o.seconds for o in theirs], "graft": [o.seconds for o in ours], "fit": whole},
    }  # fmt: skip


def subset(source: Path, target: Path, sizes: tuple[int, int, int]) -> None:
    """Class folders under train, valid and test: links would be refused, so the small files are copied."""
    for part, first, size, origin in (
        ("train", 0, sizes[0], "train"), ("valid", sizes[0], sizes[1], "train"), ("test", 0, sizes[2], "test"),
    ):  # fmt: skip
        for folder in sorted(path for path in (source / origin).iterdir() if path.is_dir()):
            files = sorted(folder.glob("*.png"))
            chosen = permutation(len(files), 0, folder.name).tolist()[first // 10 : (first + size) // 10]
            (target / part / folder.name).mkdir(parents=True)
            for i in chosen:
                shutil.copy(files[i], target / part / folder.name)


def main() -> None:
    parser = _options.with_data(_options.parser(__doc__, "a tenth of the images, one round"))
    parser.add_argument("--cases", nargs="*", help="only these; default: all whose weights are here")
    asked = _options.read(parser, "cifar10_png")
    sizes = (200, 50, 100) if asked.quick else (2000, 500, 1000)
    known = {case.name: case for case in cases(asked.data)}
    if not set(asked.cases or ()) <= known.keys():
        parser.error(f"--cases: choose from {', '.join(known)}")
    with tempfile.TemporaryDirectory() as folder:
        subset(asked.data / "cifar10_png", Path(folder) / "cifar10", sizes)
        rows = [compare(known[name], Path(folder) / "cifar10", asked.rounds) for name in asked.cases or known]
    setup = {"train, valid, test": sizes, "batch": BATCH, "what": (__doc__ or "").partition("\n\n")[0]}
    _options.finish("frozen_epochs", rows, setup, asked)


if __name__ == "__main__":
    main()
