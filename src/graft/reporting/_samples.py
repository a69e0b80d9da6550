"""Samples as the page shows them: the worst errors with their explanations, and the map of the features."""

from __future__ import annotations

from collections import Counter
from typing import Any

from graft.reporting import plots_of_classes as plots
from graft.reporting._canvas import MARKS
from graft.reporting._facts import Facts
from graft.reporting._parts import Album, Plot, Table, plot, weighed
from graft.reporting._words import Words, count, missing, share
from graft.types import Json

ERRORS, ALIKE = 24, 3
POINTS, OWN = 2000, 9  # of a map: points at most, and classes with a mark of their own where there are more than ten


def errors(facts: Facts, w: Words, album: Album) -> Json | None:
    found = facts.shown.get("errors")
    if found is None:
        return None
    part = w(f"part.{facts.shown.get('part', facts.part)}", n=count(facts.scored))
    return {
        "cards": [card(one, album) for one in found[:ERRORS]],
        "part": part,
        "why": "" if found else w("errors.none"),
        "method": _methods(found, w),
        "kind": facts.report.get("classes") is not None,
    }


def card(one: Json, album: Album) -> Json:
    """An error as it is shown."""
    why = one.get("why") or {}
    return {
        "item": album.shot(one["item"]),
        "actual": str(one.get("actual", "")),
        "predicted": str(one.get("predicted", "")),
        "probability": _sure(one.get("probability")),
        "actual_probability": _sure(one.get("actual_probability")),
        "why": album.src(why.get("picture")),
        "words": weighed(why.get("words")),
        "alike": album.shots(one.get("alike") or [], ALIKE),
    }


def _sure(value: Any) -> str:
    """ "94 %"; near the ends with a decimal, and never wholly sure."""
    if missing(value):
        return ""
    if not 0.001 <= value <= 0.999:
        return "< 0.1 %" if value < 0.5 else "> 99.9 %"
    return share(value, 0 if 0.01 < value < 0.99 else 1)


def _methods(found: list[Json], w: Words) -> str:
    names = list(dict.fromkeys(str(one["why"].get("method", "")) for one in found if one.get("why")))
    if not names:
        return ""
    said = w("errors.method", method=", ".join(w.maybe(f"explainer.{name}", name) for name in names))
    kinds = {key for one in found for key in ("picture", "words") if (one.get("why") or {}).get(key)}
    return " ".join([said, *(w(f"errors.{kind}.colours") for kind in sorted(kinds))])


# --------------------------------------------------------------------------------------------------------------- map


def space(facts: Facts, w: Words) -> Json | None:
    """The map, with a table of where each class lies and how often it is mistaken."""
    found = facts.shown.get("map") or {}
    points = [p for p in found.get("points") or [] if isinstance(p.get("label"), int) and p["label"] >= 0]
    if not points:
        return None
    classes = facts.report.get("classes") or sorted({str(p["label"]) for p in points})
    points = [p for p in points if p["label"] < len(classes)][:: -(-len(points) // POINTS)]
    clouds = _clouds(points, classes, facts.report.get("most_confused") or [], w)
    caption = w(
        "map.caption", n=count(len(points)), method=w.maybe(f"map.{found.get('method')}", str(found.get("method")))
    )
    many = len({p["label"] for p in points}) > len(MARKS)
    return {"plot": _map(points, classes, clouds, caption, w), "many": many}


def _clouds(points: list[Json], classes: list[str], confused: list[Json], w: Words) -> list[plots.Cloud]:
    """Each class by itself; of more than ten only the most confused ones, in front of all others."""
    there = sorted({p["label"] for p in points})
    own = there
    if len(there) > len(MARKS):
        named = [name for pair in confused for name in (pair["actual"], pair["predicted"])]
        own = [classes.index(name) for name in dict.fromkeys(named) if name in classes][:OWN]
    rest = [p for p in points if p["label"] not in own]
    clouds = [_cloud(classes[label], [p for p in points if p["label"] == label], i) for i, label in enumerate(own)]
    return [cloud for cloud in clouds if cloud.x] + ([_cloud(w("map.others"), rest, None)] if rest else [])


def _cloud(name: str, points: list[Json], index: int | None) -> plots.Cloud:
    wrong = [p.get("right") is False for p in points]
    return plots.Cloud(name, [p["x"] for p in points], [p["y"] for p in points], wrong, index)


def _map(points: list[Json], classes: list[str], clouds: list[plots.Cloud], caption: str, w: Words) -> Plot:
    many = Counter(p["label"] for p in points)
    wrong = Counter(p["label"] for p in points if p.get("right") is False)
    scored = Counter(p["label"] for p in points if p.get("right") is not None)
    rows = [[classes[label], count(many[label]), f"{_mean(points, label, 'x'):.2f}", f"{_mean(points, label, 'y'):.2f}",
             f"{wrong[label]} / {scored[label]}"] for label in sorted(many)]  # fmt: skip
    head = [w("col.class"), w("col.points"), w("col.x"), w("col.y"), w("col.wrong")]
    said = w("map.alt", n=len(points), classes=len(many))
    return plot("map", caption, said, Table(head, rows), lambda: plots.scatter(clouds, w("map.wrong")))


def _mean(points: list[Json], label: int, side: str) -> float:
    values = [p[side] for p in points if p["label"] == label]
    return float(sum(values) / len(values))
