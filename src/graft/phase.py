"""One phase of training: what moves, epochs, validation, the best weights, checkpoints.

Only this file sets requires_grad and train/eval (by freeze.py). What stands still before the first moving stage, the
frozen prefix, runs once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, final

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from graft import augment, optim
from graft.checkpoint import Checkpoints
from graft.device import autocast, permutation, seed_of, seeded
from graft.errors import Interrupted, ResourceError
from graft.features import Feed
from graft.freeze import boundary_of, freeze, keep_statistics, moving_state, set_modes
from graft.scoring import predict
from graft.types import Batch, Json, Model, Phase, Recipe, Result, Step, Task

NEAR = 50  # batches within which texts are sorted by length; they stay shuffled beyond that
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


@dataclass
class Progress:
    """Where a phase stands. All of it is in the checkpoint; what is not here is not used."""

    phase: int
    epoch: int = 0
    step: int = 0  # optimiser steps done in the phase
    batch: int = 0  # batches done in the epoch
    loss: float = 0.0  # sum over the epoch's samples
    seen: int = 0
    history: list[float] = field(default_factory=list)
    best_epoch: int = -1
    best: dict[str, float] = field(default_factory=dict)
    train_loss: float = 0.0
    seconds: float = 0.0


@final
class Pairs:
    """Which samples are of one class, sorted once: a draw then costs no look at all of them."""

    def __init__(self, targets: Tensor) -> None:
        _, self.group, self.sizes = targets.unique(return_inverse=True, return_counts=True)
        self.order = self.group.argsort(stable=True)  # the rows of each class, one class after the other
        self.place = self.order.argsort()  # of each row in `order`
        self.starts = self.sizes.cumsum(0) - self.sizes

    def partners(self, rows: Tensor, *where: int | str) -> Tensor:
        """For each row any of the others of its class, all as likely, fixed by `where`; itself where there is none."""
        start, size = self.starts[self.group[rows]], self.sizes[self.group[rows]]
        drawn = torch.rand(len(rows), generator=torch.Generator().manual_seed(seed_of(*where)), dtype=torch.float64)
        ahead = 1 + (drawn * (size - 1)).long()
        chosen: Tensor = self.order[start + (self.place[rows] - start + ahead) % size]
        return chosen


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
        self.optimizer = optim.optimizer(self.recipe.optimizer, phase.groups, self.recipe.weight_decay)
        self.optimizer.zero_grad(set_to_none=True)  # a strategy may have looked at gradients between two phases
        self.schedule = optim.schedule(phase.schedule or self.recipe.schedule)
        self.scaler = torch.amp.GradScaler(setting.train.device.type, enabled=setting.train.dtype is torch.float16)
        self.live = moving_state(self.model)
        self.average = {n: t.clone() for n, t in self.live.items()} if self.recipe.ema else {}
        self.kept: dict[str, Tensor] = {n: t.clone() for n, t in self.live.items()}
        self.at = Progress(number)
        self._pairs: Pairs | None = None
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
        if self.at.phase > 0 and not self.at.history and not self.at.step and len(setting.valid) and self.phase.select:
            self.at.best = self._score()  # training may make it worse: then the start is what stays
        while self.at.epoch < total and not self._out_of_patience():
            self._epoch()
            self._validate()
        self._set(self.kept)
        at = self.at
        return Result(
            self.phase.name, at.epoch, at.best_epoch, at.best, at.train_loss, moved, self.boundary, self._clock()
        )

    # --------------------------------------------------------------------------------------------------- one epoch

    def _epoch(self) -> None:
        at, recipe, size = self.at, self.recipe, len(self.setting.train)
        where = (recipe.seed, "order", at.phase, at.epoch)
        order = _batches(permutation(size, *where), recipe.batch_size, self.setting.train.sizes(), where)
        steps = -(-len(order) // recipe.accumulate)
        set_modes(self.model, self.still_batchnorm)
        while at.batch < len(order):
            chunk = order[at.batch : at.batch + recipe.accumulate]
            self._set_rate(at.step, steps * self.phase.epochs)
            self._step(chunk)
            at.batch, at.step = at.batch + len(chunk), at.step + 1
            self.setting.tell({"event": "step", "epoch": at.epoch, "done": at.step, "total": steps * self.phase.epochs})
            if self.setting.signal:
                self._stop()
            if time.monotonic() - self._saved > SAVE_EVERY:
                self._save()
        at.train_loss = at.loss / max(1, at.seen)
        at.epoch, at.batch, at.loss, at.seen = at.epoch + 1, 0, 0.0, 0

    def _step(self, chunk: Sequence[Tensor]) -> None:
        """Forward and backward over the accumulated batches, then one step of the optimiser."""
        size = sum(len(rows) for rows in chunk)
        where = (self.recipe.seed, "step", self.at.phase, self.at.step)
        with seeded(*where, device=self.setting.train.device):  # dropout
            for rows in chunk:
                loss = self._loss(rows)
                if not torch.isfinite(loss):
                    self._not_finite(rows)
                self.scaler.scale(loss * (len(rows) / size)).backward()
                self.at.loss, self.at.seen = self.at.loss + loss.item() * len(rows), self.at.seen + len(rows)
        self.scaler.unscale_(self.optimizer)
        optim.clip([p for group in self.phase.groups for p in group.params], self.recipe.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self._average()

    def _loss(self, rows: Tensor) -> Tensor:
        feed, task, epoch = self.setting.train, self.setting.task, self.setting.passed + self.at.epoch
        rows = torch.cat([rows, self._partners(rows)]) if self.phase.pairs else rows
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

    def _partners(self, rows: Tensor) -> Tensor:
        """For each row another one of its class, itself where it is the only one: as many pairs as samples, not all."""
        self._pairs = self._pairs or Pairs(self.setting.train.targets)
        return self._pairs.partners(rows, self.recipe.seed, "pairs", self.at.phase, self.at.step)

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
        factor = self.schedule(step, total, self.at.history)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor

    def _average(self) -> None:
        """Moving average of weights; the decay grows with the steps so that short phases are not held back."""
        if not self.recipe.ema:
            return
        decay = min(self.recipe.ema, (1 + self.at.step) / (10 + self.at.step))
        floats = [(a, self.live[n]) for n, a in self.average.items() if a.is_floating_point()]
        get_ema_multi_avg_fn(decay)([a for a, _ in floats], [b for _, b in floats], None)

    # ------------------------------------------------------------------------------------- validation and the best

    def _validate(self) -> None:
        setting, at = self.setting, self.at
        if not (len(setting.valid) and self.phase.select):
            self._keep_last()
            return
        live = {name: tensor.clone() for name, tensor in self.live.items()} if self.average else {}
        self._set(self.average)
        scores = self._score()
        at.history.append(scores[setting.task.metric])
        if not at.best or _rank(scores, setting.task.metric) > _rank(at.best, setting.task.metric):
            at.best_epoch, at.best = at.epoch - 1, scores
            self.kept = {name: tensor.clone() for name, tensor in self.live.items()}
        self._set(live)
        self._tell_epoch(scores)

    def _keep_last(self) -> None:
        """Nothing to choose an epoch by: the average of the weights as it is now."""
        self.at.best_epoch = self.at.epoch - 1
        self.kept = {name: tensor.clone() for name, tensor in (self.average or self.live).items()}
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

    def _set(self, state: Mapping[str, Tensor]) -> None:
        for name, value in state.items():
            self.live[name].copy_(value)

    def _clock(self) -> float:
        return self.at.seconds + time.monotonic() - self._since

    # ------------------------------------------------------------------------------------------ stop, save, go on

    def _save(self) -> None:
        if self.setting.checkpoints is None:
            return
        tensors = {f"model/{n}": t for n, t in self.model.state_dict().items()}
        tensors |= {f"average/{n}": t for n, t in self.average.items()} | {f"kept/{n}": t for n, t in self.kept.items()}
        state = self.optimizer.state_dict()["state"]
        tensors |= {f"optimizer/{i}/{n}": torch.as_tensor(v) for i, values in state.items() for n, v in values.items()}
        facts = asdict(self.at) | {"seconds": self._clock(), "scaler": self.scaler.state_dict()}
        self.setting.checkpoints.save_step(self.at.step, tensors, facts)
        self._saved = time.monotonic()

    def _resume(self) -> None:
        found = self.setting.checkpoints.latest_step(self.at.phase) if self.setting.checkpoints else None
        if found is None:
            return
        tensors, facts = found
        self.model.load_state_dict(_under("model/", tensors))
        self.average, self.kept = (
            {name: t.to(self.live[name].device) for name, t in _under(prefix, tensors).items()}
            for prefix in ("average/", "kept/")
        )
        state: dict[int, dict[str, Any]] = {}
        for name, value in _under("optimizer/", tensors).items():
            index, _, key = name.partition("/")
            state.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.scaler.load_state_dict(facts.pop("scaler"))
        self.at = Progress(**facts)
        self.setting.tell({"event": "resumed", "phase": self.phase.name, "epoch": self.at.epoch, "step": self.at.step})

    def _stop(self) -> None:
        self._save()
        saved = "; a checkpoint is saved" if self.setting.checkpoints else ""
        raise Interrupted(self.setting.signal, f"interrupted{saved}", how_to_go_on(self.setting))

    def _not_finite(self, rows: Tensor) -> None:
        names = ", ".join(self.setting.train.dataset.samples[i].key for i in rows[:5].tolist())
        raise ResourceError(
            f"the loss is not finite in phase '{self.phase.name}', epoch {self.at.epoch + 1}; the batch: {names}, ...",
            "lower the learning rate, for example --strategy 'lp_ft(lr=1e-4)'",
        )


def solve(setting: Setting, phase: Phase, fit: Callable[[Tensor, Tensor], None]) -> Result:
    """A phase in one step: fit the head to the frozen features of all labelled samples."""
    began, model, train = time.monotonic(), setting.model, setting.train
    freeze(model, phase)
    model.eval()
    labelled = train.targets >= 0
    fit(train.pooled()[labelled].to(train.device), train.targets[labelled].to(train.device))
    boundary = len(model.backbone.stages)
    scores: dict[str, float] = {}
    if len(setting.valid):
        predictions = predict(model, setting.task, setting.valid, boundary)
        scores = setting.task.score(predictions, setting.valid.targets)
    moved = sum(t.numel() for t in (*model.head.parameters(),) or model.head.state_dict().values())
    return Result(phase.name, 1, 0, scores, 0.0, moved, boundary, time.monotonic() - began)


def how_to_go_on(setting: Setting) -> str:
    if setting.checkpoints is None:
        return "the same command with --resume goes on with what was measured"
    return f"to go on, the same command with: --out {setting.checkpoints.folder.parent} --resume"


def _batches(order: Tensor, size: int, lengths: Tensor | None, where: tuple[int | str, ...]) -> list[Tensor]:
    """A last batch of one sample joins the one before it: BatchNorm cannot take the variance of one value.

    Samples of about one `length` go together, out of every NEAR batches, as each is padded to the longest of its batch.
    """
    if lengths is not None:
        order = torch.cat([part[lengths[part].argsort(stable=True)] for part in order.split(NEAR * size)])
    batches = list(order.split(size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    if lengths is not None:
        batches = [batches[i] for i in permutation(len(batches), *where, "batches").tolist()]
    return batches


def _rank(scores: Mapping[str, float], metric: str) -> tuple[float, float]:
    """On few validation samples many epochs have the same accuracy: then the lower loss is the better one."""
    return scores[metric], -scores.get("loss", 0.0)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
