"""How each class does, what is taken for what, and the figures of tasks that have no classes."""

from __future__ import annotations

from typing import Any

from graft.intervals import wilson
from graft.reporting import plots_of_classes
from graft.reporting._facts import Facts
from graft.reporting._parts import Album, Plot, Table, plot
from graft.reporting._words import Words, amount, count, missing, share
from graft.types import Json

FEW, FIRST = 20, 20  # classes of a matrix that can be read; rows of a long table before the rest is folded away
PAIRS, EXAMPLES = 10, 4  # confusions that are shown, and pictures of each


def per_class(facts: Facts, w: Words) -> Json | None:
    """Rows by F1, the worst first."""
    rows = facts.report.get("per_class")
    if not rows:
        return None
    predicted = _predicted(facts)
    made = [_row(row, predicted.get(row["label"]), w) for row in sorted(rows, key=lambda row: row["f1"])]
    cut = FIRST if len(made) > FIRST + 5 else len(made)
    averages = [[w(f"average.{kind}"), *(share(facts.report[kind].get(name)) for name in ("f1", "precision", "recall"))]
                for kind in ("macro", "weighted") if isinstance(facts.report.get(kind), dict)]  # fmt: skip
    head = [w("col.average"), w("metric.f1"), w("metric.precision"), w("metric.recall")]
    worst = made[0]
    return {
        "first": made[:cut],
        "rest": made[cut:],
        "averages": Table(head, averages) if averages else None,
        "lead": w("classes.lead", n=len(made), worst=worst["label"], f1=worst["f1"], samples=worst["support"]),
    }


def _row(row: Json, predicted: int | None, w: Words) -> Json:
    """`low` and `width` place the bar of the F1 interval, `at` its dot, in percent of the column."""
    low, high = row.get("f1_interval") or (row["f1"], row["f1"])
    return {
        "label": str(row["label"]),
        "f1": share(row["f1"]),
        "f1_interval": _interval(low, high),
        "low": 100 * low,
        "width": 100 * (high - low),
        "at": 100 * row["f1"],
        "precision": share(row["precision"]),
        "precision_interval": _precision(row, predicted),
        "recall": share(row["recall"]),
        "recall_interval": _interval(*row["recall_interval"]) if row.get("recall_interval") else "",
        "support": count(row["support"]),
    }


def _interval(low: float, high: float) -> str:
    return f"[{100 * low:.1f}, {100 * high:.1f}]"


def _precision(row: Json, predicted: int | None) -> str:
    """Wilson's, where it is known how many samples were taken for the class."""
    hits = round(row["recall"] * row["support"])
    if predicted is None:
        if not hits:
            return ""
        predicted = round(hits / row["precision"])
    found = wilson(hits, predicted)
    return _interval(found.low, found.high)


def _predicted(facts: Facts) -> dict[str, int]:
    """How many samples were taken for each class."""
    matrix, classes = facts.report.get("confusion"), facts.report.get("classes") or []
    return dict(zip(classes, map(sum, zip(*matrix, strict=True)), strict=True)) if matrix else {}


# --------------------------------------------------------------------------------------------------------- confusion


def confusion(facts: Facts, w: Words, album: Album) -> Json | None:
    """The matrix of up to FEW classes, and the pairs confused most, with samples of them."""
    matrix, classes = facts.report.get("confusion"), facts.report.get("classes") or []
    listed = facts.report.get("most_confused") or []
    if not matrix and not listed:
        return None
    pairs = facts.shown.get("confused") or []
    shown = [{"actual": p["actual"], "predicted": p["predicted"], "count": count(p["count"]),
              "examples": album.shots(p.get("examples") or [], EXAMPLES)} for p in pairs[:PAIRS]]  # fmt: skip
    head = [w("col.actual"), w("col.predicted"), w("col.count")]
    rows = [[p["actual"] or w("nothing"), p["predicted"] or w("nothing"), count(p["count"])] for p in listed]
    table = Table(head, rows, (0, 1)) if rows else None
    drawn = _matrix(matrix, classes, w) if matrix and len(classes) <= FEW else None
    lead = (
        w(
            "confused.lead",
            **{
                **listed[0],
                "actual": listed[0]["actual"] or w("nothing"),
                "predicted": listed[0]["predicted"] or w("nothing"),
            },
        )
        if listed
        else w("confused.none")
    )
    return {"plot": drawn, "table": table, "pairs": [p for p in shown if p["examples"]], "lead": lead,
            "many": len(classes) > FEW}  # fmt: skip


def _matrix(matrix: list[list[int]], classes: list[str], w: Words) -> Plot:
    head = [w("matrix.corner"), *classes]
    rows = [[name, *(count(cell) for cell in row)] for name, row in zip(classes, matrix, strict=True)]
    wrong = sum(map(sum, matrix)) - sum(matrix[i][i] for i in range(len(classes)))
    said = w("matrix.alt", n=len(classes), wrong=count(wrong), all=count(sum(map(sum, matrix))))
    return plot("matrix", w("matrix.caption"), said, Table(head, rows),
                lambda: plots_of_classes.matrix(matrix, classes, (w("axis.predicted"), w("axis.actual"))))  # fmt: skip


# ------------------------------------------------------------------------------- labels that are no classes

TOLD = (
    "chance",
    "samples",
    "classes",
    "per_class",
    "macro",
    "weighted",
    "confusion",
    "most_confused",
    "figures",
)  # elsewhere
QUANTILES = ("target", "error", "absolute_error")
GROUPS = ("answerable", "unanswerable")


def details(facts: Facts, w: Words) -> Json | None:
    """What a task says of itself: quantiles of errors, answers by length, kinds of errors, numbers."""
    report = facts.report
    tables = [made for made in (_quantiles(report, w), _answers(report, w), _numbers(report, w)) if made]
    return {"tables": tables} if tables else None


def _quantiles(report: Json, w: Words) -> Table | None:
    found = [name for name in QUANTILES if isinstance(report.get(name), dict) and report[name].get("quantiles")]
    if not found:
        return None
    columns = list(report[found[0]]["quantiles"])
    head = [
        w("col.what"),
        w("col.mean"),
        w("col.deviation"),
        *(f"{100 * float(q):g} %" if _is_number(q) else str(q) for q in columns),
    ]
    rows = [[w(f"detail.{name}"), _short(report[name].get("mean")), _short(report[name].get("deviation")),
             *(_short(report[name]["quantiles"].get(q)) for q in columns)] for name in found]  # fmt: skip
    return Table(head, rows)


def _is_number(text: Any) -> bool:
    try:
        float(text)
    except (TypeError, ValueError):
        return False
    return True


def _short(value: Any) -> str:
    return "–" if missing(value) else f"{value:.4g}"


def _answers(report: Json, w: Words) -> Table | None:
    named = [(w(f"detail.{name}"), report[name]) for name in GROUPS if isinstance(report.get(name), dict)]
    named += [(w("detail.length", n=name), found) for name, found in (report.get("by_length") or {}).items()]
    if not named:
        return None
    rows = [[name, count(found.get("samples", 0)), amount("exact", found.get("exact")), amount("f1", found.get("f1"))]
            for name, found in named]  # fmt: skip
    return Table([w("col.questions"), w("col.samples"), w.metric("exact"), w.metric("f1")], rows)


def _numbers(report: Json, w: Words) -> Table | None:
    rows = [[w.maybe(f"detail.{name}", name.replace("_", " ")), count(value)] for name, value in report.items()
            if name not in TOLD and not missing(value) and not isinstance(value, bool)]  # fmt: skip
    return Table([w("col.what"), w("col.count")], rows) if rows else None
