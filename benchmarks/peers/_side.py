"""Two sides of one job, each a fresh process with its own interpreter: what every script of this folder shares.

A side is a generator that yields three times: when its libraries are imported, when the work is done, and then what it
came to, {"score": ...}. The time between the first two is its `seconds`; the first is `import_s`, apart. The optimiser
that torch loads at first use (about a second, on either side) counts as an import.

At import this file needs nothing but Python, because it also runs inside the environments of the peers.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benchmarks/ is a folder of scripts, not a package

from _race import Lap, row  # noqa: E402

Json = dict[str, Any]
Side = Callable[[Json], Iterator[Any]]


@dataclass(frozen=True)
class Peer:
    """`requirements`: what pip is asked for, pinned. `shared`: torch and what else is already installed beside Graft is
    seen by the environment, too: both sides run the same build, and 5 GB are not fetched again."""

    name: str
    folder: str
    requirements: tuple[str, ...]
    shared: bool = True


@dataclass(frozen=True)
class Bout:
    """One row: the job of each side. `whole`: also time the whole `graft fit`, in a lap of its own."""

    what: str
    graft: Json
    peer: Json
    goal: float | None = None
    whole: bool = False
    about: Json = field(default_factory=dict)


Prepare = Callable[[argparse.Namespace, Path], list[Bout]]


def main(doc: str, peer: Peer, prepare: Prepare, sides: Mapping[str, Side]) -> None:
    """The command: make the environment, write the data once, let the sides take turns, report. Called as a side
    (--side NAME, the job on stdin) it runs that one and prints one line of JSON."""
    if sys.argv[1:2] == ["--side"]:
        print(json.dumps(_run(sides[sys.argv[2]], json.load(sys.stdin))), flush=True)
        return
    asked = arguments(doc, peer)
    pythons = {"graft": sys.executable, "whole": sys.executable, "peer": str(environment(peer, asked.envs))}
    with tempfile.TemporaryDirectory() as work:
        bouts = [bout for bout in prepare(asked, Path(work)) if asked.rows in bout.what]
        rows = [_bout(bout, peer.name, pythons, asked) for bout in bouts]
    if not rows:
        raise SystemExit(f"no row has '{asked.rows}' in its name")
    from _report import report

    about = {"what": doc.partition("\n\n")[0], "peer": list(peer.requirements), "rounds": asked.rounds,
             "threads": asked.threads, "quick": asked.quick}  # fmt: skip
    print(report(f"peers_{peer.folder}", rows, about, asked.out))


def arguments(doc: str, peer: Peer) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    data, envs = os.environ.get("GRAFT_DATA"), Path.home() / ".cache" / "graft-peers"
    parser.add_argument("--data", type=Path, default=data and Path(data), help="default: $GRAFT_DATA")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="few samples, one round: does it run?")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--threads", type=int, default=cores, help="default: as many as may be used")
    parser.add_argument("--envs", type=Path, default=envs, help="folder of environments; default: ~/.cache/graft-peers")
    parser.add_argument("--rows", default="", help="only rows with this in their name")
    parser.add_argument("--out", type=Path, help=f"default: results/peers_{peer.folder}.json (quick: nowhere)")
    asked = parser.parse_args()
    if asked.data is None or not asked.data.is_dir():
        parser.error("give --data, or set GRAFT_DATA: the folder of data sets that the README describes")
    if asked.quick:
        asked.rounds, asked.out = 1, asked.out or Path(tempfile.gettempdir()) / f"peers_{peer.folder}_quick.json"
    return asked


# ------------------------------------------------------------------------------------------------------ environments


def environment(peer: Peer, root: Path) -> Path:
    """The interpreter of the peer's environment; made, with pip, when it is missing or asks for something else."""
    folder = root / peer.folder
    python, stamp = folder / "bin" / "python", folder / "requirements.txt"
    wanted = "\n".join((*peer.requirements, f"# beside {sys.prefix}" if peer.shared else "# alone"))
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    print(f"  installing {' '.join(peer.requirements)} into {folder}", flush=True)
    venv.create(folder, with_pip=True, clear=True)
    if peer.shared:
        own = sysconfig.get_path("purelib", vars={"base": str(folder)})
        (Path(own) / "zz_beside.pth").write_text(sysconfig.get_path("purelib") + "\n")  # searched after its own
    _pip(python, peer)
    stamp.write_text(wanted)
    return python


