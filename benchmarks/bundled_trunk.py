"""What is a bundled trunk worth? Ways to use it, on identical splits, against random weights and plain pixels.

    python benchmarks/bundled_trunk.py --data FOLDER [--trunk tiny64] [--sealed valid] [--name hymenoptera]

FOLDER holds class folders, or train/ and test/ (or val/) with class folders. Each row is one `graft fit`; the test
part is opened once for each.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from _report import Row, report

from graft import fit

FULL = "lp_ft(head_epochs=10, epochs=10)"
WAYS = {
    "probe": ("bundled:{trunk}", "linear_probe"),
    "lp_ft": ("bundled:{trunk}", FULL),
    "scratch": ("bundled:{trunk}(pretrained=False)", "full(epochs=20, lr=3e-3, head_lr=3e-3)"),
    "random": ("bundled:{trunk}(pretrained=False)", "linear_probe"),
    "pixels": ("pixels", "linear_probe"),
}  # `scratch` is the same network and recipe from random weights; `random` never moves them


def rows(data: str, trunk: str, ways: list[str], sealed: str | None, seeds: int) -> Iterator[Row]:
    for way in ways:
        for seed in range(seeds):
            backbone, strategy = WAYS[way]
            with tempfile.TemporaryDirectory() as folder:
                result = fit(data, backbone=backbone.format(trunk=trunk), strategy=strategy, sealed=sealed, seed=seed,
                             out=f"{folder}/run")  # fmt: skip
            accuracy = result["test"]["accuracy"]
            yield {"way": way, "seed": seed, "test": 100 * accuracy["value"], "low": 100 * accuracy["low"],
                   "high": 100 * accuracy["high"], "seconds": result["seconds"], "strategy": strategy,
                   "splits": result["splits"]}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--trunk", default="tiny64")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--sealed")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--name")
    asked = parser.parse_args()
    name = asked.name or Path(asked.data).name
    found = list(rows(asked.data, asked.trunk, asked.ways, asked.sealed, asked.seeds))
    report(f"bundled_trunk_{name}", found, {"data": name, "trunk": asked.trunk, "sealed": asked.sealed})


if __name__ == "__main__":
    main()
