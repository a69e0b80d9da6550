"""Samples that a model's weights have not seen, and what it says of them: what trust is learned from.

Held out is the validation part. It has chosen the epoch, which flatters the model a little. `auto` has none: what the
chosen way said of the folds that it was not fitted to stands for the final model, which is fitted to more samples and
so a little better. The sealed test part then says what the promises are worth.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from graft import conformal, novelty, run
from graft.checkpoint import load_tensors, save_tensors
from graft.confidence import Sets
from graft.features import Feed
from graft.store import replacing
from graft.types import Predictions

if TYPE_CHECKING:  # it takes a second to load, and `graft predict` needs none of it
    from graft.trials import Trials, Way

OUT_OF_FOLD = "out_of_fold.safetensors"
MOST = 50_000  # held-out samples that thresholds are made of
CELLS = 20_000_000  # probabilities that are kept of one way until these are made: 80 MB
FITTED = 4_000_000  # probabilities that the temperature is fitted to
FEW = 30  # held-out samples, below which they set no temperature
COVERAGE = Sets().coverage


class Held(NamedTuple):
    """Samples that the weights have not seen: rows (n,) of a feed, their probabilities (n, C) and classes (n,); and how
    many there were."""

    feed: Feed
    rows: Tensor
    probabilities: Tensor
    targets: Tensor
    made_on: str
    whole: int


def room(classes: int) -> int:
    """Of how many held-out samples a way's probabilities are kept."""
    return max(1, min(MOST, CELLS // max(1, classes)))


def keep(folder: Path, trials: Trials, way: Way) -> None:
    """Write what the chosen way says of samples that it was not fitted to, for `learn`: out_of_fold.safetensors.
    Nothing is written where the labels are no classes, or nothing is known of a way that would have to be trained."""
    (folder / OUT_OF_FOLD).unlink(missing_ok=True)
    found = trials.held_out(way) if trials.pool.kind == "class" and trials.task.needs == "pooled" else None
    if found is None:
        return
    rows, said, whole = found
    tensors = {"rows": rows, "probabilities": said, "targets": trials.targets[rows], "whole": torch.tensor(whole)}
    with replacing(folder / OUT_OF_FOLD) as temporary:
        save_tensors(temporary, tensors)


def validated(valid: Feed, said: Predictions) -> Held:
    """Those with a label, as many as are kept."""
    every = torch.nonzero(valid.targets.cpu() >= 0)[:, 0]
    rows = some(every, MOST)
    return Held(valid, rows, said.values[rows].float().cpu(), valid.targets.cpu()[rows], "validation part", len(every))


def out_of_fold(folder: Path, train: Feed) -> Held | None:
    """None where there is nothing, or it is of other samples than the training part's. What was kept of other ways
    is let go."""
    path, truth = folder / OUT_OF_FOLD, train.targets.cpu()
    shutil.rmtree(folder / run.SAID, ignore_errors=True)
    if not path.exists():
        return None
    kept = load_tensors(path)
    rows, targets = kept["rows"], kept["targets"]
    if not len(rows) or int(rows.max()) >= len(truth) or not torch.equal(truth[rows], targets):
        return None
    known = targets >= 0
    return Held(train, rows[known], kept["probabilities"][known], targets[known], "out of fold",
                int(kept["whole"]) if "whole" in kept else len(rows))  # fmt: skip


def notes(held: Held, classes: int, moved: bool) -> tuple[str, ...]:
    """What the samples are too few for; and, of a trunk that has moved, what was not held out of it."""
    count, least = len(held.rows), conformal.least(COVERAGE)
    each = torch.bincount(held.targets, minlength=classes)
    poor, found = int((each < least).sum()), []
    if count < FEW:
        found.append(f"{count} held-out samples are too few to scale probabilities by: they are as the model gave them")
    if count < least:
        found.append(f"{count} held-out samples are too few for sets that cover 90 %: every set holds all classes")
    if held.whole > count:
        found.append(f"of {held.whole:,} held-out samples {count:,} are used, drawn blindly: no more are kept")
    if poor:
        of = f"of the {count:,} held-out samples that are kept" if held.whole > count else "held-out samples"
        found.append(f"{poor} of {classes} classes have fewer than {least} {of}: with --sets class, those are in "
                     "every set that is to cover 90 %")  # fmt: skip
    if count < conformal.least(1 - novelty.STATED):
        found.append(f"{count} held-out samples are too few to flag 5 % of them as unlike: none is flagged")
    groups = {sample.own_group for sample in held.feed.dataset.samples} - {None}
    if 0 < len(groups) < conformal.least(1 - novelty.STATED):
        found.append(f"{len(groups)} groups say little of a new one: sets and flags of its samples may be further from "
                     "what is stated than their number lets expect")  # fmt: skip
    if moved and held.made_on == "out of fold":
        found.append("the final trunk was fitted to the samples whose distances are called familiar: of new ones more "
                     "than 5 % may be flagged as unlike")  # fmt: skip
    return tuple(found)


def some(rows: Tensor, most: int) -> Tensor:
    """At most so many, drawn blindly, in their order."""
    if len(rows) <= most:
        return rows
    drawn = np.random.default_rng(0).permutation(len(rows))[: max(1, most)]
    return rows[torch.from_numpy(np.sort(drawn))]
