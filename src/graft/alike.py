"""The training samples that a run has learned from, found again where they lie, with what its trunk makes of them."""

from __future__ import annotations

import hashlib
import random
import time
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from graft import run
from graft.cache import Cache
from graft.data._sniff import exists, open_data, without_options
from graft.errors import DataError, GraftError
from graft.features import Feed
from graft.types import Dataset, Sample, UnreadableSample

BLOCK, PATIENCE = 500, 20.0  # training samples at a time; seconds that they may take to be found, and again to be run
LOCAL = ("digits",)  # readers without a path that fetch nothing: to be explained a run needs no network


class Near(NamedTuple):
    """A training sample that is alike, and its cosine."""

    sample: Sample
    cosine: float


class Known(NamedTuple):
    """Training samples that are where they were, and their features (N, D); `note` says what is not so."""

    dataset: Dataset | None
    features: Tensor | None
    note: str = ""


def known_to(loaded: run.Loaded, feed: Feed, own: str) -> Known:
    """The training part, found by content in the run's splits; as much as there is time for. The sample itself is
    left out.

    Of a run that lists no samples, as one from the hub, no file is opened: its author has written the path.
    """
    digests = {line["sha256"] for line in run.splits(loaded.folder) if line["split"] not in ("valid", "test")}
    if not digests:
        return _none("a run from the hub does not list its samples")
    name = without_options(loaded.recipe.data)
    try:
        if not exists(name) and name not in LOCAL:
            raise DataError(f"there is no {name}")
        opened = open_data(loaded.recipe.data)
    except GraftError:
        return _none(f"{name} is not where it was")
    read = _read(opened)
    kept = sorted((one for one in read if one.digest in digests - {own}), key=lambda one: one.digest)
    if not kept and len(read) < len(opened):
        return _none(f"none was among the {len(read):,} of {len(opened):,} samples that there was time to read")
    if not kept:
        return _none(f"those in {name} are others than the run was fitted to")
    whole, none = opened.replace(samples=tuple(kept)), torch.zeros(len(kept))
    bank = _features(Feed(whole, loaded.model.backbone, device=feed.device, needs=feed.needs, targets=none,
                          engine=feed.engine, cache=Cache.default()))  # fmt: skip
    there = len(kept) if len(read) == len(opened) else max(len(kept), len(digests - {own}))
    notes = ["the file itself is a training sample"] * (own in digests)
    notes += [f"among {len(bank):,} of {there:,} training samples"] * (len(bank) < there)
    return Known(whole.replace(samples=tuple(kept[: len(bank)])), bank, ", ".join(notes))


def _none(why: str) -> Known:
    return Known(None, None, f"no training samples are shown: {why}")


def _features(feed: Feed) -> Tensor:
    """(n, D) of the first n samples, which are sorted by digest: a random choice, if it is not all of them."""
    made, began = [], time.monotonic()
    for rows in torch.arange(len(feed)).split(BLOCK):
        made.append(feed.part(rows, feed.backbone, needs=feed.needs).pooled())
        if time.monotonic() - began > PATIENCE:
            break
    return torch.cat(made)


def _read(dataset: Dataset) -> list[Sample]:
    """Samples with their digests, in an order that does not depend on their names, until there is no more time."""
    read, began = list[Sample](), time.monotonic()
    for sample in random.Random(0).sample(dataset.samples, len(dataset)):  # noqa: S311  # no secret
        if time.monotonic() - began > PATIENCE:
            break
        read.append(_with_digest(sample, dataset))
    return read


def _with_digest(sample: Sample, dataset: Dataset) -> Sample:
    try:
        return replace(sample, digest=hashlib.sha256(dataset.read_bytes(sample)).hexdigest())
    except UnreadableSample:
        return sample
