"""Does pretraining pay with few labels? Scratch, a supervised trunk and self-supervised ones at 1, 10 and 100 %.

    python benchmarks/pretraining.py --data $GRAFT_DATA --source TINY_IMAGENET/train --work OUT [--only cifar10]
    python benchmarks/pretraining.py --work OUT --report

Every network is the same one. A trunk learns for the same seconds of one core: by labels from the pictures of another
source, or without labels from the target's own training pictures. It is then fitted to a share of the target's labels
by a ridge probe of all stages or by LP-FT; scratch is the same network from random weights, trained for as many epochs
as LP-FT or for four times as many. Which of the two ways is taken is said by folds of those labels; the test part is
opened once, for that way. Seed k draws the labels and decides the order; the trunk of seed k is the k-th modulo
--pretrainings. Differences are paired by seed. Where all labels are used, what was trained to choose is what is tested.

Each trunk and each cell is a file in OUT, and what is there is not done again: interrupted, the same command goes on.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import _report
import _targets
import numpy as np
import torch
from scipy.stats import t as student

import graft
from graft.data._audit import audit
from graft.data._sniff import open_data
from graft.data._split import split
from graft.intervals import bootstrap_mean
from graft.paired import Fold, folds
from graft.recipe import PRETEXT, Recipe
from graft.run import events
from graft.store import read_json, write_json
from graft.trials import Trials, Way
from graft.types import Dataset

NETWORK = "small(size=32, widths=(16, 32, 64, 192))"
SELF = PRETEXT["image"]
METHODS = ("scratch", "supervised", *SELF)
SHARES = {0.1: 20_000, 0.01: 4_000, 1.0: 80_000}  # of the labels -> samples that a network sees; the claim first
RATE, BATCH = 4e-3, 128  # of pretraining without labels
SAID = {"simclr": "temperature=0.2, "}  # better than 0.5 by a probe on training pictures, for so few epochs
PILOT, MOST = 1500, 150  # pictures that the pace is measured on; the most epochs on few labels
Row = dict[str, Any]


class Domain(NamedTuple):
    """`train` and `test` are pictures of each class; `flip`: whether the mirror image of one shows the same."""

    train: int
    test: int
    flip: bool


DOMAINS = {
    "cifar10": Domain(1000, 200, flip=True),
    "fsdd": Domain(270, 30, flip=False),  # spoken digits as pictures of their spectra
}


# ------------------------------------------------------------------------------------------------------ the trunks


class Trunks:
    """Made when they are asked for; `seconds` of one core each, as the processor counts them: others may share it."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.data, self.source, self.work, self.seconds = asked.data, asked.source, asked.work, asked.seconds

    def one(self, domain: str, method: str, seed: int) -> Row:
        """What was made: "backbone", "epochs", "seconds", and what `watch` says of its features."""
        if method == "scratch":
            return {"backbone": NETWORK, "epochs": 0, "seconds": 0.0}
        name = f"{domain}-{method}-{seed}"
        facts = self.work / "trunks" / f"{name}.json"
        if not facts.exists():
            epochs = self._epochs(domain, method)
            shutil.rmtree(self.work / "trunks" / name, ignore_errors=True)
            spent, result = self._pretrain(domain, method, seed, epochs, self.work / "trunks" / name)
            watched = events(self.work / "trunks" / name, "watch")[-1:]
            seen = {key: found[key] for found in watched for key in ("rank", "of", "spread")}
            loss = result["phases"][-1]["train_loss"]
            write_json(facts, {"epochs": epochs, "seconds": round(spent, 1), "train_loss": loss, **seen})
            print(name, read_json(facts), flush=True)
        return {"backbone": f"trained:{self.work / 'trunks' / name}", **read_json(facts)}

    def _epochs(self, domain: str, method: str) -> int:
        """So many that they take the seconds asked for: all pictures have the same size, and so the same pace."""
        path = self.work / f"pace-{method}.json"
        if not path.exists():
            times = [self._pretrain("cifar10", method, 0, n, self.work / "pilot" / f"{method}-{n}", PILOT)[0]
                     for n in (1, 1, 5)]  # fmt: skip
            write_json(path, {"picture": (times[2] - times[1]) / 4 / PILOT, "start": times[1]})
        pace = read_json(path)
        pictures = len(list(self._pictures(domain, method).rglob("*.*")))
        return max(1, round((self.seconds - pace["start"]) / (pace["picture"] * pictures)))

    def _pretrain(
        self, domain: str, method: str, seed: int, epochs: int, out: Path, most: int = 0
    ) -> tuple[float, Row]:
        """Processor seconds, and the run's result. The last epoch is taken: to guess views well is not the goal."""
        rate, task = 0.1, "classification"
        more: Row = {}
        if method in SELF:
            rate, more = RATE, {"batch_size": BATCH}
            task = f"{method}({SAID.get(method, '')}flip={DOMAINS[domain].flip})"
        shutil.rmtree(out, ignore_errors=True)
        pictures, strategy = self._pictures(domain, method, most), f"full(epochs={epochs}, lr={rate}, head_lr={rate})"
        began = time.process_time()
        result = graft.pretrain(str(pictures), backbone=NETWORK, task=task, strategy=strategy, seed=seed, out=str(out),
                                valid=0.0, report=False, **more)  # fmt: skip
        return time.process_time() - began, result

    def _pictures(self, domain: str, method: str, most: int = 0) -> Path:
        """Folders of classes of the source, or one folder of the target's training pictures, which tells no labels."""
        name = "source" if method == "supervised" else domain
        folder = self.work / "pictures" / (f"{name}-{most}" if most else name)
        if not folder.exists():
            found = _of_source(self.source) if method == "supervised" else _unlabelled(domain, self.data, self.work)
            _copy(Random(0).sample(list(found), most) if most else found, folder)  # noqa: S311 - not a secret
        return folder


