"""A teacher that is the moving average of its student (Tarvainen & Valpola 2017, arXiv:1703.01780)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from graft.errors import UsageError


@final
class Teacher(nn.Module):
    """Its tensors are buffers: checkpoints hold them, and no optimiser moves them.

    The modules that it follows are called with these in place of their own, and do as they do now: in training
    BatchNorm takes the statistics of the batch, and what it keeps of them is the teacher's own. In evaluation nothing
    of a teacher changes.
    """

    def __init__(self, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self._students: dict[str, nn.Module] = {}  # a plain dict: no parts of the teacher

    def follow(self, students: Mapping[str, nn.Module]) -> None:
        """Begin as a copy of modules, each under a name."""
        self._students = dict(students)
        for name, student in students.items():
            for key, tensor in _tensors(student):
                self.register_buffer(_place(name, key), tensor.detach().clone())

    @torch.no_grad()
    def update(self) -> None:
        """teacher <- momentum * teacher + (1 - momentum) * student, of what is learned; nothing in evaluation.

        Nor where students have gradients: batches whose gradients are added up are one step, and it was followed before
        the first of them. Raises UsageError where a student has changed its form since.
        """
        self._check()
        if not self.training or self._within_a_step():
            return
        for name, student in self._students.items():
            for key, parameter in student.named_parameters():
                self.get_buffer(_place(name, key)).lerp_(parameter, 1 - self.momentum)

    def _within_a_step(self) -> bool:
        """The loop takes all gradients away after a step. That a tensor was written to does not tell: its version stays
        where the optimiser is fused."""
        return any(p.grad is not None for student in self._students.values() for p in student.parameters())

    @torch.no_grad()
    def forward(self, name: str, x: Any) -> Any:
        """What the module of this name makes of x by the teacher's tensors."""
        student = self._students[name]
        mine = {key: self.get_buffer(_place(name, key)) for key, _ in _tensors(student)}
        return functional_call(student, mine, (x,))

    def _check(self) -> None:
        theirs = {_place(name, key) for name, student in self._students.items() for key, _ in _tensors(student)}
        if theirs != {key for key, _ in self.named_buffers()}:
            what = "the strategy has put layers into the trunk that its moving average does not have"
            raise UsageError(what, "choose one that moves the trunk as it is: --strategy full")


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _place(name: str, key: str) -> str:
    """The name of a buffer, which may have no dots."""
    return f"{name}/{key.replace('.', '/')}"
