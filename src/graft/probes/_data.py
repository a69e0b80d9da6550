"""What every probe does before it fits: check, order, standardise, and leave out the classes without samples."""

from __future__ import annotations

import hashlib
import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from graft.errors import DataError, ResourceError, UsageError
from graft.nn.heads import Standardize
from graft.rows import not_finite, spans
from graft.shelf import GIGA, memory_budget

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
LEAST = 1 << 28  # bytes that are always asked for, however little is free
ABSENT = -1e4  # the logit of a class without samples: its probability is 0, and half precision can hold it
FLOOR = 1e-12  # the least probability that a vote or a share of trees is taken for: log 0 is no logit


class Known(NamedTuple):
    """A training set in an order that depends on nothing but its content, so no probe depends on how it came."""

    x: Array  # (N, D)
    y: Labels  # (N,) positions in `present`
    present: Labels  # (K,) classes that have samples, ascending


def known(features: Tensor, targets: Tensor, classes: int) -> Known:
    """(N, D) features of any float type and (N,) indices. DataError for what no probe can be fitted to.

    Copies them as float64: ResourceError if that is more than rows may take (graft.shelf.memory_budget).
    """
    rows, index, present = checked(features, targets, classes)
    _fits(rows)
    keys = [key for at in spans(rows) for key in zip(_digests(_exact(rows[at])), index[at].tolist(), strict=True)]
    order, x = np.array(sorted(range(len(keys)), key=keys.__getitem__)), np.empty(rows.shape)
    for at in spans(rows):  # in blocks, so that there is one copy
        x[at] = _exact(rows[torch.from_numpy(order[at])])
    return Known(x, index[order], present)


def _exact(rows: Tensor) -> Array:
    return np.asarray(rows.double().numpy() + 0.0)  # -0.0 becomes 0.0


def _digests(x: Array) -> list[bytes]:
    return [hashlib.blake2b(row.tobytes()).digest() for row in x]


def _fits(rows: Tensor) -> None:
    size, free = 8 * rows.numel(), max(memory_budget(), LEAST)
    if size <= free:
        return
    what = f"features {tuple(rows.shape)} take this probe {size / GIGA:.1f} GB, and rows may take {free / GIGA:.1f} GB"
    ways = "choose ridge, lda, centroid or a standardised logistic, which read them block by block"
    more = f"give fewer samples, or, on a machine with room for three copies, GRAFT_MEMORY={math.ceil(size / GIGA)}"
    raise ResourceError(what, ways if len(rows) > rows.shape[1] else more)


def checked(features: Tensor, targets: Tensor, classes: int) -> tuple[Tensor, Labels, Labels]:
    """The features on the processor, and y and present as in `Known`, all in their own order. DataError as `known`."""
    x, y = features.detach().cpu() if features.requires_grad else features.cpu(), targets.detach().cpu().numpy()
    if x.ndim != 2 or y.shape != x.shape[:1]:
        raise DataError(f"features {tuple(x.shape)} do not belong to targets {y.shape}",
                        "give (N, D) features, (N,) targets")  # fmt: skip
    if len(bad := not_finite(x)):
        raise DataError(f"the features of sample {bad[0]} are not finite", "leave the sample out, or extract in fp32")
    if len(y) and not 0 <= y.min() <= y.max() < classes:
        raise DataError(f"targets from {y.min()} to {y.max()} are not indices of {classes} classes",
                        "leave out samples without a label")  # fmt: skip
    present, index = np.unique(y, return_inverse=True)
    if len(present) < 2:
        raise DataError(f"the samples are of {len(present)} class: nothing to tell apart", "label a second class")
    return x, index.astype(np.int64), present.astype(np.int64)


def by_content(features: Tensor) -> Labels:
    """(N,) an order of many rows by a sum of their bits: who is held out then does not depend on how they came."""
    keys = np.empty(len(features), dtype=np.int64)
    for at in spans(features):
        rows = features[at].float() + 0.0
        keys[at] = rows.view(torch.int32).sum(1).numpy()
    return np.argsort(keys, kind="stable")


def standardized(x: Array) -> tuple[Array, Array, Array]:
    """(N, D) -> z (N, D), mean (D,) and deviation (D,) as the heads do it, in float64: z = (x - mean) / deviation."""
    layer = Standardize(x.shape[1]).double()
    layer.fit(torch.from_numpy(x))
    mean, deviation = layer.mean.numpy(), layer.deviation.numpy()
    return (x - mean) / deviation, mean, deviation


def offset(present: Labels, classes: int) -> Tensor:
    """(C,): 0 for a class that has samples, ABSENT for one that has none."""
    column = torch.full((classes,), ABSENT, dtype=torch.float64)
    column[torch.from_numpy(present)] = 0.0
    return column


def spread(scores: Tensor, offsets: Tensor) -> Tensor:
    """Scores (B, K) of the present classes -> logits (B, C), ABSENT elsewhere."""
    logits = offsets.expand(len(scores), -1).clone()
    logits[:, offsets == 0] = scores
    return logits


def squares(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances of (B, D) and (S, D) -> (B, S)."""
    return (a.square().sum(1, keepdim=True) + b.square().sum(1) - 2 * (a @ b.T)).clamp(min=0)


def unit(x: Tensor) -> Tensor:
    """Rows (B, D) of length 1, however short they were; only zeros stay zeros."""
    return F.normalize(x, dim=1, eps=max(1e-150, torch.finfo(x.dtype).tiny))  # the square is not yet zero


def positive(name: str, value: float | None) -> None:
    """UsageError unless an option is a positive number, or None where the data choose it."""
    if value is not None and not 0 < value < float("inf"):
        raise UsageError(f"{name}={value} is not a positive number", f"choose {name} > 0")


def tensors(**arrays: Any) -> dict[str, Tensor]:
    """Named arrays as tensors with their own memory."""
    return {name: torch.tensor(np.asarray(array)) for name, array in arrays.items()}
