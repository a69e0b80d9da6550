"""The classes of a teacher beside those of the data: the same ones, each in its place."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from graft.errors import UsageError
from graft.nn.named import Named
from graft.types import Backbone

FEATURES = "of='features' learns from its features"


def told(teacher: Backbone, name: str, head: nn.Module, classes: tuple[str, ...] | None, by: str) -> Classes:
    """`head` is the student's, `classes` those of the data, `by` as in `distill`. Raises UsageError for a teacher that
    does not tell the same classes apart, or not surely."""
    return Classes(teacher, name, _columns(head, classes), classes, by)


@final
class Classes:
    """(B, D) of the teacher -> its logits (B, C), in the order of the data's classes."""

    def __init__(self, teacher: Backbone, name: str, columns: int, classes: tuple[str, ...] | None, by: str) -> None:
        if "classes" not in teacher.heads:
            raise UsageError(f"{name} brings no classes to learn from", FEATURES)
        self.head = teacher.heads["classes"]
        known = self.head.classes if isinstance(self.head, Named) else None
        if _said(teacher, name) != columns:
            what = f"{name} tells {_said(teacher, name)} classes apart, and the data have {columns}"
            raise UsageError(what, FEATURES)
        self.order = _order(known, classes, name, by, columns)

    def __call__(self, told: Tensor) -> Tensor:
        logits: Tensor = self.head(told)
        return logits[:, self.order.to(logits.device)]


def _columns(head: nn.Module, classes: tuple[str, ...] | None) -> int:
    """Classes that the student tells apart. Raises UsageError for the head of a task that tells none apart."""
    layer = head[-1] if isinstance(head, nn.Sequential) else head
    if not isinstance(layer, nn.Linear) or (classes is not None and len(classes) != layer.out_features):
        raise UsageError("of='classes' is for data with one class for each sample", FEATURES)
    return layer.out_features


def _said(teacher: Backbone, name: str) -> int:
    """How many classes the teacher's head tells apart, of pooled features."""
    try:
        with torch.no_grad():
            return int(teacher.heads["classes"](next(teacher.parameters()).new_zeros(1, teacher.info.dim)).shape[1])
    except (RuntimeError, IndexError):
        raise UsageError(f"the head of {name} looks at more than its pooled features", FEATURES) from None


def _order(known: tuple[str, ...] | None, classes: tuple[str, ...] | None, name: str, by: str, columns: int) -> Tensor:
    """(C,) the teacher's column of each class. Raises UsageError where names are missing, or are others: a column that
    is taken for another class teaches what is wrong."""
    if known and classes and set(known) == set(classes):
        return torch.tensor([known.index(one) for one in classes])
    if by == "place":
        return torch.arange(columns)
    if known and classes:
        odd = ", ".join(sorted(set(known) ^ set(classes))[:4])
        raise UsageError(f"{name} tells other classes apart than the data have: {odd}", FEATURES)
    what = f"nobody says which classes {name if classes else 'the data'} tells apart"
    raise UsageError(what, "by='place' if they stand in the order of the data's; a teacher trained:<run> names them")
