"""The table of all benchmarks: which rows it takes, and what it says of them. It runs without an installation."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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
    expected = ["linear", "head", "0.5", "by", "hand", "1", "2.00x", "1.5x", "met", "88%", "-", "0.91", "0.9", "[1]"]
    assert words[1] == expected
    assert "MISSED" in words[2] and "3x" in words[2]
    assert "met" not in words[3] and "MISSED" not in words[3]
    assert len(found) == 6, "a row without seconds is not of this table"


@pytest.mark.parametrize(("row", "words"), [
    ({"graft_gb": 1.5, "goal_gb": 2.0}, "<=2 GB met - 1.50"),
    ({"memory_gb": 2.5, "goal_gb": 2.0}, "<=2 GB MISSED - 2.50"),  # as the first results have it
    ({"limit_s": 0.5}, "<=0.5 s met - -"), ({"limit_s": 0.4}, "<=0.4 s MISSED - -"), ({"limit_s": None}, "- - -"),
])  # fmt: skip
def test_a_row_without_a_peer_has_goals_of_its_own(tmp_path: Path, row: dict[str, Any], words: str) -> None:
    found = table(tmp_path, {"what": "ridge", "graft_s": 0.5, "graft_score": 0.9, **row})[1].split()
    assert " ".join(found) == f"ridge 0.5 - - - {words} 0.9 - [1]"


def test_all_goals_of_a_row_count(tmp_path: Path) -> None:
    fast = table(tmp_path, {**ROW, "limit_s": 0.1})[1]
    assert "1.5x, <=0.1 s" in fast and "MISSED" in fast


def test_a_long_name_is_cut(tmp_path: Path) -> None:
    found = table(tmp_path, {**ROW, "what": "w" * 100, "peer": "p" * 100})[1]
    assert "w…" in found and "p…" in found and len(found) < 131


def test_a_quick_run_does_not_replace_results(tmp_path: Path) -> None:
    """The command prints its table, and writes only where --out says."""
    code = """if True:
        import sys, pathlib, _options, _report
        folder, _report.command = pathlib.Path(sys.argv[1]), lambda: "a command"
        _report.RESULTS = folder
        for words in ["--quick"], ["--quick", "--out", str(folder / "asked.json")], ["--threads", "1"]:
            sys.argv = ["bench.py", *words]
            asked = _options.read(_options.parser(None, "few rows"))
            _options.finish("x", [{"what": "w", "graft_s": 1.0}], {}, asked)
            print(*sorted(path.name for path in folder.iterdir()))"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=BENCH.parent, timeout=60,
                          capture_output=True, text=True)  # fmt: skip
    states = ["", "asked.json", "asked.json x.json"]
    assert [line for line in done.stdout.splitlines() if line in states] == states
    assert json.loads((tmp_path / "x.json").read_text())["setup"] == {"rounds": 3, "threads": 1}


def test_the_commands_are_files_and_the_stored_table_prints() -> None:
    for line in _python("bench.py", "--list").splitlines():
        assert (BENCH.parents[1] / line.split()[-1]).is_file(), line
    assert _python("bench.py").strip()
