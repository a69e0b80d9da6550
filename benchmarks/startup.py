"""How long the command takes to answer: --help, list, and the prediction of one picture and of one text.

    python benchmarks/startup.py
    python benchmarks/startup.py --quick

Each is a process of its own; the peer, in turn with it, is `python -c "import torch"`, than which no prediction can be
faster (for --help and list: the interpreter alone). Runs are made on the fly from drawn pictures and made-up texts.
`modules` counts what was imported.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import _options
import numpy as np
from _race import Lap, race
from PIL import Image

from graft import api

GRAFT = (sys.executable, "-c", "from graft.cli import main; main()")
TORCH, BARE = (sys.executable, "-c", "import torch"), (sys.executable, "-c", "pass")
COUNTED = "import sys, atexit; atexit.register(lambda: print(len(sys.modules), file=sys.stderr)); "


def lap(command: Sequence[str]) -> Lap:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return Lap(time.perf_counter() - start)


def modules(command: Sequence[str]) -> int:
    counted = [command[0], "-c", COUNTED + command[2], *command[3:]]
    done = subprocess.run(counted, check=True, capture_output=True, text=True)
    return int(done.stderr.split()[-1])


def drawn(folder: Path) -> Path:
    """Forty pictures of two colours; returns the first."""
    rng = np.random.default_rng(0)
    for row in range(40):
        name = ("red", "blue")[row % 2]
        pixels = rng.integers(0, 100, (48, 64, 3), np.uint8)
        pixels[..., 0 if name == "red" else 2] += 120
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name / f"{row}.jpg")
    return folder / "red" / "0.jpg"


def written(folder: Path) -> Path:
    """A table of forty texts, and one text without a label, which is returned."""
    rng, words = np.random.default_rng(0), {"good": "fine bright warm", "bad": "poor dull cold"}
    lines = [f"{' '.join(rng.choice([*words[name].split(), 'film', 'story', f'w{row}'], 6))},{name}"
             for row in range(40) for name in words]  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "train.csv").write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    (folder / "one.csv").write_text("text\na warm and bright film\n", encoding="utf-8")
    return folder / "one.csv"


def commands(folder: Path) -> dict[str, tuple[tuple[str, ...], tuple[str, ...], float | None]]:
    """{what: (command, peer, goal in seconds)}, after training one run for each prediction."""
    picture, text = drawn(folder / "pictures"), written(folder / "texts")
    trained = {
        "one picture": ((str(folder / "pictures"), "bundled:tiny64"), picture),
        "one text, MiniLM": ((str(folder / "texts" / "train.csv"), "minilm"), text),
        "one text, TF-IDF": ((str(folder / "texts" / "train.csv"), "tfidf"), text),
    }
    found: dict[str, Any] = {"--help": ((*GRAFT, "--help"), BARE, 0.4), "list": ((*GRAFT, "list"), BARE, None)}
    for number, (what, ((data, trunk), asked)) in enumerate(trained.items()):
        out = str(folder / f"run-{number}")
        api.fit(data, backbone=trunk, strategy="ridge", out=out)
        found[f"predict {what}"] = ((*GRAFT, "predict", out, str(asked)), TORCH, None)
    return found


def main() -> None:
    parser = _options.parser(__doc__, "one round", rounds=10)
    parser.set_defaults(threads=1)  # one picture has no use for more
    asked, rows = _options.read(parser), []
    os.environ["OMP_NUM_THREADS"] = str(asked.threads)
    with tempfile.TemporaryDirectory() as folder:
        for what, (command, peer, limit) in commands(Path(folder)).items():
            name = "import torch" if peer is TORCH else "python"
            row = race(f"graft {what}", partial(lap, command), partial(lap, peer), name=name, rounds=asked.rounds)
            rows.append(row | {"limit_s": limit, "modules": modules(command)})
    _options.finish("startup", rows, {}, asked)


if __name__ == "__main__":
    main()
