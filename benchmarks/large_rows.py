"""Heads of up to a million cached rows of 512 in a memory-mapped file: seconds, and memory beyond the map.

    python benchmarks/large_rows.py [--sizes 10000 100000 1000000] [--heads logistic ridge lda centroid] [--quick]

Each head of each size is fitted in a process of its own. The map itself is the kernel's to keep or to drop, so what is
counted is the memory that belongs to the process alone (RssAnon, read every few milliseconds), less what it was before
the fit. There is no peer; the goal is in GB. The file is made in a temporary folder, block by block, and holds the rows
of all sizes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import _options
import numpy as np
import torch
from _report import Row
from numpy.typing import NDArray
from torch import Tensor

from graft import registry

D, CLASSES, TEST, BLOCK = 512, 10, 10_000, 50_000
GOAL = 2.0  # GB beyond the map
STATUS = Path("/proc/self/status")


def block(number: int, rows: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Overlapping Gaussian classes whose features' scales fall as those of real ones do."""
    rng, scale = np.random.default_rng(number + 1), np.arange(1, D + 1, dtype=np.float32) ** -0.3
    means = np.random.default_rng(0).standard_normal((CLASSES, D), dtype=np.float32) * 2.4 / D**0.5
    y = rng.integers(0, CLASSES, rows)
    return (rng.standard_normal((rows, D), dtype=np.float32) + means[y]) * scale + 1, y


def write(path: Path, rows: int) -> None:
    """The test rows first, then those of all sizes."""
    labels = []
    with path.open("wb") as file:
        for number, start in enumerate(range(0, rows + TEST, BLOCK)):
            x, y = block(number, min(BLOCK, rows + TEST - start))
            file.write(x.tobytes())
            labels.append(y)
    np.save(path.with_suffix(".npy"), np.concatenate(labels))


def mapped(path: Path, rows: int) -> tuple[Tensor, Tensor]:
    """Copy on write, as PyTorch warns of memory that cannot be written; nothing is."""
    x = np.memmap(path, dtype=np.float32, mode="c", shape=(rows + TEST, D))
    return torch.from_numpy(x), torch.from_numpy(np.load(path.with_suffix(".npy"))[: rows + TEST])


class Watch(threading.Thread):
    """The most memory of the process's own, in bytes, until it is stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most, self.done = own(), threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.003):
            self.most = max(self.most, own())


def own() -> int:
    """Bytes that no file backs. Linux alone says it."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def one(path: Path, rows: int, head: str) -> Row:
    """What a process of its own measures."""
    x, y = mapped(path, rows)
    probe = registry.find("probe", head)()
    probe.fit(x[:2000].clone(), y[:2000], CLASSES)  # libraries are loaded before anything is measured
    before, watch = own(), Watch()
    watch.start()
    began = time.perf_counter()
    arrays = probe.fit(x[TEST:], y[TEST:], CLASSES)
    seconds = time.perf_counter() - began
    watch.done.set()
    accuracy = float((probe.logits(arrays, x[:TEST]).argmax(1) == y[:TEST]).double().mean())
    return {"what": f"{head}, {rows:,} x {D}", "head": head, "rows": rows, "graft_s": seconds,
            "us_per_row": 1e6 * seconds / rows, "graft_gb": (watch.most - before) / 1e9, "goal_gb": GOAL,
            "graft_score": accuracy}  # fmt: skip


def apart(path: Path, rows: int, head: str) -> dict[str, Any]:
    """`one` in another process: what an allocator keeps of one fit is not counted to the next."""
    command = [sys.executable, __file__, "--threads", str(torch.get_num_threads()), "--one", head, str(rows), str(path)]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(said.stdout)
    print(f"  {found['what']}: {found['graft_s']:.1f} s, {found['graft_gb']:.2f} GB", flush=True)
    return found


def measured(sizes: Sequence[int], heads: Sequence[str], rounds: int) -> list[Row]:
    """Of each head of each size, the lap of median time."""
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.f32"
        write(path, max(sizes))
        for rows, head in product(sizes, heads):
            laps = [apart(path, rows, head) for _ in range(rounds)]
            found.append(sorted(laps, key=lambda lap: lap["graft_s"])[len(laps) // 2])
    return found


def main() -> None:
    parser = _options.parser(__doc__, "10,000 and 50,000 rows, one round", rounds=1)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--heads", nargs="+", default=["logistic", "ridge", "lda", "centroid"])
    parser.add_argument("--one", nargs=3, metavar=("HEAD", "ROWS", "FILE"), help=argparse.SUPPRESS)
    asked = _options.read(parser)
    if asked.one:
        head, rows, file = asked.one
        print(json.dumps(one(Path(file), int(rows), head)))
        return
    sizes = [10_000, 50_000] if asked.quick else asked.sizes
    found = measured(sizes, asked.heads, asked.rounds)
    _options.finish("large_rows", found, {"sizes": sizes, "heads": asked.heads}, asked)


if __name__ == "__main__":
    main()
