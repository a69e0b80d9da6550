"""The verdict in three lines, from the numbers of a run; and what limits it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from graft.console import GRAVE, RATES, Figure, figure
from graft.intervals import wilson
from graft.reporting._facts import Facts
from graft.reporting._words import Words, amount, count, missing
from graft.types import Json

GUESSES = ("majority", "mean", "null")  # baselines that have learned nothing of the samples


class Line(NamedTuple):
    """What is asked, the answer, and what belongs to it; `mark` is + where it is good news, - where bad, else ?."""

    question: str
    answer: str
    more: list[str]
    mark: str = ""


def verdict(facts: Facts, w: Words) -> Json:
    if facts.adapted is not None or "gain" in facts.result:
        lines = _adapted(facts, w)
    elif facts.ladder:
        lines = _climbed(facts, w, facts.ladder["verdict"])
    else:
        lines = _named(facts, w)
    return {"lines": lines, "caveats": _caveats(facts, w)}


# ------------------------------------------------------------------------------------------------- after the ladder


def _climbed(facts: Facts, w: Words, said: Json) -> list[Line]:
    word = said.get("transfer", "unknown")
    marks = {"helps": "+", "hurts": "-"}
    more = [w(f"transfer.{word}.more", chosen=said["chosen"])] if w.maybe(f"transfer.{word}.more") else []
    helped = Line(w("ask.transfer"), w.maybe(f"transfer.{word}", word), more, marks.get(word, "?"))
    return [helped, _by_how_much(facts, w, said), _which(facts, w, said)]


def _by_how_much(facts: Facts, w: Words, said: Json) -> Line:
    """Over training from scratch, or else over the first control there is; then over all others."""
    metric, over = facts.metric, said.get("over") or {}
    order = [name for name in ("scratch", "random frozen", "pixels", "tfidf", "mfcc", "majority") if name in over]
    if not order:
        return Line(w("ask.amount"), w("not_known"), [])
    first, *rest = order
    answer = w("over", gain=w.gain(over[first], metric), metric=w.metric(metric), control=control(first, w))
    others = "; ".join(w("over.short", gain=w.gain(over[name], metric), control=control(name, w)) for name in rest)
    more = [noise(over[first], w)] + ([w("also", others=others)] if others else [])
    return Line(w("ask.amount"), answer, more)


def noise(gain: Mapping[str, Any], w: Words) -> str:
    if not gain.get("folds", 1) or missing(gain.get("low")):
        return w("noise.unknown")
    return w("noise.beyond" if gain["low"] > 0 else "noise.below" if gain["high"] < 0 else "noise.within")


def control(name: str, w: Words) -> str:
    return w.maybe(f"control.{name}", name)


def _which(facts: Facts, w: Words, said: Json) -> Line:
    """The way that was chosen with its score, the cheapest within noise, and whether training more would be better."""
    metric = facts.metric
    answer = f"{said['chosen']}: {w.metric(metric)} {amount(metric, said.get('score'))} ({w.told(said['measured_on'])})"
    if facts.scores:
        answer = f"{said['chosen']}: {score(facts, w)}"
    cheapest = said.get("cheapest_within_noise")
    more = [w("cheapest.same") if cheapest == said["chosen"] else w("cheapest", way=cheapest)] if cheapest else []
    if tuned := said.get("fine_tuning"):
        gained = w.gain(tuned, metric)
        more.append(w("tuning", way=tuned["way"], gain=gained, noise=noise(tuned, w)))
    return Line(w("ask.way"), answer, more)


def score(facts: Facts, w: Words) -> str:
    """ "accuracy 82.4 % [75.6, 87.5] on 153 samples of the sealed test part"."""
    found = w.figure(facts.metric, facts.scores.get(facts.metric))
    part = w(f"part.{facts.part}", n=count(facts.scored))
    return w("score.on", metric=w.metric(facts.metric), figure=found, part=part)


# ------------------------------------------------------------------------------------------------- without a ladder


def _named(facts: Facts, w: Words) -> list[Line]:
    baselines = facts.result.get("baselines") or {}
    guess = next((name for name in (*GUESSES, *baselines) if name in baselines), None)
    told = [
        w(
            "baseline.is.caption",
            name=baseline(facts, name, w),
            figure=w.figure(facts.metric, figures.get(facts.metric)),
        )
        for name, figures in baselines.items()
    ]
    if facts.looks:
        return [
            _learned(facts, w),
            Line(w("ask.score"), up(score(facts, w)), _chance(facts, w)),
            _not_climbed(facts, w),
        ]
    return [_better(facts, w, guess), Line(w("ask.score"), up(score(facts, w)), told), _not_climbed(facts, w)]


def _learned(facts: Facts, w: Words) -> Line:
    """Of a trunk that learned without labels: what those say that it has not seen, and whether its features differ."""
    first, last = facts.looks[0], facts.looks[-1]
    collapsed = any(issue.get("code") == "collapsed" and issue.get("severity") == "error" for issue in facts.issues)
    ranks = {when: amount("rank", look.get("rank")) for when, look in (("before", first), ("after", last))}
    more = [w("watch.spread", of=last.get("of", "?"), **ranks)]
    if missing(last.get("knn")):
        answer = w("watch.collapsed" if collapsed else "watch.unlabelled")
        return Line(w("ask.learned"), answer, more, "-" if collapsed else "?")
    before, after = (_share(look) for look in (first, last))
    guess = amount("accuracy", last.get("majority"))
    told = w("watch.score", before=before, after=after, guess=guess, n=count(last.get("queries") or 0))
    answer = w("watch.collapsed") if collapsed else w("watch.knn", after=after)
    better = not missing(first.get("knn")) and last["knn"] > max(first["knn"], last.get("majority") or 0.0)
    return Line(w("ask.learned"), answer, [told, *more], "-" if collapsed else "+" if better else "?")


def _share(look: Json) -> str:
    """ "82.0 % [69.2, 90.2]"."""
    right, asked = float("nan") if missing(look.get("knn")) else float(look["knn"]), look.get("queries") or 0
    if not asked or not 0 <= right <= 1:
        return "–"
    return figure("accuracy", Figure(*wilson(right * asked, asked)[:3]))


def _chance(facts: Facts, w: Words) -> list[str]:
    chance = facts.report.get("chance")
    return [] if missing(chance) else [w("guess.chance", chance=amount(facts.metric, chance))]


def _better(facts: Facts, w: Words, guess: str | None) -> Line:
    """By the difference in pairs, on the same samples; of older runs by intervals that do not overlap."""
    ours = facts.scores.get(facts.metric)
    gain = (facts.result.get("over_baselines") or {}).get(guess)
    if gain and ours:
        word = "yes" if gain["low"] > 0 else "no" if gain["high"] < 0 else "unclear"
        name = baseline(facts, str(guess), w)
        more = w("guess.paired", gain=w.gain(gain, facts.metric), name=name)
        return Line(w("ask.guess"), w(f"guess.{word}"), [more, *_beaten(facts, w)], MARKS.get(word, "?"))
    chance = facts.report.get("chance")
    if guess is None and ours and not missing(chance):
        word = "yes" if ours["low"] > chance else "no" if ours["high"] < chance else "unclear"
        return Line(w("ask.guess"), w(f"guess.{word}"), _chance(facts, w), MARKS.get(word, "?"))
    if guess is None or not ours:
        why = "guess.none" if facts.pretext else "guess.off"
        return Line(w("ask.guess"), w("not_measured"), [w(why)], "?")
    theirs = facts.result["baselines"][guess].get(facts.metric) or {"low": ours["high"], "high": ours["low"]}
    word = "yes" if ours["low"] > theirs["high"] else "no" if ours["high"] < theirs["low"] else "unclear"
    more = w(f"guess.{word}.more", name=baseline(facts, guess, w))
    return Line(w("ask.guess"), w(f"guess.{word}"), [more], MARKS.get(word, "?"))


MARKS = {"yes": "+", "no": "-"}


def _beaten(facts: Facts, w: Words) -> list[str]:
    """A baseline other than guessing that this run is not better than, beyond noise."""
    rest = {name: gain for name, gain in (facts.result.get("over_baselines") or {}).items() if name not in GUESSES}
    return [w("guess.beaten", name=baseline(facts, name, w), gain=w.gain(gain, facts.metric))
            for name, gain in rest.items() if gain["low"] <= 0]  # fmt: skip


def baseline(facts: Facts, name: str, w: Words) -> str:
    kind = facts.result.get("task", "").partition("(")[0]
    return w.maybe(f"baseline.{name}.{kind}") or w.maybe(f"baseline.{name}", name)


def _not_climbed(facts: Facts, w: Words) -> Line:
    way = w("way", strategy=facts.result.get("strategy", "?"), backbone=facts.result.get("backbone", "?"))
    if facts.pretext:
        return Line(w("ask.transfer"), w("not_measured"), [w("pretext.more", way=way, run=facts.folder)], "?")
    if "pretrained=False" in str(facts.result.get("backbone", "")):
        return Line(w("ask.transfer"), w("not_measured"), [w("from_scratch.more", run=facts.folder)], "?")
    return Line(w("ask.transfer"), w("not_measured"), [w("named.more", way=way)], "?")


# ------------------------------------------------------------------------------------------------------ adapted runs


def _adapted(facts: Facts, w: Words) -> list[Line]:
    result, about = facts.result, facts.adapted or facts.result.get("adapted_from") or {}
    word, metric = result.get("word", "unknown"), facts.metric
    helped = Line(w("ask.adapted"), w.maybe(f"adapted.{word}", word), [],
                  {"helps": "+", "hurts": "-"}.get(word, "?"))  # fmt: skip
    amount_ = Line(w("ask.amount"), w("not_measured"), [w("adapted.unscored")])
    if result.get("gain"):
        more = [noise(result["gain"], w), w("adapted.from_to", before=w.figure(metric, result.get("before")),
                                            after=w.figure(metric, result.get("after")),
                                            on=w.told(result.get("measured_on", "")))]  # fmt: skip
        amount_ = Line(
            w("ask.amount"), w("gain.of", gain=w.gain(result["gain"], metric), metric=w.metric(metric)), more
        )
    used = w("labels.used" if about.get("labels_used") else "labels.unused")
    done = Line(w("ask.done"), w("adapted.by", method=about.get("method", "?"), n=count(about.get("samples", 0)),
                                 data=about.get("data", "?")),
                [used, w("adapted.parent", parent=about.get("parent", "?"))])  # fmt: skip
    return [helped, amount_, done]


# ----------------------------------------------------------------------------------------------------------- caveats


def _caveats(facts: Facts, w: Words) -> list[str]:
    """What a reader must know before relying on it."""
    found = []
    if "test" in facts.result and not facts.result["test"]:
        found.append(w("caveat.unsealed"))
    if len(facts.openings) > 1:
        found.append(w("caveat.openings", n=len(facts.openings)))
    worst = [issue for issue in facts.issues if issue.get("severity") in ("error", "warning")]
    if worst:
        grave = sorted((one for one in worst if one.get("code") in GRAVE), key=lambda one: GRAVE.index(one["code"]))
        found += [_named_issue(issue, w) for issue in grave[:3]]
        found.append(w("caveat.issues", n=len(worst)))
    over = ((facts.ladder or {}).get("verdict") or {}).get("over") or {}
    if "majority" in over and over["majority"]["low"] <= 0:
        found.append(w("caveat.nothing", control=control("majority", w)))
    found += [up(w.told(note)) for note in ((facts.ladder or {}).get("verdict") or {}).get("notes", [])]
    return found


def _named_issue(issue: Json, w: Words) -> str:
    """A finding that the score means little with, by its name."""
    title = w.maybe(f"issue.{issue['code']}", issue["code"].replace("-", " "))
    return w("caveat.issue", title=title, what=str(issue.get("what", "")))


def up(text: str) -> str:
    return text[:1].upper() + text[1:]


def rate(metric: str) -> bool:
    return metric.startswith(RATES)
