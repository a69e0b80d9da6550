"""THE loop. A strategy yields phases; each is trained, scored, published; its result goes back to the strategy.

A resumed run replays the strategy: finished phases load their result, a half-done one goes on at its step. What happens
inside a phase is in phase.py.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from types import FrameType
from typing import Any, final

from torch import Tensor

from graft.checkpoint import Checkpoints
from graft.errors import Interrupted
from graft.features import Feed
from graft.freeze import freeze
from graft.phase import PhaseRun, Setting, Tell, how_to_go_on
from graft.progress import fill, own_state
from graft.scoring import predict
from graft.types import Flow, Model, Phase, Recipe, Result, Task


@final
class Loop:
    """Runs a strategy on a model, through any number of interruptions."""

    def __init__(
        self,
        model: Model,
        task: Task,
        train: Feed,
        valid: Feed,
        recipe: Recipe,
        checkpoints: Checkpoints | None,
        tell: Tell,
    ) -> None:
        self.model, self.checkpoints, self.tell = model, checkpoints, tell
        self.setting = Setting(model, task, train, valid, recipe, checkpoints, tell)
        train.tell = valid.tell = self._between_blocks

    def run(self, flow: Flow) -> list[Result]:
        """Drive the strategy to its end; returns what each of its phases came to."""
        results: list[Result] = []
        with self._signals():
            phase = next(flow, None)
            while phase is not None:
                result = self._finished(len(results), phase) or self._train(len(results), phase)
                results.append(result)
                self.setting.passed += result.epochs
                try:
                    phase = flow.send(result)
                except StopIteration:
                    phase = None
        if self.checkpoints and self.checkpoints.damaged:
            self.tell({"event": "damaged", "names": self.checkpoints.damaged})
        return results

    def _finished(self, number: int, phase: Phase) -> Result | None:
        stored = self.checkpoints.finished(number) if self.checkpoints else None
        if stored is None:
            return None
        tensors, owned = stored[0], own_state(phase.terms)
        fill(owned, {name: tensors[name] for name in owned})
        self.model.load_state_dict({name: value for name, value in tensors.items() if name not in owned})
        self.tell({"event": "phase_done", "again": True, **stored[1]})
        return Result(**stored[1])

    def _train(self, number: int, phase: Phase) -> Result:
        if phase.solve:
            result = _solve(self.setting, phase, phase.solve)
        else:
            result = PhaseRun(self.setting, number, phase).run()
        if self.checkpoints:
            state = {**self.model.state_dict(), **own_state(phase.terms)}
            self.checkpoints.save_phase(number, state, asdict(result))
        self.tell({"event": "phase_done", **asdict(result)})
        return result

    def _between_blocks(self, done: int, total: int) -> None:
        """While a frozen prefix is run: show how far it is, and stop when asked. What is kept on disk stays."""
        self.tell({"event": "features", "done": done, "total": total})
        if self.setting.signal:
            raise Interrupted(self.setting.signal, "interrupted", how_to_go_on(self.setting))

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """The first Ctrl-C or SIGTERM asks for a checkpoint and an end; the second one ends at once."""

        def ask(number: int, frame: FrameType | None) -> None:
            self.setting.signal = number
            signal.signal(number, before[number])

        before: dict[int, Any] = {}
        try:
            number: int
            for number in (signal.SIGINT, signal.SIGTERM):
                before[number] = signal.signal(number, ask)
        except ValueError:
            pass  # not the main thread: whoever runs us handles signals
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _solve(setting: Setting, phase: Phase, fit: Callable[[Tensor, Tensor], None]) -> Result:
    """A phase in one step: fit the head to the frozen features of all labelled samples."""
    began, model, train = time.monotonic(), setting.model, setting.train
    freeze(model, phase)
    model.eval()
    labelled, features, targets = train.targets >= 0, train.pooled(), train.targets
    if not bool(labelled.all()):  # else no copy: there may be millions, in a mapped file
        features, targets = features[labelled], targets[labelled]
    fit(features.to(train.device), targets.to(train.device))
    boundary = len(model.backbone.stages)
    scores: dict[str, float] = {}
    if len(setting.valid):
        predictions = predict(model, setting.task, setting.valid, boundary)
        scores = setting.task.score(predictions, setting.valid.targets)
    moved = sum(t.numel() for t in (*model.head.parameters(),) or model.head.state_dict().values())
    return Result(phase.name, 1, 0, scores, 0.0, moved, boundary, time.monotonic() - began)
