"""Does `auto` find what an exhaustive search finds, and do the rankers order trunks as their test accuracy does?

    python benchmarks/ladder.py run --data $GRAFT_DATA --work OUT [--tasks cifar10-20 ...] [--shard 0/2]
    python benchmarks/ladder.py report --work OUT

Each task has 5 to 100 training images a class and a test part of its own. Every probe is fitted to the whole training
part with every trunk, every other strategy with the three best trunks, and all are scored on the test part; `auto` sees
the training part alone. Regret is the best accuracy of all of them, found with the test labels, less that of the way
that auto chose. The best of so many is flattered by chance, so a regret within the noise of the test part is marked as
such. Each task is one line of OUT/tasks*.jsonl; `report` makes benchmarks/results/ladder.json of them.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import _report
import _targets
import numpy as np
from scipy.stats import weightedtau

from graft import zoo
from graft.clock import Clock
from graft.console import Console
from graft.contest import Contest, pretrained
from graft.data._audit import audit
from graft.data._sniff import open_data
from graft.data._split import split
from graft.intervals import bootstrap_mean, wilson
from graft.ladder import EVERYWHERE, ON_THE_BEST, START, Ladder, untrained
from graft.paired import Fold, bootstrapped, folds
from graft.recipe import Recipe
from graft.trials import PASSES, SCRATCH_PASSES, Trials, Way, batch_for, epochs_for
from graft.types import Dataset
from graft.verdict import verdict

TASKS = ("cifar10-5", "usps-20", "hymenoptera-100", "cifar10-20", "bccd-20", "sanskrit-5", "fsdd-20", "membrane-100",
         "usps-100", "cifar10-100", "hymenoptera-20", "digits-5", "balinese-10", "bccd-100", "fsdd-100", "usps-5",
         "hymenoptera-5", "membrane-20", "digits-20", "bccd-5")  # fmt: skip
TUNED = 3  # trunks that are fine-tuned by every strategy: those with the best probes on the test part
Row = dict[str, Any]


def recipe(folder: Path, budget: str) -> Recipe:
    """No mirror images: half of the tasks are characters."""
    return Recipe(str(folder), augment="basic(scale=0.5, flip=False)", precision="bf16", budget=budget)


def probes(trunks: tuple[str, ...]) -> list[Way]:
    found = [Way(trunk, name) for trunk in trunks for name in (*EVERYWHERE, *ON_THE_BEST)]
    return [*found, *(Way(trunk, "ridge", "stages") for trunk in trunks)]


def trainings(trunks: list[str], samples: int) -> list[Way]:
    """All strategies that train, with the epochs that auto gives them when it has time enough; and from scratch."""
    epochs, scratch = epochs_for(samples), epochs_for(samples, SCRATCH_PASSES, 200)
    batch = batch_for(samples, 64)
    tuned = [f"norm_affine({START}, epochs={epochs})", f"lp_ft({START}, last=1, epochs={epochs})",
             *(f"discriminative({START}, epochs={epochs}, lr={lr})" for lr in (0.001, 0.003))]  # fmt: skip
    found = [Way(trunk, text, "last", ("l2_sp",), batch) for trunk in trunks for text in tuned]
    blank = untrained(trunks[0])
    return [*found, Way(blank, f"full(epochs={scratch}, lr=0.003, head_lr=0.003)", batch_size=batch)]


def run_task(name: str, data: Path, work: Path, budget: str) -> Row:
    target, _, size = name.rpartition("-")
    folder = _targets.build(target, int(size), data, work)
    asked = recipe(folder, budget)
    dataset = split(audit(open_data(str(folder))), valid=0.0, test=0.15)
    trunks = zoo.trunks("auto")
    found = exhaustive(asked, dataset, trunks)
    pool = dataset.part("train")
    began = time.monotonic()
    trials = Trials(asked, pool, folds(pool, 0.15, 0))
    ladder = Ladder(Contest(trials, Clock(float(budget.rstrip("s")), began), Console(quiet=True)), trunks)
    chosen = ladder.climb()
    seconds = time.monotonic() - began
    scored = ranked(asked, pool, trunks)
    if chosen not in found.hits:
        found.measure(chosen, 0)
    hits = found.hits[chosen]
    table = {
        f"{way.strategy}{'/stages' * (way.features == 'stages')} on {way.backbone}": float(each[0].mean())
        for way, each in found.hits.items()
    }
    best = max((way for way in found.hits if way != chosen), key=lambda way: found.hits[way][0].mean())
    scratch = next(way for way in found.hits if not pretrained(way))
    lead = bootstrapped(found.hits[best][0] - hits[0])
    return {"task": name, "train": len(pool), "test": len(hits[0]), "chosen": str(chosen),
            "auto": float(hits[0].mean()), "best": str(best), "best_accuracy": float(found.hits[best][0].mean()),
            "regret": 100 * max(0.0, lead.value), "regret95": [100 * lead.low, 100 * lead.high],
            "scratch": float(found.hits[scratch][0].mean()), "verdict": verdict(ladder), "seconds": round(seconds, 1),
            "exhaustive_seconds": round(sum(found.seconds.values()), 1), "trunks": scored,
            "accuracy_of_trunk": of_trunks(found, trunks), "ways": table}  # fmt: skip


def exhaustive(asked: Recipe, dataset: Dataset, trunks: tuple[str, ...]) -> Trials:
    """Every way, fitted on the training part and scored on the test part."""
    parts = np.array([sample.split for sample in dataset.samples])
    train, test = np.flatnonzero(parts == "train"), np.flatnonzero(parts == "test")
    trials = Trials(asked, dataset, (Fold(train, test, np.ones(len(test), bool)),))
    for way in probes(trunks):
        trials.measure(way, 0)
    best = of_trunks(trials, trunks)
    for way in trainings(sorted(trunks, key=lambda trunk: -best[trunk])[:TUNED], len(train)):
        trials.measure(way, 0)
    return trials


def ranked(asked: Recipe, pool: Dataset, trunks: tuple[str, ...]) -> Row:
    """{ranker: {trunk: score}} from the training part."""
    rows = zoo.ranked(Trials(asked, pool, ()), trunks, Console(quiet=True))
    names = set.intersection(*(set(row["scores"]) for row in rows))
    return {name: {row["backbone"]: row["scores"][name]["value"] for row in rows} for name in sorted(names)}


def of_trunks(found: Trials, trunks: tuple[str, ...]) -> Row:
    """What a trunk is worth: the accuracy of the best way with it on the test part."""
    return {trunk: max(float(each[0].mean()) for way, each in found.hits.items() if way.backbone == trunk)
            for trunk in trunks}  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- the report


def report(work: Path) -> None:
    lines = [json.loads(line) for path in sorted(work.glob("tasks*.jsonl")) for line in path.read_text().splitlines()]
    rows = sorted({row["task"]: row for row in lines}.values(), key=lambda row: TASKS.index(row["task"]))
    for row in rows:
        row["trunks"]["elsewhere"] = elsewhere(row, rows)
    taus = {name: np.array([tau(row, name) for row in rows]) for name in rows[0]["trunks"]}
    summary = {
        "tasks": len(rows),
        "regret_at_most_1": wilson(sum(row["regret"] <= 1 for row in rows), len(rows))._asdict(),
        "regret_beyond_noise": [row["task"] for row in rows if row["regret"] > 1 and row["regret95"][0] > 0],
        "mean_regret": bootstrap_mean([row["regret"] for row in rows])._asdict(),
        "never_below_scratch": {row["task"]: 100 * (row["auto"] - row["scratch"]) for row in rows
                                if row["auto"] < row["scratch"] - 0.005},
        "tau": {name: bootstrap_mean(values)._asdict() for name, values in taus.items()},
        "tau_over": {prior: {name: bootstrap_mean(values - taus[prior])._asdict() for name, values in taus.items()}
                     for prior in ("static", "elsewhere")},
        "seconds": float(np.mean([row["seconds"] for row in rows])),
        "exhaustive_seconds": float(np.mean([row["exhaustive_seconds"] for row in rows])),
    }  # fmt: skip
    print(json.dumps({key: value for key, value in summary.items() if "tau" not in key}, indent=1))
    _report.table([{"ranker": name, "tau": _interval(summary["tau"][name]),
                    **{f"over {prior}": _interval(over[name]) for prior, over in summary["tau_over"].items()}}
                   for name in taus])  # fmt: skip
    setup = {"trunks": list(rows[0]["accuracy_of_trunk"]), "budget": rows[0]["budget"], "passes": PASSES, **summary}
    shown = ("task", "train", "test", "auto", "best_accuracy", "regret", "scratch", "seconds", "chosen", "best")
    _report.report("ladder", [{**{key: row[key] for key in shown}, **row} for row in rows], setup)


def elsewhere(row: Row, rows: list[Row]) -> Row:
    """A prior that knows the zoo: each trunk's mean rank on the tasks of all other targets."""
    target = row["task"].rpartition("-")[0]
    others = [other["accuracy_of_trunk"] for other in rows if other["task"].rpartition("-")[0] != target]
    ranks = [dict(zip(worth, np.argsort(np.argsort(list(worth.values()))), strict=True)) for worth in others]
    return {trunk: float(np.mean([rank[trunk] for rank in ranks])) for trunk in row["accuracy_of_trunk"]}


def _interval(found: Row) -> str:
    return "{value:+.2f} [{low:+.2f}, {high:+.2f}]".format(**found)


def tau(row: Row, name: str) -> float:
    """Weighted Kendall tau (Vigna 2015): errors among the best count most. Ties in the truth are left as they are."""
    trunks = list(row["accuracy_of_trunk"])
    truth, said = ([values[t] for t in trunks] for values in (row["accuracy_of_trunk"], row["trunks"][name]))
    value = float(weightedtau(truth, said).statistic)
    return 0.0 if np.isnan(value) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("run", "report"))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GRAFT_DATA", ".")))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--tasks", nargs="*", default=TASKS)
    parser.add_argument("--budget", default="90s")
    parser.add_argument("--shard", default="0/1")
    asked = parser.parse_args()
    if asked.verb == "report":
        report(asked.work)
        return
    number, of = map(int, asked.shard.split("/"))
    for name in asked.tasks[number::of]:
        row = {**run_task(name, asked.data, asked.work, asked.budget), "budget": asked.budget}
        with (asked.work / f"tasks{number}.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(name, {k: row[k] for k in ("auto", "best_accuracy", "scratch", "chosen", "best", "seconds")}, flush=True)


if __name__ == "__main__":
    main()
