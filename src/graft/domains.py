"""The samples of an adaptation: those that the run has learned from, as far as they are still there, and the new ones
in batches without padding and in folds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from graft import run
from graft.adapted import ABOUT
from graft.data._sniff import open_data
from graft.errors import GraftError
from graft.features import Feed
from graft.order import split
from graft.store import read_json
from graft.types import Dataset, Inputs, Sample, UnreadableSample

BATCH, SOURCE = 64, 2000  # samples at a time; of the run's own, so many tell their moments


def source_of(loaded: run.Loaded) -> Dataset | None:
    """At most SOURCE of the samples that a run has learned from, the same bytes as then; None: half of them are gone.

    Of a run that was adapted itself: those that it was adapted to.
    """
    lines, data = run.splits(loaded.folder), loaded.recipe.data
    if (loaded.folder / ABOUT).exists():
        about = read_json(loaded.folder / ABOUT)
        lines, data = lines[-about["samples"] :], about["data"]
    if not lines:  # a run from the hub: what its recipe names is nothing of ours
        return None
    try:
        opened = open_data(data)
    except GraftError:
        return None
    learned = {(line["key"], line["sha256"]) for line in lines if line["split"] == "train"}
    keys = {key for key, _ in learned}
    samples = [sample for sample in opened.samples if sample.key in keys]
    samples = samples[:: max(1, -(-len(samples) // SOURCE))]
    kept = tuple(sample for sample in samples if (sample.key, _digest(opened, sample)) in learned)
    return opened.replace(samples=kept, kind="none") if 2 * len(kept) > min(SOURCE, len(keys)) else None


def _digest(dataset: Dataset, sample: Sample) -> str:
    try:
        return hashlib.sha256(dataset.read_bytes(sample)).hexdigest()
    except UnreadableSample:
        return ""


def batches(feed: Feed, stage: int) -> Iterator[Inputs]:
    """All samples as a stage is given them; sequences of one length at a time, so that nothing is padded."""
    feed.open(stage)
    for rows in alike(feed.sizes(), len(feed), feed.most):
        yield feed.batch(rows, stage)


def alike(sizes: Tensor | None, count: int, most: int | None = None) -> list[Tensor]:
    if sizes is None:
        return list(torch.arange(count).split(BATCH))
    same = ((sizes == size).nonzero()[:, 0] for size in sizes.unique())
    return [few for rows in same for few in split(rows, BATCH, sizes, most)]


def by_content(dataset: Dataset) -> Dataset:
    """Folds keep the data's groups apart; where all is one group, such as one new speaker, copies alone stay together:
    those of equal content, and all that the audit calls near copies."""
    if len({sample.own_group for sample in dataset.samples} - {None}) != 1:
        return dataset
    near = {key for issue in dataset.issues if issue.code == "near-copies" for key in issue.keys}
    samples = (replace(s, group="copies" if s.key in near else s.digest) for s in dataset.samples)
    return dataset.replace(samples=tuple(samples))
