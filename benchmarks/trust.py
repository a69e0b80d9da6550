"""What the checks of data, the confidence of predictions and the report come to on real data.

    python benchmarks/trust.py --data DATA                     all parts, about an hour on one core
    python benchmarks/trust.py --data DATA --only leaks labels

Parts, each with a result file of its own, results/trust_<part>.json:
    leaks       copies, re-encoded, resized, cropped, mirrored and brighter ones planted between train and test
    labels      wrong labels planted at 5, 10 and 20 %: how they are ranked
    confidence  coverage of conformal sets over 20 seeds, calibration before and after, strange data told apart
    reports     `graft fit` on hymenoptera and banking77 with their reports: figures, seconds, bytes
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _options
import trust_confidence
import trust_labels
import trust_leaks

import graft
from graft import pages

Rows = list[dict[str, Any]]
RUNS = {  # name -> what `graft fit` is asked
    "hymenoptera": {"data": "hymenoptera", "sealed": "valid", "budget": "2m"},
    "banking77": {"data": "banking77", "budget": "5m"},
}


def reports(data: Path, quick: bool = False) -> Rows:
    """One row for each run; `pages` are the seconds that report and card add to it."""
    with tempfile.TemporaryDirectory() as folder:
        return [_run(name, data, Path(folder) / name, quick) for name in (list(RUNS)[:1] if quick else RUNS)]


def _run(name: str, data: Path, out: Path, quick: bool) -> dict[str, Any]:
    asked: dict[str, Any] = {**RUNS[name], "data": str(data / RUNS[name]["data"]), "out": str(out)}
    spent, make = [0.0], pages.make

    def timed(*args: Any) -> None:
        began = time.monotonic()
        make(*args)
        spent[0] = time.monotonic() - began

    pages.make = timed
    try:
        result = graft.fit(**asked, **({"strategy": "ridge", "backbone": "bundled:tiny64"} if quick else {}))
    finally:
        pages.make = make
    return _row(name, result, out, spent[0])


def _row(name: str, result: dict[str, Any], out: Path, seconds: float) -> dict[str, Any]:
    sure = result["confidence"]
    return {
        "what": name,
        "accuracy": _interval(result["test"]["accuracy"]),
        "chosen": result.get("verdict", {}).get("chosen", result["strategy"]),
        "verdict": result.get("verdict", {}).get("sentences", []),
        "ece_before": _interval(sure["ece"]["before"]),
        "ece_after": _interval(sure["ece"]["after"]),
        "coverage_of_90": _interval(sure["sets"]["lac"]["coverage"]),
        "mean_set": sure["sets"]["lac"]["size"],
        "findings": {issue["code"]: issue["count"] for issue in result["issues"]},
        "seconds": round(result["seconds"]),
        "pages": round(seconds, 1),
        "report_bytes": (out / "report.html").stat().st_size,
    }


def _interval(metric: dict[str, Any]) -> str:
    return f"{100 * metric['value']:.1f} [{100 * metric['low']:.1f}, {100 * metric['high']:.1f}]"


PARTS: dict[str, Callable[[Path, bool], Rows]] = {
    "leaks": trust_leaks.measure,
    "labels": trust_labels.measure,
    "confidence": trust_confidence.measure,
    "reports": reports,
}


def main() -> None:
    made = _options.with_data(_options.parser(__doc__, "few samples, one run", rounds=1))
    made.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="default: all")
    asked = _options.read(made, "hymenoptera", "cifar10_png", "banking77", "clinc150")
    for part in asked.only:
        rows = PARTS[part](Path(asked.data), asked.quick)
        own = argparse.Namespace(
            **{**vars(asked), "out": asked.out and asked.out.with_stem(f"{asked.out.stem}_{part}")}
        )
        _options.finish(f"trust_{part}", rows, {}, own)


if __name__ == "__main__":
    main()
