"""Labels to look at: those that are probably wrong, and samples without one that would teach the most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from graft import registry
from graft.checks._seen import HeldOut, Seen
from graft.data._sniff import open_data
from graft.errors import ResourceError
from graft.features import Feed
from graft.scoring import predict
from graft.selection import entropy, select
from graft.showing.athand import AtHand
from graft.types import Dataset, Sample, UnreadableSample

MOST = 300  # samples without a label that are looked at
CELLS = 20_000_000  # probabilities of all samples together, which the check takes seconds for
FEWEST = 4  # samples of a class, where not all are looked at


class Suspect(NamedTuple):
    """Row of the data set, and what a probe that was not fitted to it says: the class, and the probabilities of this
    class and of the given one."""

    row: int
    looks_like: str
    probability: float
    given_probability: float


class Suspects(NamedTuple):
    """The worst ones, and of how many samples they are."""

    found: list[Suspect]
    of: int


def affordable(samples: int, classes: int, most: int) -> int:
    """How many of the samples `suspects` may be asked about. Raises ResourceError for very many classes."""
    count = min(samples, most, CELLS // max(1, classes))
    if count < min(samples, FEWEST * classes):
        raise ResourceError(f"{classes:,} classes take too long", "graft check DATA looks for wrong labels, too")
    return count


def suspects(dataset: Dataset, features: NDArray[np.float32], seed: int, most: int, seconds: float = inf) -> Suspects:
    """At most `most` samples whose label the check label_errors doubts, in its order. With `seconds` the probe
    may judge a part of them, whole folds. Raises what the check raises."""
    seen = Seen(dataset, features, seed, seconds=seconds)
    doubted = [key for issue in registry.find("check", "label_errors")(seen) for key in issue.keys]
    held = seen.held_out
    if held is None:
        return Suspects([], len(dataset))
    places = {dataset.samples[row].key: place for place, row in enumerate(held.rows)}
    return Suspects([_suspect(held, places[key], dataset.classes) for key in doubted[:most]], len(held.rows))


def _suspect(held: HeldOut, place: int, classes: Sequence[str]) -> Suspect:
    said, given = held.said[place], int(held.truth[place])
    return Suspect(int(held.rows[place]), classes[int(said.argmax())], float(said.max()), float(said[given]))


# ------------------------------------------------------------------------------------------------------ what to label


class Candidates(NamedTuple):
    """Samples without a label, and those of them, the most useful first, that are worth one."""

    dataset: Dataset
    of: int
    rows: list[int]


def unlabelled(at: AtHand, most: int) -> Candidates | None:
    """By the final model, of samples that the data give without a label; None where there are none, or the task has no
    probabilities of classes. They are read as they were found, those that cannot be read left out."""
    keys = {key for issue in at.result["issues"] if issue["code"] == "unlabelled" for key in issue["keys"]}
    if not keys or at.task.kind != "class":
        return None
    opened = open_data(at.recipe.data)
    named = [sample for sample in opened.samples if sample.key in keys]
    picked = np.random.default_rng(at.seed).permutation(len(named))[:MOST]
    few = tuple(_readable(opened, [named[i] for i in np.sort(picked)]))
    feed = Feed(opened.replace(samples=few), at.model.backbone, device=at.train.device, needs=at.train.needs,
                targets=(), engine=at.train.engine)  # fmt: skip
    features = feed.pooled().numpy()
    unsure = entropy(predict(at.model, at.task, feed, at.stages).values.numpy())
    known = at.known[1].numpy()
    middle = known.mean(0)
    return Candidates(feed.dataset, len(named), select(features - middle, unsure, most, known - middle))


def _readable(dataset: Dataset, samples: Sequence[Sample]) -> Iterator[Sample]:
    for sample in samples:
        try:
            dataset.load(sample)
        except UnreadableSample:
            continue
        yield sample
