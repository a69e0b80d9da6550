"""The score beside baselines and controls, the ladder with its costs, and the learning curves."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from graft.console import duration
from graft.reporting import plots
from graft.reporting._facts import Facts
from graft.reporting._parts import Plot, Table, plot
from graft.reporting._verdict import baseline, control, rate, score
from graft.reporting._words import Words, amount, count, missing
from graft.types import Json


def scores(facts: Facts, w: Words) -> Json | None:
    """Plots of the run with its baselines, of gains over the controls, and a table of all figures."""
    found = [made for made in (_beside(facts, w), _over(facts, w), _adapted(facts, w)) if made]
    tables = _all(facts, w)
    lead = score(facts, w) if facts.scores else ""
    return {"plots": found, "table": tables, "lead": lead} if found or tables else None


def _marks(named: list[tuple[str, Json | None]], metric: str, say: Callable[[Json], str]) -> list[plots.Mark]:
    usable = [
        (name, one) for name, one in named if one and not any(missing(one.get(k)) for k in ("value", "low", "high"))
    ]
    return [plots.Mark(name, one["value"], one["low"], one["high"], say(one), i == 0)
            for i, (name, one) in enumerate(usable)]  # fmt: skip


def _beside(facts: Facts, w: Words) -> Plot | None:
    """This run and what needs no training, on the same samples."""
    metric = facts.metric
    named = [(w("this_run"), facts.scores.get(metric))]
    named += [(baseline(facts, name, w).removeprefix("the "), figures.get(metric))
              for name, figures in (facts.result.get("baselines") or {}).items()]  # fmt: skip
    marks = _marks(named, metric, lambda one: w.figure(metric, one))
    part = w(f"part.{facts.part}", n=count(facts.scored))
    key = "score.caption" if len(marks) > 1 else "score.alone.caption"
    return _dots("score", w(key, metric=w.metric(metric), part=part), marks, w, metric) if marks else None


def _over(facts: Facts, w: Words) -> Plot | None:
    """What pretrained weights add to each control, in paired differences."""
    said = (facts.ladder or {}).get("verdict") or {}
    order = ("scratch", "random frozen", "pixels", "tfidf", "mfcc", "majority")
    metric = facts.metric
    named = [(w(f"rung.{name}"), said["over"][name]) for name in order if name in (said.get("over") or {})]
    marks = _marks(named, metric, lambda one: w.gain(one, metric).replace(w("points") + " ", ""))
    marks = [mark._replace(main=mark.low > 0) for mark in marks]
    caption = w("over.caption", metric=w.metric(metric), on=w.told(said.get("measured_on", "")))
    return _dots("over", caption, marks, w, metric, zero=True) if marks else None


def _adapted(facts: Facts, w: Words) -> Plot | None:
    if "gain" not in facts.result or not facts.result["gain"]:
        return None
    metric = facts.metric
    named = [(w("after"), facts.result.get("after")), (w("before"), facts.result.get("before"))]
    marks = _marks(named, metric, lambda one: w.figure(metric, one))
    caption = w("adapted.caption", metric=w.metric(metric), on=w.told(facts.result.get("measured_on", "")))
    return _dots("adapted", caption, marks, w, metric)


def _dots(name: str, caption: str, marks: list[plots.Mark], w: Words, metric: str, zero: bool = False) -> Plot:
    head = [w("col.what"), w("col.value"), w("col.low"), w("col.high")]
    rows = [[m.name, *(amount(metric, value) for value in (m.value, m.low, m.high))] for m in marks]
    label = w.axis(metric, w("difference") if zero else "")
    said = "; ".join(f"{mark.name}: {mark.said}" for mark in marks)
    return plot(name, caption, said, Table(head, rows), lambda: plots.intervals(marks, label, rate(metric), zero))


def _all(facts: Facts, w: Words) -> Table | None:
    """Every figure of the test and the validation part."""
    parts = [name for name in ("test", "valid") if facts.result.get(name)]
    names = list(dict.fromkeys(name for part in parts for name in facts.result[part]))
    rows = [[w.metric(name), *(w.figure(name, facts.result[part].get(name)) for part in parts),
             _method([facts.result[part][name] for part in parts if name in facts.result[part]], w)]
            for name in names]  # fmt: skip
    head = [w("col.figure"), *(w(f"col.{part}") for part in parts), w("col.method")]
    return Table(head, rows, (0, len(parts) + 1)) if rows else None


def _method(found: list[Json], w: Words) -> str:
    return w.maybe(f"method.{found[0].get('method', '')}", "–")


# ------------------------------------------------------------------------------------------------------------ ladder


def ladder(facts: Facts, w: Words) -> Json | None:
    rungs = (facts.ladder or {}).get("rungs") or []
    if not rungs:
        return None
    longest = max((rung.get("seconds") or 0.0 for rung in rungs), default=0.0) or 1.0
    rows = [_rung(rung, w, longest, facts.metric) for rung in rungs]
    return {
        "rows": rows,
        "plot": _costs(rungs, w, facts.metric),
        "metric": w.metric(rungs[0].get("metric", facts.metric)),
        "on": w.told(((facts.ladder or {}).get("verdict") or {}).get("measured_on", "")),
    }


def _rung(rung: Json, w: Words, longest: float, metric: str) -> Json:
    metric = rung.get("metric", metric)
    value = rung.get("score")
    gain = w.gain(rung["gain"], metric) if rung.get("gain") else "–"
    return {
        "name": _name(rung, w),
        "way": rung.get("way") or "–",
        "score": amount(metric, value),
        "width": max(0.0, min(100.0, 100 * (value or 0.0))) if rate(metric) else None,
        "gain": gain,
        "seconds": duration(rung.get("seconds") or 0.0),
        "cost": 100 * (rung.get("seconds") or 0.0) / longest,
        "why": w.told(rung.get("why", "")),
        "kind": _kind(rung),
    }


def _name(rung: Json, w: Words) -> str:
    return w.maybe(f"rung.{rung['name']}") or control(rung["name"], w)


def _kind(rung: Json) -> str:
    return "control" if rung.get("control") else "kept" if rung.get("kept") else "tried"


def _costs(rungs: list[Json], w: Words, metric: str) -> Plot | None:
    steps = [plots.Step(_name(r, w), r.get("seconds") or 0.0, r["score"], _kind(r))
             for r in rungs if not missing(r.get("score"))]  # fmt: skip
    if len(steps) < 2:
        return None
    metric = rungs[0].get("metric", metric)
    names = {kind: w(f"kind.{kind}") for kind in plots.KINDS}
    label = (w("axis.seconds"), w.axis(metric))
    head = [w("col.rung"), w("col.seconds"), w.metric(metric), w("col.kind")]
    rows = [[s.name, duration(s.seconds), amount(metric, s.score), names[s.kind]] for s in steps]
    said = "; ".join(f"{s.name}: {amount(metric, s.score)}, {duration(s.seconds)}" for s in steps)
    return plot("costs", w("costs.caption", metric=w.metric(metric)), said, Table(head, rows, (0, 3)),
                lambda: plots.costs(steps, names, label, rate(metric)))  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ curves

MOST_EPOCHS = 400  # of which points are drawn and listed
MOST_LOOKS = 100_000  # epochs of a file that may say anything


def curves(facts: Facts, w: Words) -> Json:
    if not facts.epochs:
        return {"why": w("curves.none")}
    made = _by_epoch(facts, w)
    return {"plots": [*_watched(facts, w), *made], "phases": _phases(facts, w)}


def _watched(facts: Facts, w: Words) -> list[Plot]:
    """How a trunk came on that learned without labels; the first look is of the trunk as it came, at epoch 0."""
    looks = [look for look in facts.looks if look.get("phase") != "end"]
    if len(looks) < 2 or not all(isinstance(look.get("epoch"), int) for look in looks):
        return []
    table = _looks(facts, w)
    length = min(MOST_LOOKS, max(look["epoch"] for look in looks) + 1)

    def line(name: str, key: str) -> plots.Line:
        at = {look["epoch"]: _number(look.get(key)) for look in looks}
        return plots.Line(name, [at.get(i) for i in range(length)])

    made = []
    for metric, lines, most in (
        ("knn", [line(w.metric("knn"), "knn"), line(w("watch.guess"), "majority")], looks[-1].get("queries")),
        ("rank", [line(w.metric("rank"), "rank")], looks[-1].get("of")),
    ):
        if any(value is not None for value in lines[0].values):
            kind = "accuracy" if metric == "knn" else metric
            first, last = (amount(kind, look.get(metric)) for look in (facts.looks[0], facts.looks[-1]))
            label = (w("axis.epoch"), w.metric(metric) + " (%)" * (metric == "knn"))
            draw = partial(plots.curves, lines, {}, label, metric == "knn", first=0)
            said = w("watch.alt", n=len(facts.looks), first=first, last=last)
            made.append(plot(f"watch-{metric}", w(f"watch.{metric}.caption", n=count(most or 0)), said, table, draw))
    return made


def _looks(facts: Facts, w: Words) -> Table:
    """Every look, and the one of what is kept."""
    names = {"start": w("watch.start"), "end": w("watch.kept", n=facts.looks[-1].get("epoch", "?"))}
    rows = [[names.get(str(look.get("phase")), str(look.get("epoch", ""))), amount("accuracy", look.get("knn")),
             amount("rank", look.get("rank")), amount("spread", look.get("spread")),
             amount("spread", look.get("embedded"))] for look in facts.looks]  # fmt: skip
    return Table(
        [w("col.epoch"), w.metric("knn"), w.metric("rank"), w("watch.feature_spread"), w.metric("spread")], rows
    )


def _by_epoch(facts: Facts, w: Words) -> list[Plot]:
    step = -(-len(facts.epochs) // MOST_EPOCHS)
    epochs = facts.epochs[::step]
    cuts = {i: str(e["phase"]) for i, e in enumerate(epochs) if i == 0 or e["phase"] != epochs[i - 1]["phase"]}
    metric, losses = facts.metric, [_number(e.get("train_loss")) for e in epochs]
    other = metric == "retrieval"  # whose loss is none that is trained by
    valid = [None if other else _number((e.get("valid") or {}).get("loss")) for e in epochs]
    reached = [_number((e.get("valid") or {}).get(metric)) for e in epochs]
    lines = [plots.Line(w("line.train"), losses)] + [plots.Line(w("line.valid"), valid)] * any(
        v is not None for v in valid
    )
    head = [w("col.phase"), w("col.epoch"), w("line.train"), w("line.valid"), w.metric(metric)]
    rows = [[str(e["phase"]), str(e.get("epoch", "")), amount("loss", a), amount("loss", b), amount(metric, c)]
            for e, a, b, c in zip(epochs, losses, valid, reached, strict=True)]  # fmt: skip
    table = Table(head, rows)
    said = w("curves.alt", n=len(facts.epochs), first=amount("loss", losses[0]), last=amount("loss", losses[-1]))
    made = [plot("loss", w("loss.caption"), said, table,
                 lambda: plots.curves(lines, cuts, (w("axis.epoch"), w("metric.loss")), False))] if any(
                     v is not None for v in losses) else []  # fmt: skip
    if any(value is not None for value in reached):
        said = w("curves.alt", n=len(facts.epochs), first=amount(metric, reached[0]), last=amount(metric, reached[-1]))
        label = (w("axis.epoch"), w.axis(metric))
        line = [plots.Line(w.metric(metric), reached)]
        made.append(plot("valid", w("valid.caption", metric=w.metric(metric)), said, table,
                         lambda: plots.curves(line, cuts, label, rate(metric))))  # fmt: skip
    return made


def _number(value: object) -> float | None:
    return None if missing(value) else float(value)  # type: ignore[arg-type]


def _best(epoch: object, w: Words) -> str:
    """Counted from 1; -1 is what the phase began with."""
    return "–" if not isinstance(epoch, int) else str(epoch + 1) if epoch >= 0 else w("start")


def _phases(facts: Facts, w: Words) -> Table | None:
    rows = [[str(p.get("phase", "")), str(p.get("epochs", "")), _best(p.get("best_epoch"), w),
             f"{p.get('moved') or 0:,}", duration(p.get("seconds") or 0.0)]
            for p in facts.result.get("phases") or []]  # fmt: skip
    head = [w("col.phase"), w("col.epochs"), w("col.best"), w("col.moved"), w("col.seconds")]
    return Table(head, rows) if rows else None
