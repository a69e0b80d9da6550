"""The automatic policy: cheap probes on every trunk, controls, then rung by rung while the gain is real.

    probes      centroid, k-NN, ridge, logistic, ridge of all stages on every trunk; SVM and forest on the best one
    controls    the most frequent class, raw pixels, random weights frozen, and the same network from scratch
    norms       scales and shifts of the normalisation layers, from the solved linear head
    last stage  LP-FT of the last stage, held near the pretrained weights (L2-SP)
    all         LP-FT of everything, slower towards the input
    averages    part of the way back to the pretrained weights (WiSE-FT), and the greedy soup of what was trained

A rung is climbed only when the one-sided 90 % lower bound of its paired gain lies above zero; otherwise the cheaper way
stays. What is known of the sealed test part here: nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import final

from graft import tables
from graft.averages import soup, wise
from graft.contest import FIRST, Contest, too_little
from graft.errors import DataError
from graft.paired import SPLITS, Gain, Hits, mean, score, tied, without_peeking
from graft.spec import parse
from graft.trials import SCRATCH_PASSES, Way
from graft.types import Json

EVERYWHERE = ("centroid", "knn", "ridge", "logistic")  # on every trunk; cheapest first, and so they win ties
FAST, LARGE = ("centroid", "ridge"), 5_000  # what larger data get: the cost of the others grows too fast
ON_THE_BEST = ("svm_linear", "forest", "svm_rbf")
FINALISTS = 2  # trunks that are fine-tuned
START = "start='ridge'"  # the closed form that heads begin as: LP-FT asks for a good one, not for the best
SCRATCH = 0.3  # of the budget, that training from scratch may take


@dataclass
class Rung:
    """One step of the ladder as it is told to the user."""

    name: str
    way: Way | None
    score: float | None = None
    gain: Gain | None = None  # over what was kept until then; of a control: what the kept way has over it
    folds: int = 0
    seconds: float = 0.0
    kept: bool = False
    why: str = ""
    control: bool = False

    def json(self) -> Json:
        record = asdict(self)
        return {**record, "way": str(self.way) if self.way else None, "recipe": record["way"],
                "gain": self.gain._asdict() if self.gain else None}  # fmt: skip


@final
@dataclass
class Ladder:
    """`climb` measures and decides; then `contest.best` is the way to train on everything, and `rungs` is the story."""

    contest: Contest
    trunks: tuple[str, ...]
    epsilon: float = 0.003  # a gain that is not worth another rung
    rungs: list[Rung] = field(default_factory=list)
    probed: list[Way] = field(default_factory=list)
    controls: dict[str, Way] = field(default_factory=dict)

    def climb(self) -> Way:
        self._probes()
        self._controls()
        idle = 0  # rungs in a row that cannot add more than epsilon: one alone says little of the next, dearer one
        for name, share in (("norms", 0.2), ("last stage", 0.3), ("all", 1.0)):
            idle = 0 if self._rung(name, share * self.contest.left()) else idle + 1
            if idle == 2:
                break
        self._averages()
        self._against_controls()
        return self.contest.best

    def cheapest(self) -> Way:
        """The first way of the ladder, in the order of cost, that the best measured way does not beat beyond noise."""
        climbed = [rung.way for rung in self.rungs if rung.way and not rung.control]
        top = max(climbed, key=lambda way: self.contest.score(way, "B"))
        return next(way for way in (*self.probed, *climbed) if not self.contest.gain(top, way).real)

    # ---------------------------------------------------------------------------------------------- probes, controls

    def _probes(self) -> None:
        began, contest = time.monotonic(), self.contest
        self.trunks = contest.open(sorted(self.trunks, key=contest.trials.parameters))  # the cheaper one wins ties
        large = len(contest.trials.folds[0].train) > LARGE
        everywhere = [Way(trunk, name) for name in (FAST if large else EVERYWHERE) for trunk in self.trunks]
        everywhere += [Way(trunk, "ridge", "stages") for trunk in self.trunks]
        with contest.console.progress("probes", len(everywhere) + len(ON_THE_BEST)) as bar:
            for number, way in enumerate(self._tried(everywhere)):
                self.probed += [way] if contest.measure(way) else []
                bar(number + 1)
        favourite = self._favourite()
        able = {way: contest.hits(way) for way in self.probed if way.backbone == favourite}
        best, hits = without_peeking(able, contest.trials.folds)
        contest.honest[best] = hits  # the best of so many is flattered on the folds that chose it
        contest.best = contest.probe = best
        why = f"the best of {len(self.probed)} cheap ways on {len(self.trunks)} trunk{'s' * (len(self.trunks) > 1)}"
        self._tell("probes", contest.best, None, began, kept=True, why=why)

    def _tried(self, everywhere: Sequence[Way]) -> Iterator[Way]:
        """The cheap ways on all trunks, then the dearer ones on the best trunk. Raises UsageError: no time for one."""
        yield from everywhere
        if not self.probed and self.contest.left() > 0 and self.contest.notes:
            raise DataError(
                f"no way could be fitted: {self.contest.notes[-1]}", "look at the data, or choose another trunk"
            )
        if not self.probed:
            raise too_little(self.contest.clock, "one cheap way")
        if len(self.contest.trials.folds[0].train) > LARGE:
            self.contest.notes.append(f"{', '.join(ON_THE_BEST)}: left out, they are for up to {LARGE:,} samples")
            return
        yield from (Way(self._favourite(), name) for name in ON_THE_BEST)

    def _favourite(self) -> str:
        """The trunk whose probes are best on average. Few samples tell trunks apart badly: of those within one standard
        error of it, the one that the prior puts first, which is the larger one."""
        trials, found = self.contest.trials, {trunk: dict[tuple[str, str], Hits]() for trunk in self.trunks}
        for way in self.probed:
            found[way.backbone][way.strategy, way.features] = self.contest.hits(way)
        shared = set.intersection(*(set(one) for one in found.values()))  # a fair mean is over the same probes
        if not shared:
            return max(self.probed, key=self.contest.score).backbone
        hits = {trunk: mean([one[kind] for kind in sorted(shared)]) for trunk, one in found.items()}
        best = max(hits, key=lambda trunk: score(hits[trunk], trials.folds, "A"))
        ties = [trunk for trunk in hits if tied(hits[best], hits[trunk], trials.folds)]
        return max(ties, key=lambda trunk: (trials.prior(trunk), score(hits[trunk], trials.folds, "A")))

    def _controls(self) -> None:
        """What the best way has to beat, on the same folds. One that is better beyond noise is chosen in the end."""
        contest, trunk = self.contest, self.contest.best.backbone
        self.controls["majority"] = contest.trials.constant()
        for name, backbone in (("random frozen", untrained(trunk)), ("pixels", "pixels")):
            way, began = Way(backbone, "ridge"), time.monotonic()
            if contest.measure(way):
                self._control(name, way, began)
        began, within = time.monotonic(), min(SCRATCH * contest.clock.budget, contest.left())
        trainings = min(FIRST, len(contest.trials.folds))
        epochs, batch = contest.plan(trunk, trainings, within, SCRATCH_PASSES, 200)
        way = Way(untrained(trunk), f"full(epochs={epochs}, lr=0.003, head_lr=0.003)", batch_size=batch)
        won = contest.race("scratch", [way], within, SPLITS)
        if won or len(contest.hits(way)) > 1:  # two folds say little, but something
            self._control("scratch", way, began)
        else:
            contest.notes.append("training from scratch did not fit into the budget: its comparison is missing")

    def _control(self, name: str, way: Way, began: float) -> None:
        self.controls[name] = way
        self._tell(name, way, self.contest.gain(self.contest.best, way), began, why="control", control=True)

    # ------------------------------------------------------------------------------------------------------- the rungs

    def _ways(self, name: str, within: float) -> list[Way]:
        """What is tried on a rung, on each of the finalists."""
        forms = {"norms": ["norm_affine({start}, epochs={epochs})"],
                 "last stage": ["lp_ft({start}, last=1, epochs={epochs})"],
                 "all": ["discriminative({start}, epochs={epochs}, lr=0.003)"]}[name]  # fmt: skip
        trunks, made = self._finalists(), []
        for trunk in trunks:
            trainings = self.contest.trainings(len(trunks) * len(forms))
            epochs, batch = self.contest.plan(trunk, trainings, within)
            texts = [form.format(start=START, epochs=epochs) for form in forms]
            made += [Way(trunk, text, "last", ("l2_sp",), batch) for text in texts]
        return made

    def _finalists(self) -> list[str]:
        """The trunks with the best ways so far."""
        scores = {way: self.contest.score(way) for way in self.contest.trials.hits if way.backbone in self.trunks}
        best = {way.backbone: value for way, value in sorted(scores.items(), key=lambda pair: pair[1])}
        return sorted(best, key=lambda trunk: -best[trunk])[:FINALISTS]

    def _rung(self, name: str, within: float) -> bool:
        """Try one rung; whether the next one is worth trying."""
        contest, began, noted = self.contest, time.monotonic(), len(self.contest.notes)
        winner = contest.race(name, self._ways(name, within), within)
        if winner is None:
            why = "not measured: " + (
                contest.notes[-1] if len(contest.notes) > noted else "the budget does not allow it"
            )
            self._tell(name, None, None, began, why=why)
            return contest.left() > 0
        lead = contest.gain(winner, contest.best)
        self._climb(name, winner, lead, began)
        return lead.upper >= self.epsilon

    def _climb(self, name: str, way: Way, lead: Gain, began: float) -> None:
        kept = lead.real and self.contest.affordable(way)
        if kept:
            self.contest.best, why = way, "the gain is real"
        elif lead.real:
            why = "better, but training it on all samples does not fit into the budget"
        elif lead.upper < 0:
            why = "worse than what is kept"
        elif lead.upper < self.epsilon:
            why = f"at most {100 * lead.upper:.1f} points better: not worth it"
        else:
            why = "within noise: the cheaper way stays"
        self._tell(name, way, lead, began, kept=kept, why=why)

    def _averages(self) -> None:
        """Averages of weights that are at hand: a prediction each, no training."""
        if self.contest.trials.resumed:
            self.contest.notes.append("averages of weights were left out: those of an interrupted run are gone")
            return
        for name, find in (("wise", wise), ("soup", soup)):
            contest, began = self.contest, time.monotonic()
            found = find(contest.trials, contest.states, contest.left)
            if found is not None:
                contest.honest[found[0]] = found[1]
                self._climb(name, found[0], contest.gain(found[0], contest.best), began)

    def _against_controls(self) -> None:
        """Negative transfer: where something without pretrained weights is better, that is what is chosen."""
        for name in ("random frozen", "pixels", "scratch"):
            self._against(name, self.controls.get(name))

    def _against(self, name: str, way: Way | None) -> None:
        if way and (lead := self.contest.gain(way, self.contest.best)).real and self.contest.affordable(way):
            self.contest.best = way
            self._tell(name, way, lead, time.monotonic(), kept=True, why="the pretrained weights hurt here")

    def _tell(
        self,
        name: str,
        way: Way | None,
        lead: Gain | None,
        began: float,
        *,
        kept: bool = False,
        why: str = "",
        control: bool = False,
    ) -> None:
        score = self.contest.score(way, "B") if way else None
        folds = len(self.contest.hits(way)) if way else 0
        self.rungs.append(Rung(name, way, score, lead, folds, time.monotonic() - began, kept, why, control))
        tables.rung(self.contest.console, self.rungs[-1].json())


def untrained(text: str) -> str:
    """The same network with random weights."""
    return str(parse(text).with_options(pretrained=False))
