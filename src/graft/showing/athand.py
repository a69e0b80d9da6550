"""The features that a finished run still has at hand, without running its trunk on everything again.

A trunk that stood still has them all. Of one that has moved there are two kinds: as the final trunk sees some samples,
and as the trunk saw all of them before it learned their labels, which the disk has kept. What is fitted to labels here
is fitted to the latter: a trunk that knows the labels by heart would find none of them wrong.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graft import build, run, zoo
from graft.curve import interleaved
from graft.device import seeded
from graft.errors import DataError, ResourceError
from graft.features import Feed
from graft.recipe import make as make_recipe
from graft.store import read_json
from graft.types import Backbone, Json, Model, Recipe, Task

Rows = NDArray[np.int64]
SAMPLED, SOME = 16, 400  # rows by which the time for others is told, and at most so many of a trunk that has moved
MOST = 20_000  # rows of one that stood still: neighbours are looked for among them
QUICK, SECONDS = 0.3, 1.5  # seconds for the former that say that all rows are kept, and for the latter


@final
@dataclass
class AtHand:
    """`train` and `scored` are the feeds that the run was fitted to and scored on."""

    folder: Path
    model: Model
    task: Task
    train: Feed
    scored: Feed
    result: Json
    seed: int = 0

    @cached_property
    def recipe(self) -> Recipe:
        """Of one way, the one that was trained in the end."""
        chosen = self.folder / run.CHOSEN
        return make_recipe(read_json(chosen if chosen.exists() else self.folder / "recipe.json"))

    @property
    def stages(self) -> int:
        return len(self.model.backbone.stages)

    @cached_property
    def still(self) -> bool:
        """Whether no stage of the trunk has moved."""
        return all(phase["boundary"] >= self.stages for phase in self.result.get("phases", ()))

    @cached_property
    def as_it_came(self) -> Tensor:
        """(N, D) features of all training samples by a trunk that has not seen their labels. Raises DataError where the
        task takes none, or the trunk began at random; ResourceError where they would have to be computed anew."""
        self.require_pooled()
        if not self.model.backbone.info.sha256 and not self.still:
            raise DataError("the trunk was trained from random weights, and says nothing before that", "")
        if self.still:
            return self.train.pooled()
        with seeded(self.recipe.seed, "backbone"):
            fresh = build.backbone(zoo.one_trunk(self.recipe.backbone), build.corpus(self.train.dataset))
        fresh = build.suited(fresh, self.task).to(self.train.device).eval()
        every = torch.arange(len(self.train))
        if self._seconds(every[:SAMPLED], fresh) > QUICK:
            raise ResourceError("the features of the trunk as it came are no longer kept", "")
        return self.train.part(every, fresh, needs=self.train.needs).pooled()

    @cached_property
    def known(self) -> tuple[Rows, Tensor]:
        """Training rows (n,) and their features (n, D) as the final trunk sees them: all, or a balanced sample."""
        return self._final(self.train, self.balanced(self.train, MOST if self.still else self._affordable()))

    def asked(self, rows: Rows) -> Tensor:
        """(n, D) of rows of the scored part as the final trunk sees them."""
        return self._final(self.scored, rows)[1]

    def balanced(self, feed: Feed, most: int) -> Rows:
        """At most `most` rows of a feed, of the classes in their shares."""
        if len(feed) <= most:
            return np.arange(len(feed), dtype=np.int64)
        return np.sort(interleaved(strata(feed), np.random.default_rng(self.seed))[:most])

    def require_pooled(self) -> None:
        """Raises DataError for a task that does not look at one vector for each sample."""
        if self.task.needs != "pooled":
            raise DataError(f"{self.recipe.task} has no one vector for a sample", "")

    def _affordable(self) -> int:
        """How many rows the final trunk may be run on."""
        self.require_pooled()
        spent = self._seconds(torch.arange(min(SAMPLED, len(self.train))), self.model.backbone)
        return int(np.clip(SECONDS * SAMPLED / max(spent, 1e-6), 2 * SAMPLED, SOME))

    def _final(self, feed: Feed, rows: Rows) -> tuple[Rows, Tensor]:
        self.require_pooled()
        self.model.eval()
        if self.still:
            return rows, feed.pooled()[torch.from_numpy(rows)]
        return rows, feed.part(torch.from_numpy(rows), self.model.backbone, needs=feed.needs).pooled()

    def _seconds(self, rows: Tensor, backbone: Backbone) -> float:
        began = time.monotonic()
        self.train.part(rows, backbone, needs=self.train.needs).pooled()
        return time.monotonic() - began


def strata(feed: Feed) -> Rows:
    """(N,) class indices; of other labels all are alike."""
    if feed.dataset.kind != "class":
        return np.zeros(len(feed), dtype=np.int64)
    return feed.dataset.targets().numpy().astype(np.int64)
