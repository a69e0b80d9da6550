"""What the explainers by gradients share: captum, and heads that have a gradient at all."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from graft.errors import MissingExtra
from graft.explainers._asked import Question
from graft.types import Inputs


def captum() -> Any:
    """Raises MissingExtra."""
    try:
        import captum.attr
    except ImportError:
        raise MissingExtra("captum", "trust") from None
    return captum.attr


@contextmanager
def differentiable(question: Question, method: str, inputs: Inputs) -> Iterator[None]:
    """Gradients are on, and the model's are as they were afterwards. Raises UsageError where the head has none."""
    with torch.inference_mode(False), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of captum: it sets hooks, and asks for gradients of its inputs
        if not question.score(_free(inputs.x), inputs.mask).requires_grad:
            raise question.refused(method, "its head has no gradient, as a forest has none")
        yield


def _free(x: Tensor) -> Tensor:
    """Ids of tokens have no gradient, the network's weights do."""
    return x.detach().clone().requires_grad_() if x.is_floating_point() else x


def something(question: Question, method: str, found: Tensor) -> Tensor:
    """Raises UsageError where the gradient is 0 everywhere: k nearest neighbours that are all of one class."""
    if not bool(found.isfinite().all()) or not bool(found.abs().max() > 0):
        raise question.refused(method, "its gradient is 0 everywhere, as where all nearest neighbours are of one class")
    return found.detach()
