"""Samples that a model's weights have not seen, and what it says of them: what trust is learned from.

Held out is the validation part. It has chosen the epoch, which flatters the model a little. `auto` has none: what the
chosen way said of the folds that it was not fitted to stands for the final model, which is fitted to more samples and
so a little better. The sealed test part then says what the promises are worth.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from graft import conformal, novelty
from graft.checkpoint import load_tensors, save_tensors
from graft.confidence import Sets
from graft.features import Feed
from graft.store import replacing
from graft.types import Predictions

if TYPE_CHECKING:  # it takes a second to load, and `graft predict` needs none of it
    from graft.trials import Trials, Way

OUT_OF_FOLD = "out_of_fold.safetensors"
MOST = 300_000  # probabilities that are kept: 1.2 MB
FEW = 30  # held-out samples, below which they set no temperature
COVERAGE = Sets().coverage


class Held(NamedTuple):
    """Samples that the weights have not seen: rows (n,) of a feed, their probabilities (n, C) and classes (n,)."""

    feed: Feed
    rows: Tensor
    probabilities: Tensor
    targets: Tensor
    made_on: str


def keep(folder: Path, trials: Trials, way: Way) -> None:
    """Write what the chosen way says of samples that it was not fitted to, for `learn`: out_of_fold.safetensors.
    Nothing is written where the labels are no classes."""
    if trials.pool.kind != "class" or trials.task.needs != "pooled":
        return
    rows, said = trials.held_out(way)
    found = {"rows": rows, "probabilities": said, "targets": trials.targets[rows]}
    with replacing(folder / OUT_OF_FOLD) as temporary:
        save_tensors(temporary, found)


def validated(valid: Feed, said: Predictions) -> Held:
    """Those with a label, as many as are kept."""
    rows = torch.nonzero(valid.targets.cpu() >= 0)[:, 0]
    rows = some(rows, MOST // max(1, said.values.shape[1]))
    return Held(valid, rows, said.values[rows].float().cpu(), valid.targets.cpu()[rows], "validation part")


def out_of_fold(folder: Path, train: Feed) -> Held | None:
    """None where there is nothing, or it is of other samples than the training part's."""
    path, truth = folder / OUT_OF_FOLD, train.targets.cpu()
    if not path.exists():
        return None
    kept = load_tensors(path)
    rows, targets = kept["rows"], kept["targets"]
    if not len(rows) or int(rows.max()) >= len(truth) or not torch.equal(truth[rows], targets):
        return None
    known = targets >= 0
    return Held(train, rows[known], kept["probabilities"][known], targets[known], "out of fold")


def notes(held: Held, classes: int) -> tuple[str, ...]:
    """What the samples are too few for."""
    count, least = len(held.rows), conformal.least(COVERAGE)
    each = torch.bincount(held.targets, minlength=classes)
    poor, found = int((each < least).sum()), []
    if count < FEW:
        found.append(f"{count} held-out samples are too few to scale probabilities by: they are as the model gave them")
    if count < least:
        found.append(f"{count} held-out samples are too few for sets that cover 90 %: every set holds all classes")
    if poor:
        found.append(f"{poor} of {classes} classes have fewer than {least} held-out samples: with --sets class, those "
                     "are in every set that is to cover 90 %")  # fmt: skip
    if count < conformal.least(1 - novelty.STATED):
        found.append(f"{count} held-out samples are too few to flag 5 % of them as unlike: none is flagged")
    return tuple(found)


def some(rows: Tensor, most: int) -> Tensor:
    """At most so many, drawn blindly, in their order."""
    if len(rows) <= most:
        return rows
    drawn = np.random.default_rng(0).permutation(len(rows))[: max(1, most)]
    return rows[torch.from_numpy(np.sort(drawn))]
