"""Is bf16 as good as float32? Both on the same real data, weights, seeds and steps; accuracies compared in pairs.

    python benchmarks/precision.py --data $GRAFT_DATA [--cases ...] [--seeds 3] [--quick]

What is equal within noise here may be what `--precision auto` takes. A difference is bf16 less float32, in points, with
a 95 % bootstrap interval over test samples, of all seeds together; the seconds are those of the whole `graft fit`.
"""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _options
import numpy as np
from _race import Lap, row
from _report import paired
from numpy.typing import NDArray

from graft import api

Hits = NDArray[np.bool_]


@dataclass(frozen=True)
class Case:
    """`make` writes the data set into a folder and returns what `fit` learns from, and what it is tested on."""

    name: str
    make: Callable[[Path, Path], tuple[str, str]]
    strategy: str
    backbone: str
    options: tuple[tuple[str, Any], ...] = ()


def pictures(source: str, train: int, test: int) -> Callable[[Path, Path], tuple[str, str]]:
    """So many of each class; files are copied, as links out of a folder are not followed."""

    def make(data: Path, folder: Path) -> tuple[str, str]:
        for part, count in (("train", train), ("test", test)):
            origin = next(path for path in (data / source / part, data / source / "val") if path.is_dir())
            for cls in sorted(path for path in origin.iterdir() if path.is_dir()):
                (folder / part / cls.name).mkdir(parents=True)
                for file in sorted(cls.iterdir())[:count]:
                    shutil.copy(file, folder / part / cls.name)
        return str(folder / "train"), str(folder / "test")

    return make


def texts(read: Callable[[Path, str], Iterable[tuple[str, str]]], train: int, test: int) -> Any:
    """So many rows, as tables with the columns text and label."""

    def make(data: Path, folder: Path) -> tuple[str, str]:
        for part, count in (("train", train), ("test", test)):
            with (folder / f"{part}.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["text", "label"])
                writer.writerows(list(dict.fromkeys(read(data, part)))[:count])
        return str(folder / "train.csv"), str(folder / "test.csv")

    return make


def banking(data: Path, part: str) -> Iterable[tuple[str, str]]:
    with (data / "banking77" / f"{part}.csv").open(encoding="utf-8", newline="") as file:
        found = [(line["text"], line["category"]) for line in csv.DictReader(file)]
    order = np.random.default_rng(0).permutation(len(found))
    return [found[i] for i in order]


def sst(data: Path, part: str) -> Iterable[tuple[str, str]]:
    for line in (data / "sst2" / f"{part}.tsv").read_text(encoding="utf-8").splitlines():
        text, _, label = line.rpartition("\t")
        yield text, {"1": "good", "0": "bad"}[label]


CASES = (
    Case("CIFAR-10, linear probe", pictures("cifar10_png", 200, 200), "linear_probe(epochs=20)", "bundled:tiny64"),
    Case("CIFAR-10, everything moves", pictures("cifar10_png", 200, 200), "lp_ft(epochs=6)", "bundled:tiny64"),
    Case("hymenoptera, everything moves", pictures("hymenoptera", 500, 500), "lp_ft(epochs=10)", "bundled:tiny64"),
    Case("Banking77, logistic", texts(banking, 2000, 3000), "logistic", "minilm"),
    Case("SST-2, everything moves", texts(sst, 1000, 1800), "full(epochs=2)", "minilm", (("batch_size", 32),)),
)


def run(case: Case, train: str, test: str, precision: str, seed: int) -> tuple[Lap, dict[str, str]]:
    """Seconds and accuracy of a fit in a fresh cache, and what it says of each test sample."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GRAFT_CACHE"] = f"{folder}/cache"
        options = {"strategy": case.strategy, "backbone": case.backbone, "seed": seed, "precision": precision}
        result = api.fit(
            train, out=f"{folder}/run", controls=False, valid=0.15, test=0.0, **options, **dict(case.options)
        )
        said = {row["path"]: str(row["label"]) for row in api.predict(f"{folder}/run", test)[0]}
        score = api.evaluate(f"{folder}/run", test)["scores"]["accuracy"].get("value")
    return Lap(result["seconds"], score), said


def compared(case: Case, data: Path, seeds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        train, test = case.make(data, Path(folder))
        truth = _truth(test)
        laps: dict[str, list[Lap]] = {"fp32": [], "bf16": []}
        hits: dict[str, list[Hits]] = {"fp32": [], "bf16": []}
        for seed in range(seeds):
            for precision in ("fp32", "bf16") if seed % 2 else ("bf16", "fp32"):
                lap, said = run(case, train, test, precision, seed)
                laps[precision].append(lap)
                hits[precision].append(np.array([said[name] == label for name, label in sorted(truth.items())]))
                print(f"  {case.name}, {precision}: {lap.seconds:.1f} s, {100 * (lap.score or 0):.1f} %", flush=True)
    made = row(case.name, laps["bf16"], laps["fp32"], name="the same in fp32")
    return {**made, "accuracy": paired(np.concatenate(hits["fp32"]), np.concatenate(hits["bf16"]))}


def _truth(test: str) -> dict[str, str]:
    """The label of each sample, by the name that predictions have."""
    from graft.data._audit import audit
    from graft.data._sniff import open_data

    return {sample.key: str(sample.label) for sample in audit(open_data(test)).samples}


def main() -> None:
    parser = _options.with_data(_options.parser(__doc__, "one seed"))
    parser.add_argument("--cases", nargs="+", default=[""], help="parts of their names; default: all")
    parser.add_argument("--seeds", dest="rounds", type=int, help="the same as --rounds: each has a seed of its own")
    asked = _options.read(parser, "cifar10_png", "hymenoptera", "banking77", "sst2")
    chosen = [case for case in CASES if any(part in case.name for part in asked.cases)]
    rows = [compared(case, asked.data, asked.rounds) for case in chosen]
    for one in rows:
        low, high = (100 * value for value in one["accuracy"]["interval95"])
        print(f"{one['what']}: {100 * one['accuracy']['difference']:+.2f} points [{low:+.2f}, {high:+.2f}]")
    _options.finish("precision", rows, {"seeds": asked.rounds}, asked)


if __name__ == "__main__":
    main()
