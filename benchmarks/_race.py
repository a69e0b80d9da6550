"""Two sides of one job take turns in one run: medians and their ratio, with the accuracy beside the time."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple


class Lap(NamedTuple):
    """One run of one side. `score`: higher is better; None where the job has none."""

    seconds: float
    score: float | None = None


def race(
    what: str,
    graft: Callable[[], Lap],
    peer: Callable[[], Lap],
    *,
    name: str,
    rounds: int = 3,
    goal: float | None = None,
) -> dict[str, Any]:
    """A row: `ratio` is how many times as fast as the peer Graft is, the median of the rounds' own ratios.

    Who goes first changes with each round, so that a machine that slows down is fair to both.
    """
    laps: dict[str, list[Lap]] = {"graft": [], "peer": []}
    for number in range(rounds):
        for side in ("graft", "peer") if number % 2 else ("peer", "graft"):
            laps[side].append(graft() if side == "graft" else peer())
            print(f"  {what}, {'Graft' if side == 'graft' else name}: {laps[side][-1].seconds:.2f} s", flush=True)
    return row(what, laps["graft"], laps["peer"], name=name, goal=goal)


def row(what: str, ours: list[Lap], theirs: list[Lap], *, name: str, goal: float | None = None) -> dict[str, Any]:
    """What `make bench` shows of a comparison, from laps that were run in turn."""
    ratios = [b.seconds / a.seconds for a, b in zip(ours, theirs, strict=True)]
    return {
        "what": what, "graft_s": median(lap.seconds for lap in ours), "peer": name,
        "peer_s": median(lap.seconds for lap in theirs), "ratio": median(ratios), "goal": goal,
        "graft_score": _score(ours), "peer_score": _score(theirs),
        "laps": {"graft": [list(lap) for lap in ours], "peer": [list(lap) for lap in theirs]},
    }  # fmt: skip


def _score(laps: list[Lap]) -> float | None:
    scores = [lap.score for lap in laps if lap.score is not None]
    return median(scores) if scores else None
