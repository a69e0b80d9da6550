"""The table of all benchmarks: which rows it takes, and what it says of them. It runs without an installation."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

BENCH = Path(__file__).parents[2] / "benchmarks" / "bench.py"
ROW = {"what": "linear head", "graft_s": 0.5, "peer": "by hand", "peer_s": 1.0, "ratio": 2.0, "goal": 1.5,
       "graft_score": 0.91, "peer_score": 0.9, "share_of_limit": 0.876, "laps": {}}  # fmt: skip


def table(folder: Path, *rows: Any) -> list[str]:
    about = {"command": "python benchmarks/x.py", "commit": "0123456789", "date": "2026-01-02T03:04:05+00:00",
             "machine": {"processor": "P", "cores": 2, "threads": 1, "libraries": {"torch": "9.9"}}}  # fmt: skip
    (folder / "x.json").write_text(json.dumps({**about, "rows": rows}), encoding="utf-8")
    (folder / "list.json").write_text("[1]", encoding="utf-8")
    (folder / "other.json").write_text(json.dumps({**about, "rows": [{"case": 1}]}), encoding="utf-8")
    code = "import sys, pathlib, bench; print('\\n'.join(bench.lines(bench.stored(pathlib.Path(sys.argv[1])))))"
    return _python("-c", code, str(folder)).splitlines()


def _python(*arguments: str) -> str:
    """Without site-packages: a fresh clone prints the table before anything is installed."""
    done = subprocess.run([sys.executable, "-S", *arguments], capture_output=True, text=True, check=True,
                          cwd=BENCH.parent, timeout=60)  # fmt: skip
    return done.stdout


def test_goals_are_met_or_missed_or_absent(tmp_path: Path) -> None:
    found = table(tmp_path, ROW, {**ROW, "what": "slow", "goal": 3}, {**ROW, "what": "free", "goal": None}, {"what": 1})
    words = [line.split() for line in found]
    assert words[1] == ["linear", "head", "0.5", "by", "hand", "1", "2x", "1.5x", "met", "88%", "0.91", "0.9", "[1]"]
    assert "MISSED" in words[2] and "3x" in words[2]
    assert "met" not in words[3] and "MISSED" not in words[3]
    assert len(found) == 6, "a row without a peer is not of this table"


def test_each_row_says_where_it_comes_from(tmp_path: Path) -> None:
    last = table(tmp_path, ROW)[-1]
    expected = "[1] python benchmarks/x.py: 2026-01-02, commit 0123456, P, 2 cores, threads 1, torch 9.9"
    assert last == expected


def test_the_commands_are_files_and_the_stored_table_prints() -> None:
    for line in _python("bench.py", "--list").splitlines():
        assert (BENCH.parents[1] / line.split()[-1]).is_file(), line
    assert _python("bench.py").strip()
