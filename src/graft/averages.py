"""Ways that need no training of their own: averages of the weights that the ladder's trainings left at hand.

The step of WiSE-FT and the ingredients of a soup are choices, too. So such a way is said to score on a fold
what the choice made on the other folds scores there.
"""

from __future__ import annotations

from collections.abc import Callable

from graft import parts
from graft.paired import Hits, score, without_peeking
from graft.spec import parse
from graft.trials import Trials, Way
from graft.types import Model

States = dict[tuple[Way, int], parts.State]  # the weights of a way on a fold
Left = Callable[[], float]  # seconds that are left
STEPS = tuple(round(0.1 * step, 1) for step in range(1, 10))


def wise(trials: Trials, states: States, left: Left) -> tuple[Way, Hits] | None:
    """Nine steps between the solved head and the best network that was trained whole; None: no such, or no time."""
    tuned = next((way for way in _complete(trials, states) if parse(way.strategy).name == "discriminative"), None)
    if tuned is None:
        return None
    options = {key: value for key, value in parse(tuned.strategy).options.items() if key in ("epochs", "lr", "start")}
    found: dict[Way, Hits] = {}
    for alpha in STEPS:
        text = str(parse("wise_ft").with_options(alpha=alpha, **options))
        way = Way(tuned.backbone, text, "last", tuned.terms, tuned.batch_size)
        for k in trials.missing(way):
            if left() < 0:
                return None
            ends = [_start(trials, states, tuned, k), states[tuned, k]]
            trials.weights(way, k, parts.average(ends, [1 - alpha, alpha]), [tuned])
        found[way] = trials.hits[way]
    return without_peeking(found, trials.folds)


def soup(trials: Trials, states: States, left: Left) -> tuple[Way, Hits] | None:
    """Greedy: the best trained network, then each further one of the same trunk that does not make it worse."""
    ready = _complete(trials, states)
    ready = [way for way in ready if way.backbone == ready[0].backbone]
    found: dict[Way, Hits] = {}
    chosen = ready[:1]
    for way in ready[1:]:
        mixed = _mix(trials, states, [*chosen, way], left)
        if mixed is None:
            return None
        found[mixed] = trials.hits[mixed]
        before = chosen[0] if len(chosen) == 1 else _mixed(chosen)
        if score(trials.hits[mixed], trials.folds, "A") >= score(trials.hits[before], trials.folds, "A"):
            chosen.append(way)
    return without_peeking(found, trials.folds) if found else None


def kept(model: Model) -> parts.State:
    """The weights as they are now, in the memory of the processor: all folds of a GPU's would not fit there."""
    return {name: tensor.cpu() for name, tensor in parts.snapshot(model).items()}


def _complete(trials: Trials, states: States) -> list[Way]:
    """Trained ways whose weights are at hand for every fold, the best first."""
    ways = {way for way, _ in states if parse(way.strategy).name != "solved"}
    whole = [way for way in ways if all((way, k) in states for k in range(len(trials.folds)))]
    return sorted(whole, key=lambda way: (-score(trials.hits[way], trials.folds, "A"), str(way), way.strategy))


def _start(trials: Trials, states: States, way: Way, fold: int) -> parts.State:
    """The trunk as it came with the solved head, by the same probe: where the training on this fold began."""
    origin = Way(way.backbone, str(parse("solved").with_options(probe=parse(way.strategy).options["start"])))
    if (origin, fold) not in states:
        states[origin, fold] = kept(trials.train(origin, fold))
    return states[origin, fold]


def _mix(trials: Trials, states: States, ways: list[Way], left: Left) -> Way | None:
    mixed = _mixed(ways)
    for k in trials.missing(mixed):
        if left() < 0:
            return None
        trials.weights(mixed, k, parts.average([states[way, k] for way in ways]), ways)
    return mixed


def _mixed(ways: list[Way]) -> Way:
    text = str(parse("soup").with_options(ingredients=tuple(way.strategy for way in ways)))
    return Way(ways[0].backbone, text, "last", ways[-1].terms, ways[0].batch_size)
