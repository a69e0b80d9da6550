"""Ways measured within a budget: as many folds as there is time for, hopeless ones left early, the best one known.

Every comparison is paired over the folds that two ways share. Before each training it is made sure that the final one,
on all samples, still fits into the budget.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import final

from graft.averages import States, kept
from graft.clock import Clock
from graft.console import Console, duration
from graft.errors import DataError, ResourceError, UsageError
from graft.paired import SPLITS, Gain, Hits, gain, score
from graft.shelf import memory_budget
from graft.trials import PASSES, OutOfTime, Trials, Way, batch_for, epochs_for
from graft.types import Model

FIRST = 3  # folds after which the rivals of a race are told apart, and a hopeless one is left
SAFETY = 1.1  # for what the final training does besides having more samples than one on a fold
SLACK = 0.02  # of the budget, left for saving and the last predictions
CHEAP = 0.03  # of the budget, that one way without training may take
FAR = 4  # times as long as it may take, by what it took on another trunk: then a way is not begun
ONLY = 0.25  # of the budget, for a head on a frozen trunk where the labels are such that no probe fits them


@final
@dataclass
class Contest:
    """`best` is the way that is kept so far; `probe`, the best one without training, is the mark for all others."""

    trials: Trials
    clock: Clock
    console: Console
    best: Way = Way("", "")
    probe: Way = Way("", "")
    states: States = field(default_factory=dict)
    honest: dict[Way, Hits] = field(
        default_factory=dict
    )  # of averages and the best probe: chosen for each fold on others
    notes: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)  # ways that were left out, as they take too long
    costs: dict[tuple[str, str], float] = field(default_factory=dict)  # seconds of a fold by features squared
    paces: dict[str, float] = field(default_factory=dict)  # seconds of training for one sample, by trunk

    @property
    def measured_on(self) -> str:
        """What the score of the kept way was measured on."""
        if len(self.trials.folds) == 1:
            return "on half B of the validation part, which chose no trunk and no rate"
        return f"on {len(self.hits(self.best))} folds"

    @property
    def said(self) -> float:
        """The kept way's own score, on the folds that it has seen."""
        return score(self.hits(self.best), self.trials.folds, "B")

    @property
    def longer(self) -> float:
        """How much longer the final training takes than one on a fold."""
        return SAFETY * len(self.trials.pool) / len(self.trials.folds[0].train)

    def hits(self, way: Way) -> Hits:
        return self.honest.get(way) or self.trials.hits.get(way, {})

    def gain(self, a: Way, b: Way) -> Gain:
        return gain(self.hits(a), self.hits(b), self.trials.folds)

    def score(self, way: Way, half: str = "A") -> float:
        """On all folds; a way that has seen only some is placed by its paired difference from the best probe there."""
        whole = len(self.hits(way)) == len(self.trials.folds)
        if whole or not self.probe.strategy:
            return score(self.hits(way), self.trials.folds, half)
        return score(self.hits(self.probe), self.trials.folds, half) + self.gain(way, self.probe).value

    def left(self) -> float:
        """Seconds until the final training of the best way must begin."""
        return self._after(self._typical(self.best))

    def affordable(self, way: Way) -> bool:
        """Whether the final training of a way still fits."""
        return self._after(self._typical(way)) > 0

    # -------------------------------------------------------------------------------------------- without training

    def open(self, trunks: Sequence[str]) -> tuple[str, ...]:
        """Features of the whole pool from each trunk, as far as half of the budget goes; which trunks those are.

        Raises UsageError when the budget is too small for any.
        """
        opened: list[str] = []
        for text in trunks:
            needed = self.trials.extraction(text)
            if needed > (0.5 if opened else 0.8) * self.left():
                self.notes.append(f"{text} was left out: its features take about {duration(needed)}")
                continue
            self.trials.open(text, self.console)
            opened.append(text)
        if not opened:
            raise too_little(self.clock, f"the features of a trunk: {self.notes[-1]}")
        return tuple(opened)

    def measure(self, way: Way) -> bool:
        """All folds of a way without training; whether they are there. A way that is too slow is left out and noted.

        It is judged by its last fold: the first may have had a library to load.
        """
        missing, last = self.trials.missing(way), 0.0
        try:
            if missing and self.trials.extraction(way.backbone) > self.left():
                return self._drop(way, "left out: its features take too long for this budget")
            if missing:
                self.trials.prepare(way)  # its features are made once, and are not this way's cost
            most = (CHEAP if self.trials.pool.kind == "class" else ONLY) * self.clock.budget
            expected = self.costs.get((way.strategy, way.features), 0.0) * self._size(way) * len(missing)
            for number, fold in enumerate(missing):
                slow = number > 1 and last * (len(missing) - number) > most
                if self.left() < 0 or slow or expected > FAR * most:
                    self.slow.append(str(way))
                    return self._drop(way)
                began = time.monotonic()
                self.trials.measure(way, fold)
                last = time.monotonic() - began
                self.costs.setdefault((way.strategy, way.features), last / self._size(way))
        except (DataError, ResourceError, UsageError) as error:  # such as a probe that cannot be fitted to these data
            return self._drop(way, str(error))
        return True

    def _size(self, way: Way) -> int:
        """What the work of a probe grows with, or faster."""
        dim: int = self.trials.trunk(way.backbone).backbone.info.dim
        return dim * dim

    def _drop(self, way: Way, why: str = "") -> bool:
        self.notes += [f"{way}: {why}"] if why else []
        self.trials.hits.pop(way, None)
        return False

    # ----------------------------------------------------------------------------------------------------- training

    def plan(self, trunk: str, trainings: int, within: float, passes: int = PASSES, most: int = 60) -> tuple[int, int]:
        """Epochs and batch size of a training, such that so many of them fit into `within` seconds."""
        samples, each = len(self.trials.folds[0].train), 0.8 * within / trainings
        batch = batch_for(samples, self.trials.recipe.batch_size)
        if trunk not in self.paces:
            self.paces[trunk] = self.trials.pace(trunk, batch)
        affordable = each / self.paces[trunk]
        return epochs_for(samples, min(passes, int(affordable)), most), batch

    def trainings(self, ways: int) -> int:
        """How many a race takes, and the final one."""
        count = len(self.trials.folds)
        return min(FIRST, count) * (ways - 1) + count + 1

    def race(self, name: str, ways: Sequence[Way], within: float, most: int = 2 * SPLITS) -> Way | None:
        """Successive halving over folds: all ways on the first few, then the best one on the rest. None: no time."""
        until, count = time.monotonic() + within, min(most, len(self.trials.folds))
        first = min(FIRST, count)
        with self.console.progress(name, first * len(ways) + count - first) as bar:
            told = _counter(bar)
            ready = [way for way in ways if self._run(way, range(first), until, told)]
            if not ready:
                return None
            winner = max(ready, key=self.score)
            self._run(winner, range(first, count), until, told)
        return winner if self.hits(winner) else None  # it may have diverged on a later fold

    def _run(self, way: Way, folds: Iterable[int], until: float, told: Callable[[], None]) -> bool:
        """Whether the way has an outcome on all `folds`; one that is clearly worse is left before it has."""
        for k in folds:
            if k in self.hits(way):
                continue
            typical = self._typical(way)
            if self._hopeless(way) or typical > self._time(until, typical):
                return False
            try:
                trained = self.trials.measure(way, k, lambda spent: self._time(until, spent) < 0)
            except OutOfTime:
                return False
            except (UsageError, ResourceError) as error:  # no normalisation layers; a diverged training
                return self._drop(way, str(error))
            self._remember(way, k, trained)
            told()
        return True

    def _typical(self, way: Way) -> float:
        """Seconds of one fold."""
        return self.trials.seconds.get(way, 0.0) / max(1, len(self.hits(way)))

    def _time(self, until: float, typical: float) -> float:
        """Seconds for one more fold, if the final training of the way is to follow."""
        return min(until - time.monotonic(), self._after(typical))

    def _after(self, typical: float) -> float:
        """Seconds that are left beside the final training of a way, of which one fold takes `typical` seconds."""
        return self.clock.left(self.longer * typical + SLACK * self.clock.budget)

    def _hopeless(self, way: Way) -> bool:
        """A control is measured all the same: that it is worse is what it is there to show."""
        return len(self.hits(way)) >= FIRST and self.trials.pretrained(way) and self.gain(way, self.best).upper < 0

    def _remember(self, way: Way, fold: int, trained: Model | None) -> None:
        """Weights for the averages, as long as they fit into memory."""
        if trained is None or not self.trials.pretrained(way):
            return
        size = sum(tensor.numel() * tensor.element_size() for tensor in trained.state_dict().values())
        if size * (len(self.states) + 1) < memory_budget() / 2:
            self.states[way, fold] = kept(trained)


def too_little(clock: Clock, what: str) -> UsageError:
    more = max(1, -int(-3 * clock.budget // 60))
    what = f"a budget of {duration(clock.budget)} is too small for {what}"
    return UsageError(what, f"--budget {more}m, or a smaller --backbone")


def _counter(bar: Callable[[int], None]) -> Callable[[], None]:
    done = 0

    def told() -> None:
        nonlocal done
        done += 1
        bar(done)

    return told
