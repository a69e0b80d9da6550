"""What is said of a choice: the rungs of the ladder, the verdict, and the tables of `rank` and `compare`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graft.console import RATES, Console, duration

Json = dict[str, Any]


def rung(console: Console, record: Json) -> None:
    """One line: what was tried, its score, its gain over what was kept, its cost, and why it was kept or not."""
    metric = record["metric"]
    said = [f"{record['way']}: {amount(record['score'], metric)}"] if record["way"] else []
    if record["gain"]:
        who = "the kept way is better by" if record["control"] else "gain"
        sure = "" if record["control"] else at_least(record["gain"], metric)
        said.append(f"{who} {points(record['gain'], metric)}{sure}")
    said += [f"in {duration(record['seconds'])}"] if record["seconds"] else []
    mark = "kept: " * record["kept"]
    console.row(record["name"], ", ".join(said) + ("" if record["control"] else f"; {mark}{record['why']}"))


def verdict(console: Console, record: Json) -> None:
    for i, sentence in enumerate(record["sentences"]):
        console.row("" if i else "verdict", sentence)
    for note in record["notes"]:
        console.row("note", note, "cyan")


def amount(score: float, metric: str) -> str:
    """ "91.3 %"; of another metric than the accuracy its name, too: "f1 41.2 %", "r2 0.630"."""
    shown = f"{100 * score:.1f} %" if metric.startswith(RATES) else f"{score:.3f}"
    return shown if metric == "accuracy" else f"{metric} {shown}"


def points(gain: Mapping[str, float], metric: str = "accuracy") -> str:
    """ "+31.2 points [27.9, 34.6]"; of what is no rate "+0.312 [0.279, 0.346]"."""
    if gain["folds"] == 0:
        return "not known"
    if not metric.startswith(RATES):
        return f"{gain['value']:+.3f} [{gain['low']:.3f}, {gain['high']:.3f}]"
    return f"{100 * gain['value']:+.1f} points [{100 * gain['low']:.1f}, {100 * gain['high']:.1f}]"


def at_least(gain: Mapping[str, float], metric: str = "accuracy") -> str:
    """The one-sided bound that decides a climb."""
    lower = f"{100 * gain['lower']:+.1f}" if metric.startswith(RATES) else f"{gain['lower']:+.3f}"
    return f", 90 % sure of {lower}" if gain["folds"] else ""


def ranking(rows: Sequence[Json]) -> list[str]:
    """Lines of a table: one trunk each, the best first; "=" marks ties with the best."""
    names = [name for name in rows[0]["scores"] if all(name in row["scores"] for row in rows) and name != "loo_ridge"]
    head = ["", "backbone", "score", "parameters", "ms/sample", "offline", *names, "licence"]
    return aligned([head, *(_ranked(row, names) for row in rows)])


def _ranked(row: Json, names: Sequence[str]) -> list[str]:
    score = f"{100 * row['score']:.1f} +- {100 * row['se']:.1f}"
    more = [f"{row['scores'][name]['value']:.3f}" for name in names]
    return ["=" if row["tie"] else "", row["backbone"], score, f"{row['parameters']:,}", f"{row['milliseconds']:.2f}",
            "yes" if row["offline"] else "cached", *more, _short(row["licence"])]  # fmt: skip


def comparison(rows: Sequence[Json]) -> list[str]:
    """Lines of a table: one way each, the best first; the difference is from the best way."""
    head = ["way", "score", "from the best", "within noise", "folds", "seconds"]
    return aligned([head, *map(_compared, rows)])


def _compared(row: Json) -> list[str]:
    if "error" in row:
        return [row["way"], "", row["error"], "", "", ""]
    difference = points(row["gain"], row["metric"]) if row["gain"] else ""
    return [row["way"], amount(row["score"], row["metric"]), difference, "yes" if row["within_noise"] else "no",
            str(row["folds"]), f"{row['seconds']:.1f}"]  # fmt: skip


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _short(licence: str) -> str:
    return licence if len(licence) <= 30 else licence.partition(" for ")[0].partition(";")[0][:30]
