"""Labels that are probably wrong: confident learning on what a probe says of samples that it was not fitted to.

Northcutt, Jiang & Chuang (2021), "Confident learning", JAIR 70, as in cleanlab; ranked by the probability of the given
label. The probe is linear discriminant analysis on features of a trunk; copies and groups are held out together. How
many labels are wrong follows from what a wrong one is, a usual sample of another class: a quarter of such samples look
more like that class than three quarters of its own do. So four times their number is about that of the errors, and
where it falls far short of the contradictions these come of hard samples, not of wrong labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from graft.checks._seen import HeldOut, Rows, Seen
from graft.errors import MissingExtra
from graft.types import Issue, Sample, Text

SHARE, SURE = 0.35, 0.2  # of the contradictions that must be errors, for a warning: by the estimate, and surely
LEAST = 3  # samples that the estimate is made of
KNOWS, GUESSES = 0.5, 0.25  # of the way from the largest class to always right: for a warning, for a word at all
QUOTED = 70  # characters of a text


class Suspects(NamedTuple):
    """Positions (k,) in the held-out samples, the worst label first. `wrong`: whether they are more than hard ones."""

    order: Rows
    wrong: bool
    right: float  # rate of held-out samples on which the probe agrees with their labels


def label_errors(seen: Seen) -> Iterator[Issue]:
    """One finding with the suspected samples: "given ants, looks like bees (97 %)". Raises MissingExtra without
    cleanlab."""
    held = seen.held_out
    found = suspects(held) if held else None
    if held is None or found is None or not len(found.order):
        return
    names, samples = seen.dataset.classes, seen.dataset.samples
    details = tuple(f"given {names[held.truth[i]]}, looks like {names[held.said[i].argmax()]} "
                    f"({100 * held.said[i].max():.0f} %){_quoted(samples[held.rows[i]])}"
                    for i in found.order)  # fmt: skip
    keys, all_of = tuple(samples[held.rows[i]].key for i in found.order), f"of {len(held.rows):,} labels"
    if found.wrong:
        what = f"about {len(keys):,} {all_of} are probably wrong: these samples look like usual ones of another class"
        yield Issue("label-errors", "warning", what, keys, "look at them, the worst first, and correct them", details)
    else:
        what = f"{len(keys):,} {all_of} look wrong to a probe that agrees with {100 * found.right:.0f} % of all"
        yield Issue("label-errors", "note", what, keys, "have a look: wrong labels, or only hard samples", details)


def _quoted(sample: Sample) -> str:
    """The beginning of a text whose key only says its row."""
    if not isinstance(sample.source, Text):
        return ""
    words = " ".join(sample.source.text.split())
    return f': "{words if len(words) <= QUOTED else words[: QUOTED - 3] + "..."}"'


def suspects(held: HeldOut) -> Suspects:
    """Raises MissingExtra without cleanlab."""
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        raise MissingExtra("cleanlab", "trust") from None
    present, y = np.unique(held.truth, return_inverse=True)
    said = held.said[:, present].astype(np.float64) + 1e-12
    said /= said.sum(1, keepdims=True)
    confused: NDArray[np.bool_] = find_label_issues(y, said, filter_by="both", n_jobs=1)
    agrees = said.argmax(1) == y
    quarter, right = int((~agrees & _typical(said, agrees, 0.75)).sum()), float(agrees.mean())
    about, sure = 4 * quarter, 4 * (quarter - 1.28 * quarter**0.5)  # a count is Poisson: 90 % sure of so many
    usual = float(np.bincount(y).max() / len(y))
    knows = (right - usual) / (1 - usual)
    contradicted = int((~agrees).sum())
    wrong = knows >= KNOWS and quarter >= LEAST and about >= SHARE * contradicted and sure >= SURE * contradicted
    rows = np.flatnonzero(confused if wrong else confused & _typical(said, agrees, 0.5) & (knows >= GUESSES))
    order: Rows = rows[np.argsort(quality(held)[rows], kind="stable")]
    return Suspects(order[:about] if wrong else order, wrong, right)


def _typical(said: NDArray[np.float64], agrees: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """(n,) whether a sample looks at least as much like its likeliest class as a share of that class's own do."""
    top, best = said.argmax(1), said.max(1)
    own = {c: float(np.quantile(best[agrees & (top == c)], share)) for c in np.unique(top[agrees]).tolist()}
    return np.asarray(best >= np.array([own.get(c, np.inf) for c in top.tolist()]))


def quality(held: HeldOut) -> NDArray[np.float32]:
    """(n,) the probability of the given label: what the ranking goes by."""
    return held.said[np.arange(len(held.truth)), held.truth]
