"""What Graft's loop costs beside the best loop written by hand, on the same work.

    python benchmarks/overhead.py --data $GRAFT_DATA [--quick] [--cases linear-2k mlp images texts] [--rounds 5]

This measures the loop alone, not Graft as a whole: the hand-written side, too, has its pixels and tokens, its batches
and its order from Graft's own functions, which `input.py` compares with others.

Both sides have the same weights, rows in memory (features, uint8 pixels, tokens: made before the clock), batches, AdamW
with fused kernels, cosine rate, and score the valid part after each epoch to keep the best one. Each case is run with
clipping and a moving average of the weights (Graft's defaults), and bare, without both. A ratio of 0.95 or more is an
overhead of 5 % or less. Heads on features that are kept are a fraction of a millisecond a step: there the microseconds
per step say more than the ratio. `cpu_ratio` is that of the processor's seconds, which other jobs change less. Without
--data only the heads are run.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import _options
import torch
from _by_hand import CPU, PROBE_LR, Hand
from _race import Lap, race
from torch import Tensor, nn

from graft import build, order
from graft.backbones._readout import vector
from graft.device import precision as dtype_of
from graft.features import Feed
from graft.recipe import Recipe
from graft.spec import Spec
from graft.train import Loop
from graft.types import Backbone, Dataset, Info, Inputs, Json, Sample

GOAL = 0.95  # of real work; the steps of a head are too short to be compared by a ratio
WAYS = {"clip and EMA": {"clip": 1.0, "ema": 0.99}, "bare": {"clip": 0.0, "ema": 0.0}}


@dataclass(frozen=True)
class Case:
    name: str
    what: str
    source: str  # "features", "images" or "texts"
    samples: int
    epochs: int
    batch: int
    strategy: str
    head: str = "linear"

    def recipe(self, way: str, precision: str) -> Recipe:
        return Recipe("memory", task="classification", strategy=self.strategy, head=self.head, batch_size=self.batch,
                      augment="none", batchnorm="train", precision=precision, **WAYS[way])  # fmt: skip


CASES = (
    Case("linear-2k", "linear, 2,000 x 512", "features", 2_000, 20, 64, f"linear_probe(epochs=20, lr={PROBE_LR})"),
    Case("linear-20k", "linear, 20,000 x 512", "features", 20_000, 5, 64,
         f"linear_probe(epochs=5, lr={PROBE_LR})"),
    Case("mlp", "MLP 1,024, 2,000 x 512", "features", 2_000, 10, 64,
         f"linear_probe(epochs=10, lr={PROBE_LR})", "mlp(hidden=(1024,), dropout=0.0)"),
    Case("images", "all of tiny64, CIFAR-10", "images", 500, 2, 64, "full(epochs=2)"),
    Case("texts", "all of MiniLM, AG News", "texts", 160, 1, 32, "full(epochs=1)"),
)  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- the data


class Rows:
    """Raw is a row of features."""

    ragged = False

    def sample(self, raw: Tensor) -> Tensor:
        return raw

    def batch(self, samples: Tensor, augment: object = None, seeds: object = ()) -> Inputs:
        return Inputs(samples)

    def json(self) -> Json:
        return {"kind": "rows"}


def features(count: int) -> tuple[Dataset, Backbone]:
    """Ten classes in 512 dimensions, before a trunk of nothing."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(10, (count,), generator=generator)
    x = 0.15 * torch.randn(10, 512, generator=generator)[y] + torch.randn(count, 512, generator=generator)
    samples = tuple(Sample(str(i), i, str(int(label))) for i, label in enumerate(y))
    data = Dataset("made", "image", samples, tuple(map(str, range(10))), lambda s: x[s.source], lambda s: b"")
    return data, Backbone(Info(Spec("rows"), "image", 512), [nn.Identity()], Rows(), vector)


def images(count: int, data: Path) -> tuple[Dataset, Backbone]:
    from graft.data._sniff import open_data

    found = open_data(str(data / "cifar10_png" / "test"))
    return _some(found, count), build.backbone("bundled:tiny64")


def texts(count: int, data: Path) -> tuple[Dataset, Backbone]:
    from text import ag_news

    return _some(ag_news(data), count), build.backbone("minilm")


