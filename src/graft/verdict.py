"""Did transfer help, by how much, is that beyond noise, and which is the cheapest way within noise?

All from paired differences on the same folds, or on the half of the validation part that chose nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from graft.console import Console
from graft.errors import DataError, ResourceError, UsageError
from graft.ladder import Ladder, Rung
from graft.paired import Gain, gain, score
from graft.spec import parse
from graft.tables import amount, at_least, points
from graft.trials import Trials, Way
from graft.types import Json

WORDS = {"helps": "transfer helps", "hurts": "transfer hurts", "unclear": "it cannot be told whether transfer helps",
         "unknown": "whether transfer helps was not measured"}  # fmt: skip
TUNED = ("contrastive", "norms", "last stage", "all", "wise", "soup")
CONTROLS = {"random frozen": "random frozen weights", "pixels": "raw pixels", "tfidf": "TF-IDF + a linear head",
            "mfcc": "MFCC statistics + the same probe", "majority": "{constant}"}  # fmt: skip
CONSTANT = {"class": "the most frequent class", "labels": "the most frequent labels", "number": "the mean",
            "tags": "no entity at all", "answers": "no answer at all",
            "transcript": "the most frequent transcript"}  # fmt: skip


def verdict(ladder: Ladder) -> Json:
    """The answers as JSON; `sentences` say the same in words."""
    contest, transfer = ladder.contest, _best_transfer(ladder)
    over = {name: contest.gain(transfer, way) for name, way in ladder.controls.items()}
    word, tuned = _word(over.get("scratch"), contest.trials.pretrained(contest.best)), _tuning(ladder)
    return {
        "transfer": word,
        "chosen": str(contest.best),
        "metric": contest.trials.task.metric,
        "score": contest.said,
        "over": {name: found._asdict() for name, found in over.items()},
        "cheapest_within_noise": str(ladder.cheapest()),
        "fine_tuning": {"way": str(tuned[0].way), **tuned[1]._asdict()} if tuned else None,
        "measured_on": contest.measured_on,
        "notes": [*contest.notes, *_too_slow(contest.slow)],
        "sentences": _sentences(word, over, ladder, tuned),
    }


def _best_transfer(ladder: Ladder) -> Way:
    """What was kept last of the ways with pretrained weights; the probes always are."""
    trials = ladder.contest.trials
    kept = [rung.way for rung in ladder.rungs if rung.kept and rung.way and trials.pretrained(rung.way)]
    if kept:
        return kept[-1]
    probed = [way for way in ladder.probed if trials.pretrained(way)]
    return max(probed, key=ladder.contest.score, default=ladder.contest.best)


def _word(over_scratch: Gain | None, transferred: bool) -> str:
    if not transferred:
        return "hurts"  # something without pretrained weights was better, and was chosen
    if over_scratch is None:
        return "unknown"
    return "helps" if over_scratch.low > 0 else "unclear"


def _tuning(ladder: Ladder) -> tuple[Rung, Gain] | None:
    """The best fine-tuned rung, and its gain over the best probe."""
    tuned = [rung for rung in ladder.rungs if rung.way and rung.name in TUNED]
    best = max(tuned, key=lambda rung: rung.score or 0.0, default=None)
    return (best, ladder.contest.gain(best.way, ladder.contest.probe)) if best and best.way else None


def _sentences(word: str, over: dict[str, Gain], ladder: Ladder, tuned: tuple[Rung, Gain] | None) -> list[str]:
    contest, metric = ladder.contest, ladder.contest.trials.task.metric
    constant = CONSTANT[contest.trials.pool.kind]
    said = [WORDS[word] + (_control(ladder) if word == "hurts" else _over_scratch(over, ladder))]
    beaten = {name: words.format(constant=constant) for name, words in CONTROLS.items() if name in over}
    said += ["; ".join(f"{points(over[name]._asdict(), metric)} over {words}" for name, words in beaten.items())]
    if "majority" in over and over["majority"].low <= 0:
        said.append(f"nothing that was tried is better than {constant} beyond noise: look at the data")
    said.append(f"chosen: {contest.best}, {amount(contest.said, metric)} ({contest.measured_on})")
    said.append(f"the cheapest way within noise is {ladder.cheapest()}")
    if tuned:
        rung, found = tuned
        noise = at_least(found._asdict(), metric) if found.real else "" if found.high < 0 else ", within noise"
        gained = points(found._asdict(), metric)
        said.append(f"fine-tuning ({rung.name}) adds {gained} to the best way without it{noise}")
    return said


def _control(ladder: Ladder) -> str:
    """Which way without pretrained weights was chosen, and what it is better by."""
    best, transfer = ladder.contest.best, _best_transfer(ladder)
    lead = ladder.contest.gain(best, transfer)._asdict()
    return f": {best} is better than {transfer} by {points(lead, ladder.contest.trials.task.metric)}"


def _over_scratch(over: dict[str, Gain], ladder: Ladder) -> str:
    if "scratch" not in over:
        return ""
    epochs = parse(ladder.controls["scratch"].strategy).options["epochs"]
    lead = points(over["scratch"]._asdict(), ladder.contest.trials.task.metric)
    return f": {lead} over the same network trained from scratch, {epochs} epochs"


def _too_slow(ways: list[str]) -> list[str]:
    return [f"left out, as they take too long for this budget: {', '.join(ways)}"] if ways else []


def compared(trials: Trials, ways: Sequence[Way], console: Console) -> list[Json]:
    """Measure every way on every fold; rows with the paired difference from the best, the best first.

    A way that cannot be measured is a row with its `error`, at the end. Raises DataError when none can be.
    """
    failed: dict[Way, str] = {}
    with console.phase("trials", len(ways), "ways") as bar:
        for number, way in enumerate(ways):
            try:
                for k in trials.missing(way):
                    trials.measure(way, k)
            except (UsageError, DataError, ResourceError) as error:  # such as norm_affine on a trunk without norms
                failed[way] = error.what
            bar(number + 1, str(way))
    done = [way for way in ways if way not in failed]
    if not done:
        raise DataError(f"no way could be measured: {failed[ways[0]]}", "look at the data, or name other ways")
    best = max(done, key=lambda way: score(trials.hits[way], trials.folds, "A"))
    rows = sorted((_compared_row(trials, way, best) for way in done), key=lambda row: -float(row["score"]))
    return [*rows, *({**_named(way), "error": why} for way, why in failed.items())]


def _compared_row(trials: Trials, way: Way, best: Way) -> Json:
    found = None if way == best else gain(trials.hits[way], trials.hits[best], trials.folds)
    return _named(way) | {
        "score": score(trials.hits[way], trials.folds),
        "metric": trials.task.metric,
        "gain": found._asdict() if found else None,
        "within_noise": found is None or found.high >= 0,
        "folds": len(trials.hits[way]),
        "seconds": round(trials.seconds[way], 2),
    }


def _named(way: Way) -> Json:
    text = f"{way.strategy}{' of all stages' * (way.features == 'stages')} on {way.backbone}"
    return {"way": text, "strategy": way.strategy, "backbone": way.backbone, "features": way.features}
