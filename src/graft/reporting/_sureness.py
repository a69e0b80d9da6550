"""Whether the probabilities are true, the sets hold what they promise, and what is unlike the training data."""

from __future__ import annotations

from typing import Any

from graft.reporting import plots, plots_of_classes
from graft.reporting._facts import Facts
from graft.reporting._parts import Plot, Table, plot
from graft.reporting._words import Words, amount, count, missing, share
from graft.types import Json


def sureness(facts: Facts, w: Words) -> Json | None:
    """None for labels that are no classes; a reason where nothing was learned."""
    found = facts.result.get("confidence")
    if not found:
        return {"why": w("calibration.none")} if "confusion" in facts.report else None
    return {
        "lead": _lead(found, w),
        "plot": _reliability(found, w),
        "errors": _errors(found, w),
        "sets": _sets(found, w),
        "unlike": _unlike(found, w),
        "notes": [w.told(note) for note in found.get("notes") or []],
    }


def _lead(found: Json, w: Words) -> str:
    on = str(found.get("made_on", "")).removeprefix("on ")
    learned = w.maybe(f"made_on.{on}", on)
    if found.get("temperature") == 1:
        return w("calibration.as_is", on=learned)
    made = w("calibration.lead", temperature=f"{found.get('temperature', float('nan')):.2f}", on=learned)
    ece = found.get("ece") or {}
    if ece.get("before") and ece.get("after"):
        before, after = (w.figure("ece", ece[key]) for key in ("before", "after"))
        made += " " + w("calibration.ece", before=before, after=after)
    return made


def _errors(found: Json, w: Words) -> Table | None:
    rows = [[w(f"metric.{name}"), *(w.figure(name, found[name].get(key)) for key in ("before", "after"))]
            for name in ("ece", "brier") if isinstance(found.get(name), dict)]  # fmt: skip
    return Table([w("col.figure"), w("col.before"), w("col.after")], rows) if rows else None


def _sets(found: Json, w: Words) -> Table | None:
    """Coverage against what is stated, and how large the sets are."""
    rows = [[w.maybe(f"sets.{name}", name), share(one.get("stated"), 0), w.figure("coverage", one.get("coverage")),
             _held(one, w), f"{one.get('size', float('nan')):.2f}", share(one.get("singletons"))]
            for name, one in (found.get("sets") or {}).items()]  # fmt: skip
    head = [w("col.sets"), w("col.stated"), w("col.coverage"), w("col.holds"), w("col.size"), w("col.singletons")]
    return Table(head, rows, (0, 3)) if rows else None


def _held(one: Json, w: Words) -> str:
    coverage = one.get("coverage") or {}
    if missing(coverage.get("low")) or missing(one.get("stated")):
        return "–"
    if coverage["high"] >= one["stated"]:
        return w("holds.yes" if coverage["low"] <= one["stated"] else "holds.more")
    few = not missing(one.get("least")) and coverage["value"] >= one["least"]
    return w("holds.few", least=share(one["least"], 0)) if few else w("holds.no")


def _unlike(found: Json, w: Words) -> str:
    one = found.get("unlike")
    if not one:
        return ""
    said = w("unlike.lead", flagged=w.figure("coverage", one.get("flagged")), stated=share(one.get("stated"), 0))
    other = found.get("unlike_other")
    if not other:
        return said
    auroc, flagged = w.figure("auroc", other.get("auroc")), w.figure("coverage", other.get("flagged"))
    return f"{said} {w('unlike.other', n=count(other.get('samples', 0)), auroc=auroc, flagged=flagged)}"


