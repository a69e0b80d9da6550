"""What a larger trunk gains over smaller ones, from the trials that the automatic policy has made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from graft import build, run, zoo
from graft.errors import DataError
from graft.paired import REPEATS, Array, Gain, Hits, bootstrapped, corrected
from graft.recipe import make as make_recipe
from graft.spec import parse
from graft.store import read_json
from graft.types import Json

Way = tuple[str, str]  # trunk, strategy
Side = Mapping[Way, Hits]
ALIKE = 0.8  # of the parameters of the largest trunk: as large as it, for what is asked here


def larger(folder: Path, modality: str, kind: str) -> Json | None:
    """{"trunk", "over", "way", "value", "low", "high", ...}: the best way on the largest trunks against the best one on
    smaller ones, in pairs. None where all that were tried are of one size."""
    tried = _ways(folder)
    asked = zoo.trunks(make_recipe(read_json(folder / "recipe.json")).backbone, modality, kind)
    sizes = _sizes(folder, [trunk for trunk in asked if any(way[0] == trunk for way in tried)])
    least = ALIKE * max(sizes.values(), default=0)
    small, large = ({way: hits for way, hits in tried.items() if way[0] in sizes and (sizes[way[0]] >= least) == wanted}
                    for wanted in (False, True))  # fmt: skip
    if not small or not large:
        return None
    ((trunk, way), (over, _)), found = lead(large, small)
    return {"trunk": trunk, "over": over, "way": parse(way).name, **found._asdict()}


def lead(large: Side, small: Side) -> tuple[tuple[Way, Way], Gain]:
    """The best way of each side, and the gain of the first. It is scored on other samples than those that chose the
    ways: the best of many is flattered by those (paired.without_peeking). Raises DataError for too few folds."""
    folds = max(k for hits in (*large.values(), *small.values()) for k in hits) + 1
    if folds == 1:
        return _held_out(large, small)
    half = folds // REPEATS
    sides = [{way: hits for way, hits in side.items() if len(hits) >= half} for side in (large, small)]
    if not all(sides):
        raise DataError("too few folds were measured of trunks of one size", "give more time: --budget 30m")
    shared = sorted(set.intersection(*(set(hits) for side in sides for hits in side.values())))
    means = [{k: side[_best(side, _apart(k, shared, half))][k].mean() for k in shared} for side in sides]
    size = float(np.mean([len(next(iter(sides[0].values()))[k]) for k in shared]))
    gain = corrected(np.array([means[0][k] - means[1][k] for k in shared]), 1 / max(1, half - 1), size)
    return (_best(sides[0], shared), _best(sides[1], shared)), gain


def _apart(fold: int, shared: Sequence[int], half: int) -> list[int]:
    """Folds of the same repeat: they share no sample with this one. All, if there are no others."""
    return [k for k in shared if k // half == fold // half and k != fold] or list(shared)


def _held_out(large: Side, small: Side) -> tuple[tuple[Way, Way], Gain]:
    """One held-out part: chosen on every other sample of it, compared on the rest."""
    a, b = (max(side, key=lambda way: float(side[way][0][::2].mean())) for side in (large, small))
    return (a, b), bootstrapped((large[a][0] - small[b][0])[1::2])


def _best(side: Side, folds: Sequence[int]) -> Way:
    return max(side, key=lambda way: float(np.mean([side[way][k].mean() for k in folds])))


def _ways(folder: Path) -> dict[Way, Hits]:
    """What trials.jsonl holds; a line that was cut short says nothing."""
    found: dict[Way, Hits] = {}
    path = folder / run.TRIALS
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            record = json.loads(line)
            way = record["way"]
        except (json.JSONDecodeError, KeyError):
            continue
        name = way["strategy"] if way["features"] == "last" else f"{way['strategy']}(features='stages')"
        each: Array = np.array(record["each"])
        found.setdefault((way["backbone"], name), {})[record["fold"]] = each
    return found


def _sizes(folder: Path, trunks: Sequence[str]) -> dict[str, int]:
    """Parameters of each trunk, as the ladder says, or else by building it."""
    path = folder / "ladder.json"
    known = read_json(path).get("trunks", {}) if path.exists() else {}
    return {text: known[text] if text in known else build.backbone(text).info.parameters for text in trunks}
