"""How long do the rankers take? Random features with class structure, one trunk, each ranker once.

    python benchmarks/rankers.py [--samples 10000] [--features 2048] [--classes 100] [--note TEXT]

The eigendecomposition that all share is a row of its own and done first. LEEP and NLEEP, which are optional, are
reported apart: `total` is without them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from _report import Row, report

from graft import registry
from graft.evidence import Evidence, Score

OPTIONAL = ("leep", "nleep")


def made(n: int, d: int, classes: int) -> Evidence:
    """Variances that fall as those of real features do, weak class means, a source head of 1,000."""
    rng = np.random.default_rng(0)
    targets, scale = np.arange(n) % classes, np.arange(1, d + 1) ** -0.5
    features = (rng.normal(size=(n, d)) + 0.08 * rng.normal(size=(classes, d))[targets]) * scale
    odds = np.exp(features @ rng.normal(size=(d, 1000)))
    return Evidence(features, targets, classes, odds / odds.sum(1, keepdims=True), parameters=25_000_000)


def timed(name: str, work: Callable[[], Any]) -> Row:
    """`cpu` are the seconds of all threads together: on a machine with other work they say more than the clock's."""
    start, cpu = time.perf_counter(), time.process_time()
    result = work()
    row = {"ranker": name, "seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}
    return {**row, "value": getattr(result, "value", None)}


def rows(evidence: Evidence) -> Iterator[Row]:
    yield timed("spectrum (shared)", lambda: evidence.spectrum)
    for name in sorted(registry.names("ranker"), key=lambda name: (name in OPTIONAL, name)):
        ranker: Callable[[Evidence], Score] = registry.find("ranker", name)
        yield timed(name, partial(ranker, evidence))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in (("samples", 10_000), ("features", 2048), ("classes", 100)):
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--note", default="", help="what else the machine was doing")
    asked = parser.parse_args()
    found = list(rows(made(asked.samples, asked.features, asked.classes)))
    counted = [row for row in found if row["ranker"] not in OPTIONAL]
    sums = {key: sum(row[key] for row in counted) for key in ("seconds", "cpu")}
    report("rankers", [*found, {"ranker": "total, no leep or nleep", **sums, "value": None}], vars(asked))


if __name__ == "__main__":
    main()