def _pip(python: Path, peer: Peer) -> None:
    quiet = ["-q", "--disable-pip-version-check", "--no-input"]
    made = subprocess.run([python, "-m", "pip", "install", *quiet, *peer.requirements], capture_output=True, text=True)
    if made.returncode:
        errors = [line for line in made.stderr.splitlines() if line.startswith("ERROR")] or made.stderr.splitlines()
        what = f"{peer.name} does not install here, with Python {sys.version.split()[0]}:"
        raise SystemExit("\n".join((what, *errors[-5:])))


# ------------------------------------------------------------------------------------------------------------- turns


def _bout(bout: Bout, name: str, pythons: Mapping[str, str], asked: argparse.Namespace) -> Json:
    """Who goes first changes with each round; the peer begins, for it may write what the other is compared with."""
    ran: dict[str, list[Json]] = {"graft": [], "peer": [], "whole": []}
    for number in range(asked.rounds):
        order = ["graft", "peer"] if number % 2 else ["peer", "graft"]
        for side in order + ["whole"] * bout.whole:
            ran[side].append(turn(side, pythons[side], bout.peer if side == "peer" else bout.graft, asked.threads))
            last, who = ran[side][-1], {"graft": "Graft", "whole": "graft fit"}.get(side, name)
            print(f"  {bout.what}, {who}: {last['seconds']:.2f} s, score {last['score']}", flush=True)
    laps = {side: [Lap(one["seconds"], one["score"]) for one in ran[side]] for side in ("graft", "peer")}
    made = row(bout.what, laps["graft"], laps["peer"], name=name, goal=bout.goal)
    return made | _details(ran) | bout.about


def _details(ran: Mapping[str, list[Json]]) -> Json:
    """Beside the row: imports, the whole command, and whatever else a side said of its last lap."""
    made: Json = {"graft_fit_s": median(one["seconds"] for one in ran["whole"]) if ran["whole"] else None}
    for side in ("graft", "peer"):
        made[f"{side}_import_s"] = median(one["import_s"] for one in ran[side])
        more = {key: value for key, value in ran[side][-1].items() if key not in ("seconds", "score", "import_s")}
        made[f"{side}_said"] = more
    return made


def turn(side: str, python: str, job: Json, threads: int) -> Json:
    """One lap: a fresh process with an empty cache, on the processor, without a network."""
    with tempfile.TemporaryDirectory() as cold:
        given = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "RAYON_NUM_THREADS": threads,
                 "GRAFT_CACHE": cold, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": 1, "GRAFT_OFFLINE": 1,
                 "KERAS_BACKEND": "torch", "PYTHONWARNINGS": "ignore"}  # fmt: skip
        told = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"} | {key: str(value) for key, value in given.items()}
        ran = subprocess.run([python, sys.argv[0], "--side", side], input=json.dumps(job | {"cold": cold}), env=told,
                             capture_output=True, text=True)  # fmt: skip
    if ran.returncode:
        raise SystemExit(f"{side} failed:\n{ran.stderr[-4000:]}")
    said: Json = json.loads(ran.stdout.strip().splitlines()[-1])
    return said


def early(*names: str) -> None:
    """Import now what a library would import late, when it is first used: "module" or "module:name"."""
    for name in names:
        module, _, attribute = name.partition(":")
        made = importlib.import_module(module)
        if attribute:
            getattr(made, attribute)


def _run(side: Side, job: Json) -> Json:
    began = time.perf_counter()
    steps = side(job)
    next(steps)
    import torch

    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    imported, known = time.perf_counter(), set(sys.modules)
    next(steps)
    done, late = time.perf_counter(), sorted({name.partition(".")[0] for name in set(sys.modules) - known})
    return {"seconds": done - imported, "import_s": imported - began, "late_imports": late} | next(steps)
