"""What every task asks of predictions before it scores them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from graft.errors import DataError, ResourceError, UsageError


def array(values: Tensor) -> NDArray[Any]:
    """Predicted values as an array. Raises ResourceError where they are not numbers."""
    made = values.detach().float().cpu().numpy()
    if not np.isfinite(made).all():
        raise ResourceError("the model's predictions are not numbers: training diverged", "train again with a lower lr")
    return made


def belong(fits: bool, values: Tensor, targets: int, unit: str) -> None:
    """Raises DataError unless predictions fit their targets."""
    if not fits:
        raise DataError(f"predictions {tuple(values.shape)} do not belong to {targets} targets of {unit}",
                        "predict and score the same data set")  # fmt: skip


def some(kept: NDArray[np.bool_]) -> None:
    """Raises DataError unless one sample or more has a label."""
    if not kept.any():
        raise DataError(f"none of {len(kept)} samples has a label to score against", "label some of them")


def share(name: str, value: object) -> float:
    """A number between 0 and 1. Raises UsageError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise UsageError(f"{name}={value!r} is not between 0 and 1", f"choose 0 < {name} < 1")
    return float(value)


def count(name: str, value: object) -> int:
    """A whole number of at least 1. Raises UsageError for anything else."""
    if type(value) is not int or value < 1:
        raise UsageError(f"{name}={value!r} is not a number of at least 1", f"choose {name}=1 or more")
    return value
