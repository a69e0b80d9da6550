"""One table of all speed comparisons: what is stored in results/, or measured anew.

    python benchmarks/bench.py                       the table of results/*.json; needs no installation
    python benchmarks/bench.py --run                 run every benchmark first, with $GRAFT_DATA; hours
    python benchmarks/bench.py --run overhead heads  run these first
    python benchmarks/bench.py --list                the benchmarks and their commands

`make bench`, `make bench RUN=1` and `make bench RUN="overhead heads"` are the same. `ratio` is how many times as fast
as the peer Graft is, both sides in turn in one run; `limit` is the share of what the machine can do at most, where that
is known (a row's `share_of_limit`, 0 to 1); GB is memory. A goal is of the ratio (`goal`: at least), of memory
(`goal_gb`: at most, of `graft_gb`) or of Graft's own time (`limit_s`: at most); a row without a peer has goals of the
latter kinds. A benchmark that fails is named at the end; its old results stay.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
NAMES = ("extraction", "prefix", "precision", "heads", "large_rows", "input", "startup", "overhead", "frozen_epochs")
NEEDED = {"what", "graft_s"}  # what else _race.py makes is there where a peer is
COLUMNS = ("what", "Graft s", "peer", "peer s", "ratio", "goal", "", "limit", "GB", "score", "peer's", "run")
LEFT = {"what": 42, "peer": 19, "": 6}  # and the most characters of each
Json = dict[str, Any]


def commands() -> dict[str, list[str]]:
    """The benchmarks that are here, with what runs them: those of this folder, then one for each peer."""
    own = [HERE / f"{name}.py" for name in NAMES]
    peers = sorted((HERE / "peers").glob("[!_]*.py"))
    return {path.stem: [sys.executable, str(path)] for path in (*own, *peers) if path.is_file()}


def run(asked: Iterable[str]) -> list[str]:
    """One after the other; returns the names of those that failed."""
    known, failed = commands(), []
    for name in asked:
        print(f"$ {shown(known[name])}", flush=True)
        if subprocess.run(known[name], check=False).returncode:
            failed.append(name)
    return failed


def shown(command: Sequence[str]) -> str:
    return shlex.join(["python", *(str(Path(part).relative_to(HERE.parent)) for part in command[1:])])


def stored(folder: Path) -> list[Json]:
    """The reports that hold rows of a comparison, each with these rows alone."""
    made = []
    for path in sorted(folder.rglob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        rows = found.get("rows") if isinstance(found, dict) else None
        kept = [row for row in rows if isinstance(row, dict) and row.keys() >= NEEDED] if isinstance(rows, list) else []
        if kept:
            made.append({**found, "rows": kept})
    return made


def lines(reports: Sequence[Json]) -> list[str]:
    """The table, and below it where each row comes from."""
    cells = [COLUMNS] + [_cells(row, i) for i, one in enumerate(reports, 1) for row in one["rows"]]
    widths = [max(len(line[i]) for line in cells) for i in range(len(COLUMNS))]
    table = ["  ".join(cell.ljust(width) if name in LEFT else cell.rjust(width)
                       for cell, width, name in zip(line, widths, COLUMNS)).rstrip() for line in cells]  # noqa: B905  # fmt: skip
    return [*table, "", *(_source(one, i) for i, one in enumerate(reports, 1))]


def _cells(row: Json, number: int) -> tuple[str, ...]:
    goal, met = _goal(row)
    verdict = "" if met is None else "met" if met else "MISSED"
    ratio, share = row.get("ratio"), row.get("share_of_limit")
    return (_cut(row["what"], "what"), _text(row["graft_s"]), _cut(row.get("peer") or "-", "peer"),
            _text(row.get("peer_s")), "-" if ratio is None else f"{ratio:.2f}x", goal, verdict,
            "-" if share is None else f"{share:.0%}", _text(_gb(row), ".2f"), _text(row.get("graft_score")),
            _text(row.get("peer_score")), f"[{number}]")  # fmt: skip


def _goal(row: Json) -> tuple[str, bool | None]:
    """What was to be reached, and whether it was; None where nothing was. All goals of a row count."""
    found = []
    if row.get("goal") is not None:
        found.append((f"{row['goal']:g}x", row["ratio"] >= row["goal"]))
    for limit, unit, value in ((row.get("limit_s"), "s", row["graft_s"]), (row.get("goal_gb"), "GB", _gb(row))):
        if limit is not None:
            found.append((f"<={limit:g} {unit}", value is not None and value <= limit))
    return ", ".join(words for words, _ in found) or "-", all(met for _, met in found) if found else None


def _gb(row: Json) -> float | None:
    return row.get("graft_gb", row.get("memory_gb"))  # as it was called at first


def _cut(words: str, column: str) -> str:
    most = LEFT[column]
    return words if len(words) <= most else f"{words[: most - 1]}…"


def _source(report: Json, number: int) -> str:
    machine = report.get("machine", {})
    where = f"{machine.get('processor', 'processor unknown')}, {machine.get('cores', '?')} cores"
    gpu = f", {machine['gpu']}" if machine.get("gpu") else ""
    threads = report.get("setup", {}).get("threads", machine.get("threads", "?"))
    commit, torch = str(report.get("commit"))[:7], machine.get("libraries", {}).get("torch", "?")
    date = str(report.get("date"))[:10]
    return (
        f"[{number}] {report.get('command')}: {date}, commit {commit}, {where}{gpu}, threads {threads}, torch {torch}"
    )


def _text(value: Any, form: str = ".3g") -> str:
    """Three figures that count: 0.0123, 4.56, 78.9, 1234."""
    if value is None:
        return "-"
    return f"{value:{form}}" if abs(value) < 1000 else f"{value:.0f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", nargs="*", metavar="NAME", help="run these first; without names, all of them")
    parser.add_argument("--list", action="store_true", help="the benchmarks and their commands")
    asked, known = parser.parse_args(), commands()
    unknown = set(asked.run or ()) - known.keys()
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; choose from {', '.join(known)}")
    if asked.list:
        print("\n".join(f"{name:16}{shown(command)}" for name, command in known.items()))
        return 0
    failed = run(asked.run or known) if asked.run is not None else []
    reports = stored(RESULTS)
    print("\n".join(lines(reports)) if reports else "nothing is stored: python benchmarks/bench.py --run")
    if failed:
        print(f"failed, and not measured anew: {', '.join(failed)}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