def _some(found: Dataset, count: int) -> Dataset:
    step = max(1, len(found) // count)
    return found.replace(samples=found.samples[::step][:count])


# ---------------------------------------------------------------------------------------------------- the comparison


class Bench:
    """One case one way: the same weights at the start of every run of either side."""

    def __init__(self, case: Case, way: str, samples: int, data: Path | None, precision: str) -> None:
        self.case, self.recipe = case, case.recipe(way, precision)
        self.probe = case.source == "features"
        self.cpu: dict[str, list[float]] = {"graft": [], "hand": []}
        if self.probe:
            found, backbone = features(samples)
        else:
            assert data is not None
            found, backbone = (images if case.source == "images" else texts)(samples, data)
        self.task = build.task_for(self.recipe, found)
        self.model = build.model(self.recipe, backbone, self.task)
        self.start = copy.deepcopy(self.model.state_dict())
        fifth = {sample.key for sample in found.samples[::5]}
        train, valid = found.where(lambda s: s.key not in fifth), found.where(lambda s: s.key in fifth)
        dtype = dtype_of(precision, CPU)
        self.train, self.valid = (Feed(part, backbone, device=CPU, dtype=dtype) for part in (train, valid))
        for feed in (self.train, self.valid):
            feed.warm() if self.probe else feed.decode()

    @property
    def steps(self) -> int:
        return self.case.epochs * len(order.batches(len(self.train), self.case.batch, None, 0))

    def graft(self) -> Lap:
        self._restart()
        loop = Loop(self.model, self.task, self.train, self.valid, self.recipe, None, lambda event: None)
        flow = build.flow(self.recipe, self.model)
        return self._lap("graft", lambda: loop.run(flow)[0].valid["accuracy"])

    def hand(self) -> Lap:
        self._restart()
        hand = Hand(self.model, self.recipe, self.train, self.valid, self.case.epochs, self.probe)
        return self._lap("hand", hand.fit)

    def _lap(self, side: str, work: Callable[[], float]) -> Lap:
        began, cpu = time.perf_counter(), time.process_time()
        accuracy = work()
        self.cpu[side].append(time.process_time() - cpu)
        return Lap(time.perf_counter() - began, accuracy)

    def _restart(self) -> None:
        torch.manual_seed(0)
        self.model.load_state_dict(self.start)
        self.model.requires_grad_(True).zero_grad()

    def run(self, what: str, rounds: int) -> dict[str, Any]:
        self.graft(), self.hand()  # the first run of each fills caches and makes kernels
        self.cpu = {"graft": [], "hand": []}
        goal = None if self.probe else GOAL
        found = race(what, self.graft, self.hand, name="hand-written", rounds=rounds, goal=goal)
        cpu = median(b / a for a, b in zip(self.cpu["graft"], self.cpu["hand"], strict=True))
        return found | {
            "overhead_percent": 100 * (1 / found["ratio"] - 1), "cpu_ratio": cpu, "steps": self.steps,
            "graft_us_per_step": 1e6 * found["graft_s"] / self.steps,
            "peer_us_per_step": 1e6 * found["peer_s"] / self.steps,
        }  # fmt: skip


def main() -> None:
    parser = _options.with_data(_options.parser(__doc__, "a quarter of the samples, one round", rounds=5))
    parser.add_argument("--cases", nargs="*", choices=[case.name for case in CASES], help="only these")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"], help="of both sides")
    asked = _options.read(parser)
    chosen = [c for c in CASES if c.name in (asked.cases or [c.name]) and (asked.data or c.source == "features")]
    if not chosen:
        parser.error("these cases need --data, or GRAFT_DATA: a folder that holds cifar10_png and ag_news_test")
    share = 4 if asked.quick else 1
    rows = []
    for case, way in product(chosen, WAYS):
        bench = Bench(case, way, case.samples // share, asked.data, asked.precision)
        rows.append(bench.run(f"loop: {case.what}, {way}", asked.rounds))
    setup = {"precision": asked.precision, "share": 1 / share, "what": (__doc__ or "").partition("\n\n")[0]}
    _options.finish("overhead", rows, setup, asked)


if __name__ == "__main__":
    main()
