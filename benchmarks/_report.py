"""What every benchmark shares: paired comparison of accuracies, a printed table, and results/<name>.json."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graft.device import commit, environment
from graft.intervals import paired_bootstrap
from graft.store import write_json

RESULTS = Path(__file__).parent / "results"
Row = Mapping[str, Any]


def report(name: str, rows: Sequence[Row], setup: Mapping[str, Any], out: Path | None = None) -> Path:
    """Print the rows as a table and write them with the command, the commit, the machine and the date."""
    table(rows)
    path = out or RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"name": name, "command": command(), "commit": commit(), "machine": environment(),
             "date": datetime.now(UTC).isoformat(timespec="seconds"), "setup": dict(setup)}  # fmt: skip
    write_json(path, {**about, "rows": [dict(row) for row in rows]})
    return path


def command() -> str:
    """What was typed, without the folders of this machine: they are replaced by the variables that name them."""
    words = [word if not word.startswith("/") else f"<{Path(word).name}>" for word in sys.argv[1:]]
    script = Path(sys.argv[0]).resolve().relative_to(Path(__file__).resolve().parents[1])
    return shlex.join(["python", str(script), *words])


def table(rows: Sequence[Row]) -> None:
    """Columns are the names, and the keys of the first row whose values are short; numbers are right-aligned."""
    short = [key for key, value in rows[0].items() if not isinstance(value, dict | list) and len(text(value)) < 20]
    columns = [key for key in rows[0] if key in short or key in ("what", "peer")]
    cells = [columns, *([text(row.get(key)) for key in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        print("  ".join(cell.ljust(widths[i]) if i == 0 else cell.rjust(widths[i]) for i, cell in enumerate(line)))


def text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)


def paired(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> dict[str, Any]:
    """Do two models differ on the same N samples? `a`, `b` (N,) say which were right.

    The difference of accuracies b - a with a 95 % bootstrap interval, and McNemar's exact test (McNemar 1947).
    """
    from scipy.stats import binomtest

    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    p = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    difference = paired_bootstrap(b.astype(float), a.astype(float))
    return {"difference": float(b.mean() - a.mean()), "interval95": [difference.low, difference.high],
            "mcnemar_p": p, "only_first_right": only_a, "only_second_right": only_b}  # fmt: skip
