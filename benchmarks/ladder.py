"""Does `auto` find what an exhaustive search finds, and do the rankers order trunks as their test accuracy does?

    python benchmarks/ladder.py exhaust --data $GRAFT_DATA --work OUT [--tasks cifar10-20 ...]
    python benchmarks/ladder.py auto --data $GRAFT_DATA --work OUT [--tasks cifar10-20 ...] [--budget 4m]
    python benchmarks/ladder.py report --work OUT

Each task has 5 to 100 training images a class and a test part of its own. Every probe is fitted to the whole training
part with every trunk, every other strategy with the three best trunks, and all are scored on the test part; `auto` sees
the training part alone. Regret is the best accuracy of all of them, found with the test labels, less that of the way
that auto chose. The best of so many is flattered by chance, so a regret within the noise of the test part is marked as
such. Each task is a file of OUT/exhaust and one of OUT/auto; `report` makes benchmarks/results/ladder.json of them.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import _report
import _targets
import numpy as np
from scipy.stats import weightedtau

from graft import zoo
from graft.clock import Clock, seconds
from graft.console import Console
from graft.contest import Contest
from graft.data._audit import audit
from graft.data._sniff import open_data
from graft.data._split import split
from graft.intervals import bootstrap_mean, wilson
from graft.ladder import EVERYWHERE, ON_THE_BEST, START, Ladder, untrained
from graft.paired import Fold, bootstrapped, folds
from graft.recipe import Recipe
from graft.store import write_json
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


def exhaust(name: str, data: Path, work: Path) -> Row:
    """Every way, fitted on the training part and scored on the test part."""
    trials, pool, trunks = opened(name, data, work)
    for way in probes(trunks):
        trials.measure(way, 0)
    best = of_trunks({way: each[0].mean() for way, each in trials.hits.items()}, trunks)
    for way in trainings(sorted(trunks, key=lambda trunk: -best[trunk])[:TUNED], len(pool)):
        trials.measure(way, 0)
    ways = [{"way": asdict(way), "accuracy": float(each[0].mean()), "seconds": trials.seconds[way]}
            for way, each in trials.hits.items()]  # fmt: skip
    return {"task": name, "ways": ways, "seconds": round(sum(trials.seconds.values()), 1)}


def choose(name: str, data: Path, work: Path, budget: str, searched: Row) -> Row:
    """What auto chooses from the training part; that and the best of the search are then scored on the test part."""
    trials, pool, trunks = opened(name, data, work)
    asked, began = recipe(Path(pool.name), budget), time.monotonic()
    ladder = Ladder(
        Contest(Trials(asked, pool, folds(pool, 0.15, 0)), Clock(seconds(budget)), Console(quiet=True)), trunks
    )
    chosen = ladder.climb()
    spent = time.monotonic() - began
    found = {Way(**{**one["way"], "terms": tuple(one["way"]["terms"])}): one["accuracy"] for one in searched["ways"]}
    best = max(found, key=lambda way: found[way])
    for way in {best, chosen}:
        trials.measure(way, 0)
    ours, theirs = trials.hits[chosen][0], trials.hits[best][0]
    lead = bootstrapped(theirs - ours)
    scratch = max(value for way, value in found.items() if "pretrained=False" in way.backbone)
    return {"task": name, "train": len(pool), "test": len(ours), "auto": float(ours.mean()), "best": found[best],
            "regret": 100 * max(0.0, found[best] - float(ours.mean())), "regret95": [100 * lead.low, 100 * lead.high],
            "scratch": scratch, "seconds": round(spent, 1), "chosen_way": str(chosen), "best_way": str(best),
            "searched_seconds": searched["seconds"], "budget": budget, "trunks": ranked(asked, pool, trunks),
            "accuracy_of_trunk": of_trunks(found, trunks), "verdict": verdict(ladder),
            "rungs": [rung.json() for rung in ladder.rungs]}  # fmt: skip


def opened(name: str, data: Path, work: Path) -> tuple[Trials, Dataset, tuple[str, ...]]:
    """Trials that fit on the whole training part and score on the test part; the training part; the trunks."""
    target, _, size = name.rpartition("-")
    folder = _targets.build(target, int(size), data, work)
    dataset = split(audit(open_data(str(folder))), valid=0.0, test=0.15)
    parts = np.array([sample.split for sample in dataset.samples])
    train, test = np.flatnonzero(parts == "train"), np.flatnonzero(parts == "test")
    trials = Trials(recipe(folder, "1m"), dataset, (Fold(train, test, np.ones(len(test), bool)),))
    return trials, dataset.part("train"), zoo.trunks("auto")


def ranked(asked: Recipe, pool: Dataset, trunks: tuple[str, ...]) -> Row:
    """{ranker: {trunk: score}} from the training part."""
    rows = zoo.ranked(Trials(asked, pool, ()), trunks, Console(quiet=True))
    names = set.intersection(*(set(row["scores"]) for row in rows))
    return {name: {row["backbone"]: row["scores"][name]["value"] for row in rows} for name in sorted(names)}


def of_trunks(found: Mapping[Way, float], trunks: tuple[str, ...]) -> Row:
    """What a trunk is worth: the accuracy of the best way with it on the test part."""
    return {trunk: max(value for way, value in found.items() if way.backbone == trunk) for trunk in trunks}


# ---------------------------------------------------------------------------------------------------------- the report


def report(work: Path) -> None:
    rows = [json.loads(path.read_text()) for name in TASKS if (path := work / "auto" / f"{name}.json").exists()]
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
        "searched_seconds": float(np.mean([row["searched_seconds"] for row in rows])),
    }  # fmt: skip
    print(json.dumps({key: value for key, value in summary.items() if "tau" not in key}, indent=1))
    _report.table([{"ranker": name, "tau": _interval(summary["tau"][name]),
                    **{f"over {prior}": _interval(over[name]) for prior, over in summary["tau_over"].items()}}
                   for name in taus])  # fmt: skip
    setup = {"trunks": list(rows[0]["accuracy_of_trunk"]), "budget": rows[0]["budget"], "passes": PASSES, **summary}
    _report.report("ladder", rows, setup)


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
    parser.add_argument("verb", choices=("exhaust", "auto", "report"))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GRAFT_DATA", ".")))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--tasks", nargs="*", default=TASKS)
    parser.add_argument("--budget", default="4m")
    asked = parser.parse_args()
    if asked.verb == "report":
        report(asked.work)
        return
    for name in asked.tasks:
        done, searched = asked.work / asked.verb / f"{name}.json", asked.work / "exhaust" / f"{name}.json"
        if done.exists() or (asked.verb == "auto" and not searched.exists()):
            continue
        if asked.verb == "exhaust":
            row = exhaust(name, asked.data, asked.work)
        else:
            row = choose(name, asked.data, asked.work, asked.budget, json.loads(searched.read_text()))
        done.parent.mkdir(exist_ok=True)
        write_json(done, row)
        print(name, {key: value for key, value in row.items() if isinstance(value, float | str)}, flush=True)


if __name__ == "__main__":
    main()
