"""What a check may look at: the audited and split data, what their files say of themselves, and a trunk's features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graft.types import Dataset


@dataclass(frozen=True, eq=False)
class Seen:
    """`dataset`: audited and split, with `Sample.about` filled. `features` (N, D): pooled, of a trunk as it came; None
    where none was run, and checks that need them then say nothing. `classes` are looked at only where the labels are
    of kind "class"."""

    dataset: Dataset
    features: NDArray[np.float32] | None = None
    seed: int = 0
