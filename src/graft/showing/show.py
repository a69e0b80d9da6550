"""What the report shows that only a run at work can know, written to shown.json: errors, pictures, a map, what to do.

Each part is on its own: one that fails, or finds no time, becomes a note, and the others are there all the same. Each
knows what it costs before it begins, and looks at fewer samples where they are too many; explanations, of which one
more can always be made, come last and take the time that is left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from graft import curve, explaining
from graft.checks._seen import grouped
from graft.clock import Clock
from graft.console import Console
from graft.errors import GraftError, Interrupted, ResourceError
from graft.features import Feed
from graft.reporting import _shape as shape
from graft.selection import nearest
from graft.showing import mistakes, relabel
from graft.showing.athand import MOST, AtHand, Rows, strata
from graft.showing.expense import cost
from graft.showing.items import SMALL, Items, clean
from graft.showing.larger import larger
from graft.showing.projection import plane
from graft.store import read_json, write_json
from graft.types import Json, Model, Predictions, Task

NAME = "shown.json"
SECONDS, LEAST, SHARE = 8.0, 3.0, 0.15  # for all, and of the budget of a choice, which it should not outgrow
WHY = 4.0  # of these for explanations, at most
DOUBT, CURVE = 0.4, 0.6  # of what is left, at most, to look for wrong labels and to fit a curve
ERRORS, PAIRS, EXAMPLES, SUSPECTS, ALIKE, NEXT = 12, 12, 3, 24, 3, 50
POINTS = 300  # of the map, of each part
LARGER = ("trunk", "over", "way", "value", "low", "high")


def show(folder: Path, model: Model, task: Task, train: Feed, scored: Feed, predictions: Predictions, result: Json,
         console: Console) -> None:  # fmt: skip
    """Write shown.json (reporting/_shape.py's Shown). `scored` is the test part, or else the validation part, with its
    calibrated predictions; `result` is what result.json holds."""
    seconds = max(LEAST, min(SECONDS, SHARE * result["budget"])) if "budget" in result else SECONDS
    part = "test" if result.get("test") else "valid"
    at = AtHand(folder, model.eval(), task, train, scored, result)
    work = _Work(at, predictions, part, Clock(seconds))
    shown: Json = {"format": 1, "modality": scored.dataset.modality, "part": part}
    for name, make in PARTS.items() if task.kind != "none" else ():
        made = work.guarded(name, make)
        shown |= {} if made is None else {name: made}
    if work.wrong:
        work.guarded("explanations", _explain)
    shown["cost"] = cost(result, train.device, seconds - work.clock.left(), _choice(folder))
    if work.items.missing:
        work.notes.append(f"{work.items.missing} pictures were left out to keep the report small")
    write_json(folder / NAME, finite({**shown, "notes": work.notes}))


def _choice(folder: Path) -> float:
    """Seconds that the automatic policy took."""
    path = folder / "ladder.json"
    return float(read_json(path).get("seconds", 0.0)) if path.exists() else 0.0


@final
@dataclass
class _Work:
    """What the parts share."""

    at: AtHand
    predictions: Predictions
    part: str
    clock: Clock
    items: Items = field(default_factory=Items)
    notes: list[str] = field(default_factory=list)
    doubted: list[shape.Error] = field(default_factory=list)
    wrong: list[tuple[shape.Error, mistakes.Wrong]] = field(default_factory=list)

    def guarded(self, name: str, make: Callable[[_Work], Any]) -> Any:
        """What the part makes, or None and a note."""
        if self.clock.left() <= 0:
            return self.notes.append(f"{name}: left out, the time for the report was over")
        try:
            return make(self)
        except Interrupted:
            raise
        except GraftError as error:
            hint = f" ({error.hint})" if error.hint else ""
            return self.notes.append(f"{name}: {error.what}{hint}")
        except Exception as error:
            return self.notes.append(f"{name}: {type(error).__name__}: {error}")

    def alike(self, features: Tensor, rows: Rows, known: Tensor, but: Sequence[int] = ()) -> list[list[shape.Item]]:
        """Of each of (n, D) features the nearest of the training rows (M,), `known` (M, D), less row `but[i]`."""
        middle = known.mean(0)
        near = rows[nearest((features - middle).numpy(), (known - middle).numpy(), ALIKE + 1)]
        own = but or [-1] * len(features)
        kept = [[int(row) for row in some if row != one][:ALIKE] for some, one in zip(near, own, strict=True)]
        return [[self.train_item(row, SMALL) for row in some] for some in kept]

    def train_item(self, row: int, side: int) -> shape.Item:
        return self.items.make(self.at.train.dataset, self.at.train.dataset.samples[row], side)

    def scored_item(self, row: int, **side: int) -> shape.Item:
        return self.items.make(self.at.scored.dataset, self.at.scored.dataset.samples[row], **side)


# --------------------------------------------------------------------------------------------------------- the errors


def errors(work: _Work) -> list[shape.Error]:
    at = work.at
    found = mistakes.worst(at.task, work.predictions, at.scored.targets, at.scored.dataset, ERRORS)
    near: list[list[shape.Item]] = [[] for _ in found]
    if found and at.task.needs == "pooled":
        near = work.alike(at.asked(np.array([one.row for one in found])), *at.known)
    made = [_error(work, one, some) for one, some in zip(found, near, strict=True)]
    work.wrong += zip(made, found, strict=True)
    return made


def _error(work: _Work, one: mistakes.Wrong, near: list[shape.Item]) -> shape.Error:
    item = work.scored_item(one.row)
    item["label"] = item["label"] or one.actual
    return shape.Error(item=item, actual=one.actual, predicted=one.predicted, probability=one.probability,
                       actual_probability=one.actual_probability, why=None, alike=near)  # fmt: skip


def _explain(work: _Work) -> None:
    """Fill in `why` of as many errors as time allows, the first ones first."""
    at, asked = work.at, [(error, one) for error, one in work.wrong if one.target >= 0]
    rows, targets = [one.row for _, one in asked], [one.target for _, one in asked]
    why = explaining.brief(at.model, at.task, at.scored, rows, targets, min(WHY, work.clock.left())) if asked else []
    for (error, _), said in zip(asked, why, strict=False):
        if said:
            picture = work.items.kept(said.get("picture"))
            if picture or said.get("words"):
                error["why"] = shape.Why(method=said["method"], picture=picture, words=said.get("words"))


def confused(work: _Work) -> list[shape.Confused] | None:
    if work.at.task.kind != "class":
        return None
    names = work.at.task.classes
    pairs = mistakes.confused(work.predictions.values, work.at.scored.targets, PAIRS)
    return [shape.Confused(actual=names[pair.actual], predicted=names[pair.predicted], count=len(pair.rows),
                           examples=[work.scored_item(row, side=SMALL) for row in pair.rows[:EXAMPLES]])
            for pair in pairs]  # fmt: skip


def suspects(work: _Work) -> list[shape.Error] | None:
    """Of the training samples alone: a test part is for one question."""
    at = work.at
    if at.task.kind != "class":
        return None
    rows = at.balanced(at.train, relabel.affordable(len(at.train), len(at.task.classes), MOST))
    some = at.train.dataset.replace(samples=tuple(at.train.dataset.samples[row] for row in rows))
    features = at.as_it_came[torch.from_numpy(rows)]
    found, looked = relabel.suspects(some, features.numpy(), at.seed, SUSPECTS, DOUBT * work.clock.left())
    if looked < len(at.train):
        work.notes.append(f"suspects: looked for among {looked:,} of {len(at.train):,} training samples")
    places = [one.row for one in found]
    near = work.alike(features[places], rows, features, [int(rows[place]) for place in places]) if found else []
    work.doubted += [_suspect(work, int(rows[one.row]), one, like) for one, like in zip(found, near, strict=True)]
    return work.doubted


def _suspect(work: _Work, row: int, one: relabel.Suspect, near: list[shape.Item]) -> shape.Error:
    item, given = work.train_item(row, SMALL), str(work.at.train.dataset.samples[row].label)
    return shape.Error(item=item, actual=given, predicted=one.looks_like, why=None, alike=near,
                       probability=one.probability, actual_probability=one.given_probability)  # fmt: skip


# --------------------------------------------------------------------------------------------------------- what to do


def next_(work: _Work) -> shape.Next | None:
    found = relabel.unlabelled(work.at, NEXT)
    if found:
        items = [work.items.make(found.dataset, found.dataset.samples[row], SMALL) for row in found.rows]
        return shape.Next(source="unlabelled", of=found.of, items=items)
    doubted = [one["item"] for one in work.doubted]
    return shape.Next(source="suspects", of=len(doubted), items=doubted) if doubted else None


def curve_(work: _Work) -> shape.Curve | None:
    """For classes and numbers, whose cheap head is a ridge regression."""
    at = work.at
    if at.task.kind not in ("class", "number"):
        return None
    known = (at.train.targets >= 0 if at.task.kind == "class" else ~at.train.targets.isnan()).cpu()
    rows, features, targets = known.numpy(), at.as_it_came[known].numpy(), at.train.targets.cpu()[known].numpy()
    if curve.seconds(len(features), features.shape[1], len(at.task.classes)) > CURVE * work.clock.left():
        raise ResourceError(f"{len(features):,} samples take too long", "")
    measured = curve.measured(features, targets, grouped(at.train.dataset)[rows], strata(at.train)[rows], at.seed)
    trunk = work.guarded("larger trunk", lambda work: larger(at.folder, at.train.dataset.modality, at.task.kind))
    return _curve(curve.outlook(measured, len(features), at.recipe.epsilon / 100), at.task.metric, trunk)


def _curve(found: curve.Outlook, metric: str, trunk: Json | None) -> shape.Curve:
    (value, low, high), (gain, gain_low, gain_high) = found.doubled, found.gain
    return shape.Curve(
        metric=metric, samples=found.samples, sizes=[int(n) for n in found.sizes], scores=found.scores.tolist(),
        low=found.low.tolist(), high=found.high.tolist(), now=found.now, says=_says(found.real, trunk),
        fit={name: float(x) for name, x in found.law._asdict().items()},
        doubled={"value": value, "low": low, "high": high, "gain": gain, "gain_low": gain_low, "gain_high": gain_high},
        larger=None if trunk is None else {key: trunk[key] for key in LARGER})  # fmt: skip


def _says(more: bool, trunk: Json | None) -> str:
    """Of a larger trunk that was not measured nothing is said."""
    if trunk is None:
        return "only_data" if more else "no_data"
    return {(True, True): "both", (True, False): "data", (False, True): "trunk"}.get(
        (more, trunk["low"] > 0), "neither"
    )


def map_(work: _Work) -> shape.Map | None:
    """Some samples of both parts as the final trunk sees them."""
    at = work.at
    if at.task.kind != "class":
        return None
    (rows, known), asked = at.known, at.balanced(at.scored, POINTS)
    kept = np.isin(rows, at.balanced(at.train, POINTS)) if len(rows) > POINTS else np.ones(len(rows), bool)
    features = np.concatenate([known.numpy()[kept], at.asked(asked).numpy()]).astype(np.float64)
    method, points = plane(features, at.seed)
    right = (work.predictions.values.argmax(1) == at.scored.targets.cpu()).numpy()
    said = [*[("train", at.train, row, None) for row in rows[kept]],
            *[(work.part, at.scored, row, bool(right[row])) for row in asked]]  # fmt: skip
    made = [shape.Point(x=round(float(x), 4), y=round(float(y), 4), label=int(feed.targets[row]), part=part, right=ok,
                        key=clean(feed.dataset.samples[row].key))
            for (x, y), (part, feed, row, ok) in zip(points, said, strict=True)]  # fmt: skip
    return shape.Map(method=method, points=made)


PARTS: dict[str, Callable[[_Work], Any]] = {"errors": errors, "confused": confused, "suspects": suspects,
                                            "next": next_, "curve": curve_, "map": map_}  # fmt: skip


def finite(value: Any) -> Any:
    """JSON has no infinity and no nan: None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    return [finite(one) for one in value] if isinstance(value, list | tuple) else value
