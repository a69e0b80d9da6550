"""The best loop that is written by hand: no class of a framework, and nothing done twice."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graft import optim, order
from graft.device import autocast
from graft.features import Feed
from graft.recipe import Recipe
from graft.types import Features, Model

CPU = torch.device("cpu")
PROBE_LR = 1e-3


class Hand:
    """Fused AdamW on two kinds of parameters, with and without decay; cosine; what scored best on valid stays."""

    def __init__(self, model: Model, recipe: Recipe, train: Feed, valid: Feed, epochs: int, probe: bool) -> None:
        self.model, self.recipe, self.epochs, self.probe = model, recipe, epochs, probe
        self.dtype = train.dtype
        self.sides = {True: self._rows(train), False: self._rows(valid)}
        self.moving = model.head if probe else model
        self.optimizer = torch.optim.AdamW(list(self._groups()), fused=True)
        self.params = list(self.moving.parameters())
        self.average = [p.detach().clone() for p in self.params] if recipe.ema else []
        self.factor = optim.schedule(recipe.schedule)

    def _rows(self, feed: Feed) -> tuple[Any, Tensor, Tensor | None]:
        """Features (N, D), pixels (N, 3, R, R) or texts, the labels, and lengths."""
        preprocess, data = feed.backbone.preprocess, feed.dataset
        held = [preprocess.sample(data.load(sample)) for sample in data.samples]
        return held if preprocess.ragged else torch.stack(held), feed.targets, feed.sizes()

    def _groups(self) -> Iterator[dict[str, Any]]:
        rate = PROBE_LR if self.probe else 10 * self.model.backbone.info.lr
        modules = [(self.model.head, rate)] + ([] if self.probe else [(self.model.backbone, rate / 10)])
        for module, lr in modules:
            for decays in (True, False):
                chosen = [p for p in module.parameters() if (p.ndim > 1) is decays]
                decay = self.recipe.weight_decay if decays else 0.0
                yield {"params": chosen, "lr": lr, "peak": lr, "weight_decay": decay}

    def logits(self, held: Any, rows: Tensor) -> Tensor:
        if self.probe:
            return self.model.head(held[rows])  # type: ignore[no-any-return]
        some = held[rows] if isinstance(held, Tensor) else [held[i] for i in rows.tolist()]
        found: Features = self.model.backbone(self.model.backbone.preprocess.batch(some))
        return self.model.head(found.pooled)  # type: ignore[no-any-return]

    def fit(self) -> float:
        """The best accuracy on the valid part, whose weights stay."""
        best, kept = (-1.0, -math.inf), copy.deepcopy(self.moving.state_dict())
        step, (held, labels, lengths) = 0, self.sides[True]
        for epoch in range(self.epochs):
            self.model.eval()
            self.moving.train()
            batches = order.batches(len(labels), self.recipe.batch_size, lengths, 0, "order", 0, epoch)
            for rows in batches:
                self.step(held, labels, rows, step, len(batches) * self.epochs)
                step += 1
            live = self._swap(self.average)
            score = self.score()
            if score > best:
                best, kept = score, copy.deepcopy(self.moving.state_dict())
            self._swap(live)
        self.moving.load_state_dict(kept)
        return best[0]

    def step(self, held: Any, labels: Tensor, rows: Tensor, step: int, total: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * self.factor(step, total, ())
        with autocast(CPU, self.dtype):
            logits = self.logits(held, rows)
        loss = F.cross_entropy(logits.float(), labels[rows])
        if not math.isfinite(loss.item()):
            raise SystemExit("the loss is not finite")
        loss.backward()
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(self.params, self.recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average:
            decay = min(self.recipe.ema, (2 + step) / (11 + step))
            torch._foreach_lerp_(self.average, [p.detach() for p in self.params], 1 - decay)

    @torch.inference_mode()
    def score(self) -> tuple[float, float]:
        """Accuracy and minus the loss on the valid part."""
        self.model.eval()
        held, labels, lengths = self.sides[False]
        chosen = torch.arange(len(labels)) if lengths is None else lengths.argsort(stable=True)
        with autocast(CPU, self.dtype):
            found = torch.cat([self.logits(held, rows).float() for rows in chosen.split(256 if self.probe else 64)])
        right = float((found.argmax(1) == labels[chosen]).float().mean())
        return right, -float(F.cross_entropy(found, labels[chosen]))

    @torch.no_grad()
    def _swap(self, values: list[Tensor]) -> list[Tensor]:
        before = [p.detach().clone() for p in self.params] if values else []
        for parameter, value in zip(self.params, values, strict=False):
            parameter.copy_(value)
        return before