def _of_source(source: Path, per_class: int = 100) -> Iterator[tuple[Path, str]]:
    for place in sorted(source.iterdir()):
        for path in sorted(path for path in place.rglob("*.*") if path.is_file() and path.suffix != ".txt")[:per_class]:
            yield path, f"{place.name}/{path.name}"


def _unlabelled(domain: str, data: Path, work: Path) -> Iterator[tuple[Path, str]]:
    paths = sorted((labelled(domain, data, work) / "train").rglob("*.png"))
    for i, path in enumerate(Random(0).sample(paths, len(paths))):  # noqa: S311 - not a secret
        yield path, f"{i:05}.png"


def _copy(found: Any, folder: Path) -> None:
    for path, name in found:
        (folder.with_suffix(".new") / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder.with_suffix(".new") / name)
    folder.with_suffix(".new").rename(folder)


def labelled(domain: str, data: Path, work: Path) -> Path:
    own = DOMAINS[domain]
    return _targets.build(domain, own.train, data, work / "pictures", test_per_class=own.test)


# ------------------------------------------------------------------------------------------------------- the cells


def cell(trunk: Row, domain: str, share: float, seed: int, dataset: Dataset) -> Row:
    """One way to the labels that the seed draws, chosen by folds of them, and its hits on the test part."""
    own, began = DOMAINS[domain], time.process_time()
    pool, learn, test = drawn(dataset, share, own.train, seed)
    few = pool.replace(samples=tuple(pool.samples[i] for i in learn))
    inner = folds(few, 0.1, seed)[: 2 if share < 0.1 else 1]
    last = Fold(learn, test, np.ones(len(test), bool))
    trials = Trials(Recipe("drawn", augment=f"basic(scale=0.5, flip={own.flip})", seed=seed), pool, (*inner, last))
    choose, final = range(len(inner)), len(inner)
    tried = {way: [trials.measure(way, k) for k in choose] for way in ways(trunk, share, len(learn))}
    scores = {way: float(np.mean([trials.hits[way][k].mean() for k in choose])) for way in tried}
    best = max(scores, key=lambda way: scores[way])
    trained = tried[best][0] if share == 1 else None
    if trained is None:
        trials.measure(best, final)
        right = trials.hits[best][final] > 0.5
    else:
        right = (trials.predict(trained, best, final).argmax(1) == trials.targets[torch.from_numpy(test)]).numpy()
    return {
        "labels": len(learn),
        "accuracy": 100 * float(right.mean()),
        "way": best.strategy,
        "chosen_by": {way.strategy: round(100 * score, 1) for way, score in scores.items()},
        "right": "".join(str(int(one)) for one in right),
        "seconds": round(time.process_time() - began, 1),
    }


def drawn(dataset: Dataset, share: float, per_class: int, seed: int) -> tuple[Dataset, np.ndarray, np.ndarray]:
    """The pool of so many labelled samples of each class and the whole test part, and the rows of both."""
    random, count = Random(f"labels {seed}"), max(2, round(share * per_class))  # noqa: S311 - not a secret
    known = [[s for s in dataset.samples if s.split == "train" and s.label == name] for name in dataset.classes]
    learn = [sample for of_class in known for sample in random.sample(of_class, count)]
    test = [sample for sample in dataset.samples if sample.split == "test"]
    pool = dataset.replace(samples=(*learn, *test))
    return pool, np.arange(len(learn)), np.arange(len(learn), len(pool))


def ways(trunk: Row, share: float, labels: int) -> list[Way]:
    """Two for everyone."""
    epochs, batch, text = min(MOST, round(SHARES[share] / labels)), 64 if labels > 500 else 32, trunk["backbone"]
    if text == NETWORK:
        return [Way(text, f"full(epochs={n}, lr=0.003, head_lr=0.003)", batch_size=batch) for n in (epochs, 4 * epochs)]
    return [
        Way(text, "ridge", "stages"),
        Way(text, f"lp_ft(start='ridge', epochs={epochs}, lr=0.003)", batch_size=batch),
    ]


