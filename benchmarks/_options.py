"""What the commands of this folder have in common: options, the folder of data sets, and where results go."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from _report import Row, report, table


def parser(doc: str | None, quick: str, rounds: int = 3) -> argparse.ArgumentParser:
    """`quick` says what --quick does."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=int, default=rounds, help=f"turns of each side; default: {rounds}")
    made.add_argument("--quick", action="store_true", help=f"{quick}; shown, and not written without --out")
    made.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: as PyTorch chooses")
    made.add_argument("--out", type=Path, help="default: the command's own file in results/")
    return made


def with_data(made: argparse.ArgumentParser) -> argparse.ArgumentParser:
    made.add_argument("--data", type=Path, default=os.environ.get("GRAFT_DATA"), help="default: $GRAFT_DATA")
    return made


def read(made: argparse.ArgumentParser, *needed: str) -> argparse.Namespace:
    """One round if quick; the threads are set. An error where --data lacks one of the folders that are `needed`."""
    asked = made.parse_args()
    missing = [name for name in needed if asked.data is None or not (asked.data / name).is_dir()]
    if missing:
        made.error(f"give --data, or set GRAFT_DATA: a folder that holds {' and '.join(needed)}")
    asked.rounds = 1 if asked.quick else asked.rounds
    torch.set_num_threads(asked.threads)
    return asked


def finish(name: str, rows: Sequence[Row], setup: Mapping[str, Any], asked: argparse.Namespace) -> None:
    """A quick run is no result: it does not take the place of one."""
    if asked.quick and asked.out is None:
        table(rows)
    else:
        print(report(name, rows, {"rounds": asked.rounds, "threads": asked.threads, **setup}, asked.out))
