"""The automatic policy: cheap probes on every trunk, controls, then rung by rung while the gain is real.

    probes      centroid, k-NN, ridge, logistic, ridge of all stages on every trunk; SVM and forest on the best one
    controls    the most frequent class, raw pixels or TF-IDF, random weights frozen, the same network from scratch
    contrastive sentence encoders with few labels: texts of one class are drawn together
    norms       scales and shifts of the normalisation layers, from the solved linear head
    last stage  LP-FT of the last stage, held near the pretrained weights (L2-SP)
    all         LP-FT of everything, slower towards the input
    averages    part of the way back to the pretrained weights (WiSE-FT), and the greedy soup of what was trained

Labels that are no classes have no probes: there the cheap way is a head that is trained on the frozen trunk.

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
from graft.trials import SCRATCH_PASSES, Way, batch_for, epochs_for
from graft.types import Json

EVERYWHERE = ("centroid", "knn", "ridge", "logistic")  # on every trunk; cheapest first, and so they win ties
FAST, LARGE = ("centroid", "ridge", "logistic"), 5_000  # what larger data get: they read it block by block
ON_THE_BEST = ("svm_linear", "forest", "svm_rbf")
FINALISTS = 2  # trunks that are fine-tuned
START = "start='ridge'"  # the closed form that heads begin as: LP-FT asks for a good one, not for the best
FEW_SHOT = 64  # samples of a class, on average, up to which pairs of texts teach a sentence encoder something
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
    metric: str = "accuracy"

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
        for name, share in self._planned():
            idle = 0 if self._rung(name, share * self.contest.left()) else idle + 1
            if idle == 2:
                break
        self._averages()
        self._against_controls()
        return self.contest.best

    def _planned(self) -> list[tuple[str, float]]:
        """Rungs, and the share of what is left of the budget that each may take."""
        trials = self.contest.trials
        rungs = [("norms", 0.2)] if self.probing else []
        if self.probing and trials.pool.modality == "text":
            few = len(trials.pool) <= FEW_SHOT * len(trials.pool.classes)
            rungs = [("contrastive", 0.4)] if few else []
        return [*rungs, ("last stage", 0.3), ("all", 1.0)]

    def cheapest(self) -> Way:
        """The first way of the ladder, in the order of cost, that the best measured way does not beat beyond noise."""
        climbed = [rung.way for rung in self.rungs if rung.way and not rung.control]
        top = max(climbed, key=lambda way: self.contest.score(way, "B"))
        return next(way for way in (*self.probed, *climbed) if not self.contest.gain(top, way).real)

    # ---------------------------------------------------------------------------------------------- probes, controls

    def _probes(self) -> None:
        began, contest = time.monotonic(), self.contest
        self.trunks = contest.open(sorted(self.trunks, key=contest.trials.parameters))  # the cheaper one wins ties
        everywhere = self._everywhere()
        with contest.console.progress("probes", len(everywhere) + len(ON_THE_BEST) * self.probing) as bar:
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

    def _everywhere(self) -> list[Way]:
        """The cheap ways, on every trunk."""
        samples = len(self.contest.trials.folds[0].train)
        if not self.probing:
            return [Way(trunk, f"linear_probe(epochs={epochs_for(samples)})") for trunk in self.trunks]
        names = FAST if samples > LARGE else EVERYWHERE
        return [*(Way(trunk, name) for name in names for trunk in self.trunks),
                *(Way(trunk, "ridge", "stages") for trunk in self.trunks)]  # fmt: skip

    @property
    def probing(self) -> bool:
        """Whether there are classes, which is what probes can be fitted to."""
        return self.contest.trials.pool.kind == "class"

    def _tried(self, everywhere: Sequence[Way]) -> Iterator[Way]:
        """The cheap ways on all trunks, then the dearer ones on the best trunk. Raises UsageError: no time for one."""
        yield from everywhere
        if not self.probed and self.contest.left() > 0 and self.contest.notes:
            raise DataError(
                f"no way could be fitted: {self.contest.notes[-1]}", "look at the data, or choose another trunk"
            )
        if not self.probed:
            raise too_little(self.contest.clock, "one cheap way")
        if not self.probing:
            return
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
        constant = contest.trials.constant()
        self.controls |= {"majority": constant} if constant else {}
        for name, way in self._plain(trunk):
            began = time.monotonic()
            if contest.measure(way):
                self._control(name, way, began)
        began, within = time.monotonic(), min(SCRATCH * contest.clock.budget, contest.left())
        trainings = min(FIRST, len(contest.trials.folds))
        epochs, batch = contest.plan(trunk, trainings, within, SCRATCH_PASSES, 200)
        rate = f"{3 * contest.trials.trunk(trunk).backbone.info.lr:g}"
        way = Way(untrained(trunk), f"full(epochs={epochs}, lr={rate}, head_lr={rate})", batch_size=batch)
        won = contest.race("scratch", [way], within, SPLITS)
        if won or len(contest.hits(way)) > 1:  # two folds say little, but something
            self._control("scratch", way, began)
        else:
            contest.notes.append("training from scratch did not fit into the budget: its comparison is missing")

    def _plain(self, trunk: str) -> list[tuple[str, Way]]:
        """Controls without training of a trunk: its random weights, and what needs no network at all."""
        cheap = "ridge" if self.probing else self.probed[0].strategy
        pool = self.contest.trials.pool
        found = [("random frozen", Way(untrained(trunk), cheap))]
        if pool.modality == "image":
            found.append(("pixels", Way("pixels", cheap)))
        elif pool.modality == "audio":
            found += [("mfcc", Way("mfcc", cheap))] if self.contest.trials.task.needs == "pooled" else []
        elif self.contest.trials.task.needs == "pooled":
            found.append(("tfidf", Way("tfidf", "logistic(standardize=False)" if self.probing else cheap)))
        return found

    def _control(self, name: str, way: Way, began: float) -> None:
        self.controls[name] = way
        self._tell(name, way, self.contest.gain(self.contest.best, way), began, why="control", control=True)

    # ------------------------------------------------------------------------------------------------------- the rungs

    def _ways(self, name: str, within: float) -> list[Way]:
        """What is tried on a rung, on each of the finalists."""
        forms = {"norms": ["norm_affine({start}, epochs={epochs})"],
                 "contrastive": ["contrastive"],
                 "last stage": ["lp_ft({start}, last=1, epochs={epochs})"],
                 "all": ["discriminative({start}, epochs={epochs}, lr={rate})"]}[name]  # fmt: skip
        trunks, made = self._finalists(), []
        for trunk in trunks:
            trainings = self.contest.trainings(len(trunks) * len(forms))
            epochs, batch = self.contest.plan(trunk, trainings, within)
            rate = f"{3 * self.contest.trials.trunk(trunk).backbone.info.lr:g}"
            start = START if self.probing else f"head_epochs={epochs}"
            if name == "contrastive":  # it learns from the other samples of its batch
                batch = batch_for(2 * len(self.contest.trials.folds[0].train), self.contest.trials.recipe.batch_size)
            texts = [form.format(start=start, epochs=epochs, rate=rate) for form in forms]
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
            why = "at most so little better that it is not worth it"
        else:
            why = "within noise: the cheaper way stays"
        self._tell(name, way, lead, began, kept=kept, why=why)

    def _averages(self) -> None:
        """Averages of weights that are at hand: a prediction each, no training."""
        if not self.probing:
            return
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
        for name in ("random frozen", "pixels", "tfidf", "scratch"):
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
        metric = self.contest.trials.task.metric
        self.rungs.append(Rung(name, way, score, lead, folds, time.monotonic() - began, kept, why, control, metric))
        tables.rung(self.contest.console, self.rungs[-1].json())


def untrained(text: str) -> str:
    """The same network with random weights."""
    return str(parse(text).with_options(pretrained=False))