def _reliability(found: Json, w: Words) -> Plot | None:
    rows = found.get("reliability") or []
    after, before = _bins(rows), _bins([row.get("before") or {} for row in rows])
    if not after:
        return None
    names = (w("line.ideal"), w("line.before"), w("line.after"))
    head = [w("col.calibration"), w("col.confidence"), w("col.accuracy"), w("col.low"), w("col.high"), w("col.samples")]
    listed = [[name, *(share(value) for value in one[1:]), count(one.number)]
              for name, bins in ((names[1], before), (names[2], after)) for one in bins]  # fmt: skip
    said = "; ".join(w("reliability.alt", sure=share(one.confidence, 0), right=share(one.accuracy, 0), n=one.number)
                     for one in after)  # fmt: skip
    return plot(
        "reliability",
        w("reliability.caption"),
        said,
        Table(head, listed),
        lambda: plots_of_classes.reliability(before, after, names, (w("axis.confidence"), w("axis.accuracy"))),
    )


def _bins(rows: list[Any]) -> list[plots_of_classes.Bin]:
    """Those that hold samples."""
    keys = ("confidence", "accuracy", "accuracy_low", "accuracy_high")
    return [plots_of_classes.Bin(int(row["count"]), *(float(row[key]) for key in keys)) for row in rows
            if row.get("count") and not any(missing(row.get(key)) for key in keys)]  # fmt: skip


def growth(facts: Facts, w: Words) -> Json | None:
    """More data against a larger model, by the curve that showing.py has fitted."""
    found = facts.shown.get("curve")
    if not found or not found.get("sizes"):
        return None
    metric, fit, sizes = str(found.get("metric", facts.metric)), found["fit"], found["sizes"]
    lines = [_more_data(found, metric, w)] + [line for line in (_larger(found, metric, w), _says(found, w)) if line]
    return {"lines": lines, "plot": _growth(found, metric, fit, sizes, w)}


def _more_data(found: Json, metric: str, w: Words) -> str:
    doubled = found["doubled"]
    gain = {"value": doubled.get("gain", doubled["value"] - found["now"]),
            "low": doubled.get("gain_low", doubled["low"] - found["now"]),
            "high": doubled.get("gain_high", doubled["high"] - found["now"])}  # fmt: skip
    return w("growth.doubled", n=count(2 * _samples(found)), gain=w.gain(gain, metric), metric=w.metric(metric))


def _samples(found: Json) -> int:
    """All there are to train on: more than the curve has seen, as some are held out of it."""
    return int(found.get("samples") or found["sizes"][-1])


def _larger(found: Json, metric: str, w: Words) -> str:
    larger = found.get("larger")
    if not larger:
        return w("growth.no_larger")
    return w("growth.larger", trunk=larger.get("trunk", "?"), over=larger.get("over", "–"), gain=w.gain(larger, metric))


def _says(found: Json, w: Words) -> str:
    return w.maybe(f"growth.says.{found.get('says')}")


def _growth(found: Json, metric: str, fit: Json, sizes: list[int], w: Words) -> Plot:
    rate = w.axis(metric).endswith("(%)")
    rows = zip(sizes, found["scores"], found["low"], found["high"], strict=True)
    marks = [plots.Mark(count(n), value, low, high, w.gain(None, metric)) for n, value, low, high in rows]
    end, doubled = 2 * _samples(found), found["doubled"]
    steps = [sizes[0] * (end / sizes[0]) ** (i / 40) for i in range(41)]
    line = (steps, [1 - (fit["a"] + fit["b"] * n ** -fit["c"]) for n in steps])
    last = plots.Mark(w("growth.mark"), doubled["value"], doubled["low"], doubled["high"], "")
    head = [w("col.samples"), w.metric(metric), w("col.low"), w("col.high")]
    table = Table(head, [[m.name, *(amount(metric, v) for v in (m.value, m.low, m.high))] for m in marks]
                  + [[f"{count(end)} ({w('growth.expected')})",
                      *(amount(metric, v) for v in (last.value, last.low, last.high))]])  # fmt: skip
    said = w("growth.alt", first=amount(metric, marks[0].value), n=marks[0].name, last=amount(metric, marks[-1].value),
             m=marks[-1].name, doubled=amount(metric, last.value))  # fmt: skip
    return plot("growth", w("growth.caption", metric=w.metric(metric)), said, table,
                lambda: plots.growth(sizes, marks, line, last, (w("axis.samples"), w.axis(metric)), rate))  # fmt: skip