def run(asked: argparse.Namespace) -> None:
    """Every cell that is not there yet, in the order of SHARES."""
    trunks = Trunks(asked)
    for domain, share in ((d, s) for s in asked.shares for d in asked.only):
        dataset = split(audit(open_data(str(labelled(domain, asked.data, asked.work)))), valid=0.0, test=0.15)
        seeds = asked.seeds if share < 1 else min(asked.seeds, asked.pretrainings)
        for seed, method in ((k, m) for k in range(seeds) for m in asked.methods):
            path = asked.work / "cells" / f"{domain}-{share}-{method}-{seed}.json"
            if path.exists():
                continue
            trunk = trunks.one(domain, method, seed % asked.pretrainings)
            made = cell(trunk, domain, share, seed, dataset)
            facts = {key: trunk[key] for key in ("epochs", "seconds")}
            path.parent.mkdir(exist_ok=True)
            write_json(path, {"domain": domain, "share": share, "method": method, "seed": seed,
                              "trunk": {**facts, "seed": seed % asked.pretrainings}, **made})  # fmt: skip
            print(path.stem, f"{made['accuracy']:.1f}", made["chosen_by"], f"{made['seconds']:.0f} s", flush=True)


# ------------------------------------------------------------------------------------------------------ the report


def report(work: Path, out: Path | None) -> None:
    cells = [read_json(path) for path in sorted((work / "cells").glob("*.json"))]
    rows = [row(domain, share, method, cells) for domain in DOMAINS for share in sorted(SHARES) for method in METHODS
            if any((c["domain"], c["share"], c["method"]) == (domain, share, method) for c in cells)]  # fmt: skip
    trunks = {path.stem: read_json(path) for path in sorted((work / "trunks").glob("*.json"))}
    setup = {"network": NETWORK, "passes": {str(share): passes for share, passes in SHARES.items()}, "trunks": trunks}
    print(_report.report("pretraining", rows, setup, out))


def row(domain: str, share: float, method: str, cells: Sequence[Row]) -> Row:
    """Means over seeds with t intervals; and with one over test samples, the seeds as they are."""
    own, scratch = ({c["seed"]: c for c in cells if (c["domain"], c["share"], c["method"]) == (domain, share, name)}
                    for name in (method, "scratch"))  # fmt: skip
    both = sorted(own.keys() & scratch.keys())
    lead = [own[k]["accuracy"] - scratch[k]["accuracy"] for k in both]
    low, high = over_seeds(lead)
    each = np.array([_hits(own[k]) - _hits(scratch[k]) for k in both]).mean(0) if both else np.zeros(1)
    sampled = bootstrap_mean(100 * each)
    return {"domain": domain, "share": share, "labels": next(iter(own.values()))["labels"], "method": method,
            "seeds": len(own), "trunks": len({c["trunk"]["seed"] for c in own.values()}),
            "accuracy": float(np.mean([c["accuracy"] for c in own.values()])),
            "over scratch": float(np.mean(lead)) if lead else None, "low": low, "high": high,
            "verdict": "" if method == "scratch" else verdict(share, low, high, sampled.low, sampled.high),
            "interval_of_test_samples": [sampled.low, sampled.high],
            "interval_of_accuracy": over_seeds([c["accuracy"] for c in own.values()]),
            "ways": [c["way"].split("(")[0] for c in own.values()],
            "each": {str(k): round(c["accuracy"], 2) for k, c in own.items()}}  # fmt: skip


def _hits(one: Row) -> np.ndarray:
    return np.array([int(right) for right in one["right"]], dtype=float)


def over_seeds(values: Sequence[float]) -> tuple[float | None, float | None]:
    """95 % of Student's t; None where there are fewer than two seeds."""
    if len(values) < 2:
        return None, None
    half = float(student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)
    return float(np.mean(values)) - half, float(np.mean(values)) + half


def verdict(share: float, low: float | None, high: float | None, *sampled: float) -> str:
    """By the interval over seeds; one seed says nothing of other draws, but where all labels are used there are none,
    and the interval over test samples decides."""
    if low is None or high is None:
        if share < 1:
            return "one seed"
        low, high = sampled
    return "better" if low > 0 else "worse" if high < 0 else "open"


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--data", type=Path, default=os.environ.get("GRAFT_DATA"), help="default: $GRAFT_DATA")
    made.add_argument("--source", type=Path, help="folders of classes that the supervised trunk learns from")
    made.add_argument("--work", type=Path, required=True)
    made.add_argument("--only", nargs="+", choices=list(DOMAINS), default=list(DOMAINS))
    made.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    made.add_argument("--shares", nargs="+", type=float, choices=list(SHARES), default=list(SHARES))
    made.add_argument("--seconds", type=float, default=120.0, help="of one core, for each trunk; default: 120")
    made.add_argument("--seeds", type=int, default=3, help="draws of the labels; default: 3")
    made.add_argument("--pretrainings", type=int, default=1, help="trunks of each method; default: 1")
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--report", action="store_true", help="only results/pretraining.json of what is there")
    made.add_argument("--out", type=Path)
    asked = made.parse_args()
    torch.set_num_threads(asked.threads)
    if not asked.report:
        run(asked)
    report(asked.work, asked.out)


if __name__ == "__main__":
    main()
