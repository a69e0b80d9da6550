"""Does a trunk reach the goals of the bundled one? Frozen features, few labels and LP-FT, on CIFAR-10 and CIFAR-100.

    python benchmarks/trunk_goals.py --data CIFAR10 --cifar100 CIFAR100 --trunk bundled:tiny64 --out RUN
    python benchmarks/trunk_goals.py --data CIFAR10 --trunk trained:wide --only probe few hundred

CIFAR10 and CIFAR100 hold train/ and test/ with class folders. Train pictures that are copies of test pictures are found
by the audit and left out, as `graft fit` does. The bundled trunks have learned from the train part of CIFAR-100 with
its labels, so that figure is of a source, and no transfer, and `valid` there is of pictures that they know; CIFAR-10
they have not seen.

probe, cifar100    a head on frozen features. Which one, and of the `last` stage or of all `stages`, is chosen on a
                   tenth of the train part; it is then fitted to all of that, and the test part is opened once
few, hundred       10 and 100 labels a class, drawn 5 times: the mean with a t interval over draws. Head and features
                   are chosen by the log-loss of 5 folds of the labels that were drawn, and by nothing else
lp_ft              `graft fit` with all labels. Started again with the same --out it goes on

With --views 2 the features of a picture are the means of it and its mirror image; such rows are named so. What was
measured before of the same weights stays in the result, so parts can be run apart; rows of other weights go.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _frozen import Seen, Way
from _report import RESULTS, Row, command, report
from scipy.stats import t
from torch import Tensor

from graft import build, fit
from graft.console import Console
from graft.device import commit
from graft.intervals import wilson
from graft.recipe import Recipe
from graft.spec import parse
from graft.store import read_json


class Goal(NamedTuple):
    what: str
    least: float  # per cent
    heads: tuple[str, ...] = ()  # that are tried unless others are asked for; svm_linear takes minutes for all labels
    labels: int = 0  # of each class; 0: all


ALL, FEW = ("ridge", "lda", "logistic"), ("ridge", "lda", "centroid", "logistic")
GOALS = {
    "probe": Goal("CIFAR-10, frozen probe", 88.0, ALL),
    "few": Goal("CIFAR-10, 10 labels a class", 60.0, FEW, 10),
    "hundred": Goal("CIFAR-10, 100 labels a class", 80.0, FEW, 100),
    "lp_ft": Goal("CIFAR-10, LP-FT", 95.0),
    "cifar100": Goal("CIFAR-100, frozen probe", 65.0, ALL),
}
LP_FT: dict[str, Any] = {
    "strategy": "lp_ft(start='logistic', epochs=10, lr=0.03)", "optimizer": "sgd", "schedule": "one_cycle",
    "weight_decay": 5e-4, "batch_size": 128, "clip": 0.0, "ema": 0.999, "label_smoothing": 0.1, "mix": "",
    "augment": "basic(scale=0.5)", "batchnorm": "train", "precision": "bf16", "valid": 0.04, "seed": 0,
}  # fmt: skip
TWO = ", two views"


def probe(name: str, seen: Seen, heads: Sequence[str], draws: int) -> dict[str, Any]:
    train, test = seen.rows("train"), seen.rows("test")
    tried = {way: score for of in ("last", "stages") for way, score in _tried(name, seen, train, of, heads)}
    way = max(tried, key=tried.__getitem__)
    score = way.right(way.fitted(seen, seen.rows("train", "valid")), seen, test)
    rate = wilson(round(score * len(test) / 100), len(test))
    return {"test": score, "low": 100 * rate.low, "high": 100 * rate.high, "chosen": str(way),
            "valid": {str(way): score for way, score in tried.items()}}  # fmt: skip


def _tried(name: str, seen: Seen, train: Tensor, of: str, heads: Sequence[str]) -> list[tuple[Way, float]]:
    found, x, valid = [], seen.features(train, of), seen.rows("valid")
    for way in (Way(head, of) for head in heads):
        began = time.perf_counter()
        found.append((way, way.right(way.fitted(seen, train, x), seen, valid)))
        print(f"  {name}: {way}: {found[-1][1]:.2f} % of valid, {time.perf_counter() - began:.0f} s", flush=True)
    return found


def few(name: str, seen: Seen, heads: Sequence[str], draws: int) -> dict[str, Any]:
    """`valid`: the mean over draws of each way on pictures that were not drawn, by which nothing is chosen."""
    ways = [Way(head, of) for of in ("last", "stages") for head in heads]
    made = [_draw(name, seen, ways, draw) for draw in range(draws)]
    scores = [score for _, score, _ in made]
    mean, half = float(np.mean(scores)), float(t.ppf(0.975, draws - 1) * np.std(scores, ddof=1) / draws**0.5)
    others = {str(way): float(np.mean([each[way] for *_, each in made])) for way in ways}
    return {"test": mean, "low": mean - half, "high": mean + half, "chosen": "by draw", "draws": scores,
            "chosen_by_draw": [str(way) for way, *_ in made], "valid": others}  # fmt: skip


def _draw(name: str, seen: Seen, ways: Sequence[Way], draw: int) -> tuple[Way, float, dict[Way, float]]:
    rows, valid = seen.drawn(GOALS[name].labels, draw), seen.rows("valid")
    chosen = min(ways, key=lambda way: way.loss_left_out(seen, rows))
    heads = {way: way.fitted(seen, rows) for way in ways}
    score = chosen.right(heads[chosen], seen, seen.rows("test"))
    print(f"  {name}, draw {draw}: {chosen}: {score:.2f} %", flush=True)
    return chosen, score, {way: way.right(head, seen, valid) for way, head in heads.items()}


def lp_ft(asked: argparse.Namespace) -> dict[str, Any]:
    options: dict[str, Any] = {key: value if (value := getattr(asked, key)) != "" else None for key in LP_FT}
    result = fit(asked.data, backbone=asked.trunk, out=asked.out, resume=Path(asked.out).exists(), console=Console(),
                 **options)  # fmt: skip
    accuracy = result["test"]["accuracy"]
    copies = {key for issue in result["issues"] if issue["code"] == "leak" for key in issue["keys"]}
    return {"test": 100 * accuracy["value"], "low": 100 * accuracy["low"], "high": 100 * accuracy["high"],
            "chosen": "linear", "recipe": options, "splits": result["splits"],
            "left_out_as_copies_of_test": len(copies), "fit_s": result["seconds"]}  # fmt: skip


def row(name: str, asked: argparse.Namespace, seen: dict[str, Seen]) -> Row:
    """`seen` holds one data set at most: two would be gigabytes."""
    began, goal = time.perf_counter(), GOALS[name]
    if name == "lp_ft":
        made = lp_ft(asked)
    else:
        data = _seen(asked.cifar100 if name == "cifar100" else asked.data, asked, seen)
        made = (few if goal.labels else probe)(name, data, asked.heads or goal.heads, asked.draws) | data.about()
    what = goal.what + (TWO if asked.views == 2 and name != "lp_ft" else "")
    return {"what": what, "goal": goal.least, "reached": made["test"] >= goal.least, **made,
            "seconds": time.perf_counter() - began, "command": command(), "commit": commit(),
            "date": datetime.now(UTC).isoformat(timespec="seconds")}  # fmt: skip


def _seen(data: str, asked: argparse.Namespace, seen: dict[str, Seen]) -> Seen:
    if data not in seen:
        seen.clear()
        recipe = Recipe(data, asked.trunk, strategy="ridge", features="stages", valid=0.1, engine=asked.engine)
        seen[data] = Seen.of(recipe, asked.views)
    return seen[data]


def merged(path: Path, found: Sequence[Row], sha256: str) -> list[Row]:
    """Rows of the same weights that were measured before stay, in the order of the goals."""
    old = read_json(path) if path.exists() else {}
    kept = old["rows"] if sha256 and old.get("setup", {}).get("sha256") == sha256 else []
    by_what = {row["what"]: row for row in [*kept, *found]}
    return [by_what[what] for goal in GOALS.values() for what in (goal.what, goal.what + TWO) if what in by_what]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="CIFAR-10: train/ and test/ with class folders")
    parser.add_argument("--cifar100", help="CIFAR-100, likewise")
    parser.add_argument("--trunk", default="bundled:tiny64", help="any backbone")
    parser.add_argument("--only", nargs="+", choices=list(GOALS), default=list(GOALS))
    parser.add_argument("--heads", nargs="+", help="probes that are tried; default: those of each goal")
    parser.add_argument("--views", type=int, choices=(1, 2), default=1, help="2: with the mirror image")
    parser.add_argument("--draws", type=int, default=5, help="of the few labels; two at least")
    parser.add_argument("--engine", default="eager", help="that runs the frozen trunk")
    parser.add_argument("--out", help="folder of the run of LP-FT")
    parser.add_argument("--name", help="of the result; default: that of the trunk")
    options = parser.add_argument_group("LP-FT", "fields of its recipe, see `graft fit --help`")
    for name, default in LP_FT.items():
        options.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    asked = parser.parse_args()
    if ("cifar100" in asked.only and not asked.cifar100) or ("lp_ft" in asked.only and not asked.out):
        parser.error("cifar100 needs --cifar100, lp_ft needs --out; or choose others: --only probe few hundred")
    if Path(parse(asked.trunk).target or "").is_absolute():
        parser.error("name the trunk from here, not from /: the command is part of the result")
    return asked


def main() -> None:
    asked = arguments()
    trunk, source = build.backbone(asked.trunk), parse(asked.trunk)
    name = f"trunk_goals_{asked.name or Path(source.target or source.name).stem}"
    note = " ".join((__doc__ or "").split("\n\n")[2].split())
    setup = {"trunk": asked.trunk, "sha256": trunk.info.sha256, "pretrained_on": trunk.info.pretrained_on,
             "parameters": sum(p.numel() for p in trunk.parameters()), "features": trunk.info.dim,
             "preprocess": trunk.preprocess.json(), "note": note}  # fmt: skip
    path, seen = RESULTS / f"{name}.json", dict[str, Seen]()
    for each in asked.only:
        print(report(name, merged(path, [row(each, asked, seen)], trunk.info.sha256), setup, path))


if __name__ == "__main__":
    main()
