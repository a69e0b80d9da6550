"""One phase of training: what moves, epochs, validation, the best weights, checkpoints.

Only this file sets requires_grad and train/eval (by freeze.py). What stands still before the first moving stage, the
frozen prefix, runs once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import final

import torch
from torch import Tensor

from graft import augment, optim, order
from graft.checkpoint import Checkpoints
from graft.device import autocast, reseed, seeded
from graft.errors import Interrupted, ResourceError
from graft.features import Feed
from graft.freeze import boundary_of, freeze, keep_statistics, moving_state, set_modes
from graft.progress import Progress, State, copies, fill, own_parameters
from graft.scoring import predict
from graft.spec import parse
from graft.types import Batch, Group, Json, Model, Phase, Recipe, Result, Step, Task

SAVE_EVERY = 30.0  # seconds between two checkpoints inside a phase
Tell = Callable[[Json], None]


@dataclass
class Setting:
    """What all phases of a run share."""

    model: Model
    task: Task
    train: Feed
    valid: Feed
    recipe: Recipe
    checkpoints: Checkpoints | None
    tell: Tell
    signal: int = 0  # of Ctrl-C or SIGTERM, once it has come
    passed: int = 0  # epochs of earlier phases, so that no phase sees the views of another one again


@final
class PhaseRun:
    """Made for one phase; `run` goes on from its newest checkpoint, if there is one."""

    def __init__(self, setting: Setting, number: int, phase: Phase) -> None:
        self.setting, self.phase, self.recipe, self.model = setting, phase, setting.recipe, setting.model
        freeze(self.model, phase)
        self.boundary = boundary_of(self.model)
        self.still_batchnorm = keep_statistics(
            self.model, self.recipe.batchnorm, len(setting.train), self.recipe.batch_size
        )
        set_modes(self.model, self.still_batchnorm)
        groups = _with_those_of_terms(phase)
        self.optimizer = optim.optimizer(self.recipe.optimizer, groups, self.recipe.weight_decay)
        self.optimizer.zero_grad(set_to_none=True)  # a strategy may have looked at gradients between two phases
        self.schedule = optim.schedule(phase.schedule or self.recipe.schedule)
        self.scaler = torch.amp.GradScaler(setting.train.device.type, enabled=setting.train.dtype is torch.float16)
        self.moving = [p for group in groups for p in group.params]
        self.live = moving_state(self.model)
        average = copies(self.live) if self.recipe.ema else {}
        self.state = State(self.model, self.optimizer, self.scaler, average, copies(self.live), phase.terms)
        self.blend = optim.Average(self.recipe.ema, average, self.live)
        self.at = Progress(number)
        # what a task asks of samples without labels is no measure of what the trunk is good for: nothing to choose by
        self.last = setting.task.kind == "none" and self.recipe.patience is None
        self.pairs = order.Pairs(setting.train.targets) if phase.pairs else None
        self.partners = torch.empty(0, dtype=torch.long)  # of each row another one of its class, drawn for each epoch
        self._since = time.monotonic()
        self._saved = time.monotonic()

    def run(self) -> Result:
        self._resume()
        setting, total = self.setting, self.phase.epochs
        setting.train.open(self.boundary)
        setting.valid.open(self.boundary)
        moved = sum(p.numel() for group in self.phase.groups for p in group.params)
        plain = bool(self.boundary and setting.train.augment and not setting.train.views)
        stages = len(self.model.backbone.stages)
        setting.tell({"event": "phase", "phase": self.phase.name, "epochs": total, "moved": moved,
                      "boundary": self.boundary, "stages": stages, "plain": plain})  # fmt: skip
        fresh = self.at.phase > 0 and not self.at.history and not self.at.step
        if fresh and len(setting.valid) and self.phase.select and not self.last:
            self.at.best = self._score()  # training may make it worse: then the start is what stays
        while self.at.epoch < total and not self._out_of_patience():
            self._epoch()
            self._validate()
        fill(self.live, self.state.kept)
        at, seconds = self.at, self._clock()
        return Result(self.phase.name, at.epoch, at.best_epoch, at.best, at.train_loss, moved, self.boundary, seconds)

    # --------------------------------------------------------------------------------------------------- one epoch

    def _epoch(self) -> None:
        at, size, batches = self.at, self.recipe.accumulate, self._batches()
        steps = -(-len(batches) // size)
        set_modes(self.model, self.still_batchnorm)
        with seeded(self.recipe.seed, device=self.setting.train.device):  # each step seeds again; all is restored once
            while at.batch < len(batches):
                chunk = batches[at.batch : at.batch + size]
                for rows in batches[at.batch + size : at.batch + 2 * size]:
                    self.setting.train.ahead(rows, self.boundary)
                self._set_rate(at.step, steps * self.phase.epochs)
                self._step(chunk)
                at.batch, at.step = at.batch + len(chunk), at.step + 1
                self._after_step(steps * self.phase.epochs)
        at.train_loss = at.loss / max(1, at.seen)
        at.epoch, at.batch, at.loss, at.seen = at.epoch + 1, 0, 0.0, 0

    def _batches(self) -> Sequence[Tensor]:
        """A pair is as long as the longer of its two."""
        recipe, feed, place = self.recipe, self.setting.train, (self.at.phase, self.at.epoch)
        lengths = feed.sizes()
        if self.pairs:
            self.partners = self.pairs.partners(torch.arange(len(feed)), recipe.seed, "pairs", *place)
            lengths = None if lengths is None else torch.maximum(lengths, lengths[self.partners])
        most = feed.most and feed.most // (1 + self.phase.pairs)
        return order.batches(len(feed), recipe.batch_size, lengths, recipe.seed, "order", *place, most=most)

    def _after_step(self, total: int) -> None:
        self.setting.tell({"event": "step", "epoch": self.at.epoch, "done": self.at.step, "total": total})
        if self.setting.signal:
            self._stop()
        if time.monotonic() - self._saved > SAVE_EVERY:
            self._save()

    def _step(self, chunk: Sequence[Tensor]) -> None:
        """Forward and backward over the accumulated batches, then one step of the optimiser."""
        at, size = self.at, sum(len(rows) for rows in chunk)
        reseed(self.recipe.seed, "step", at.phase, at.step, device=self.setting.train.device)  # dropout
        for rows in chunk:
            loss = self._loss(rows)
            value = loss.item()
            if not isfinite(value):
                self._not_finite(rows)
            self.scaler.scale(loss * (len(rows) / size) if len(chunk) > 1 else loss).backward()
            at.loss, at.seen = at.loss + value * len(rows), at.seen + len(rows)
        self.scaler.unscale_(self.optimizer)
        optim.clip(self.moving, self.recipe.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        for parameter in self.moving:
            parameter.grad = None
        self.blend(at.step)

    def _loss(self, rows: Tensor) -> Tensor:
        feed, task, epoch = self.setting.train, self.setting.task, self.setting.passed + self.at.epoch
        rows = torch.cat([rows, self.partners[rows]]) if self.pairs else rows
        batch = self._mixed(Batch(feed.batch(rows, self.boundary, epoch), feed.targets[rows].to(feed.device), rows))
        with autocast(feed.device, feed.dtype):
            features = feed.features(batch.inputs, self.boundary)
            if self.phase.loss:
                loss = self.phase.loss(Step(self.model, features, batch, features.pooled.new_zeros(()))).float()
            else:
                loss = task.loss(self.model.head, features, batch).float()
            for term in self.phase.terms:
                loss = loss + term(Step(self.model, features, batch, loss))
        return loss

    def _mixed(self, batch: Batch) -> Batch:
        """MixUp and CutMix work on pixels; on kept features MixUp is the same formula one layer later."""
        if self.recipe.mix is None:
            return batch
        where = (self.recipe.seed, "mix", self.at.phase, self.at.step)
        x, targets = augment.mix(
            self.recipe.mix, batch.inputs.x, batch.targets, len(self.setting.train.dataset.classes), *where
        )
        return Batch(batch.inputs._replace(x=x), targets, batch.rows)

    def _set_rate(self, step: int, total: int) -> None:
        factor = self.schedule(min(step, total - 1), total, self.at.history)  # long sounds make an epoch longer
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor

    # ------------------------------------------------------------------------------------- validation and the best

    def _validate(self) -> None:
        setting, at = self.setting, self.at
        if not (len(setting.valid) and self.phase.select):
            self._keep_last()
            return
        live = copies(self.live) if self.state.average else {}
        fill(self.live, self.state.average)
        scores = self._score()
        at.history.append(scores[setting.task.metric])
        if self.last or not at.best or _rank(scores, setting.task.metric) > _rank(at.best, setting.task.metric):
            at.best_epoch, at.best = at.epoch - 1, scores
            fill(self.state.kept, self.live)
        fill(self.live, live)
        self._tell_epoch(scores)

    def _keep_last(self) -> None:
        """Nothing to choose an epoch by: the average of the weights as it is now."""
        self.at.best_epoch = self.at.epoch - 1
        fill(self.state.kept, self.state.average or self.live)
        self._tell_epoch({})

    def _tell_epoch(self, scores: Mapping[str, float]) -> None:
        at = self.at
        self.setting.tell({"event": "epoch", "phase": self.phase.name, "epoch": at.epoch, "epochs": self.phase.epochs,
                           "train_loss": at.train_loss, "valid": scores, "seconds": self._clock()})  # fmt: skip

    def _score(self) -> dict[str, float]:
        feed = self.setting.valid
        predictions = predict(self.model, self.setting.task, feed, self.boundary, opened=True)
        return self.setting.task.score(predictions, feed.targets)

    def _out_of_patience(self) -> bool:
        patience = self.recipe.patience
        return patience is not None and self.at.epoch - 1 - self.at.best_epoch >= patience

    def _clock(self) -> float:
        return self.at.seconds + time.monotonic() - self._since

    # ------------------------------------------------------------------------------------------ stop, save, go on

    def _save(self) -> None:
        if self.setting.checkpoints is None:
            return
        facts = self.state.facts(self.at, self._clock())
        self.setting.checkpoints.save_step(self.at.step, self.state.tensors(), facts)
        self._saved = time.monotonic()

    def _resume(self) -> None:
        found = self.setting.checkpoints.latest_step(self.at.phase) if self.setting.checkpoints else None
        if found is None:
            return
        self.at = self.state.load(*found)
        self.setting.tell({"event": "resumed", "phase": self.phase.name, "epoch": self.at.epoch, "step": self.at.step})

    def _stop(self) -> None:
        self._save()
        saved = "; a checkpoint is saved" if self.setting.checkpoints else ""
        raise Interrupted(self.setting.signal, f"interrupted{saved}", how_to_go_on(self.setting))

    def _not_finite(self, rows: Tensor) -> None:
        names = ", ".join(self.setting.train.dataset.samples[i].key for i in rows[:5].tolist())
        raise ResourceError(
            f"the loss is not finite in phase '{self.phase.name}', epoch {self.at.epoch + 1}; the batch: {names}, ...",
            f"lower the learning rate, for example --strategy '{parse(self.recipe.strategy).name}(lr=1e-4)'",
        )


def _with_those_of_terms(phase: Phase) -> tuple[Group, ...]:
    """What a term owns, such as a projection, moves as fast as what moves fastest."""
    own = own_parameters(phase.terms)
    return (*phase.groups, Group(own, max(group.lr for group in phase.groups))) if own else phase.groups


def how_to_go_on(setting: Setting) -> str:
    if setting.checkpoints is None:
        return "the same command with --resume goes on with what was measured"
    return f"to go on, the same command with: --out {setting.checkpoints.folder.parent} --resume"


def _rank(scores: Mapping[str, float], metric: str) -> tuple[float, float]:
    """On few validation samples many epochs have the same accuracy: then the lower loss is the better one."""
    return scores[metric], -scores.get("loss", 0.0)
