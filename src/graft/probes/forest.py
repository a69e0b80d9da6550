"""Random forest (Breiman 2001), grown by scikit-learn and walked by PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graft.probes._data import FLOOR, known, offset, positive, spread, tensors
from graft.types import Probe


def forest(*, trees: int = 200) -> Probe:
    """scikit-learn's RandomForestClassifier with random_state=0; logits are log probabilities, at least log 1e-12.

    DataError for features that are not finite or samples of fewer than two classes.
    """
    positive("trees", trees)
    return _Forest(trees)


@final
@dataclass(frozen=True)
class _Forest:
    """Arrays of M nodes of all trees: left, right (M,) children, both the node itself at a leaf; feature, threshold,
    row (M,) of a leaf in values (R, K), the different class shares; roots (T,), offset (C,)."""

    trees: int

    def fit(self, features: Tensor, targets: Tensor, classes: int) -> dict[str, Tensor]:
        from sklearn.ensemble import RandomForestClassifier

        data = known(features, targets, classes)
        model = RandomForestClassifier(self.trees, random_state=0, n_jobs=1).fit(data.x, data.y)
        trees = [estimator.tree_ for estimator in model.estimators_]
        return {"offset": offset(data.present, classes)} | tensors(**_nodes(trees))

    def logits(self, arrays: Mapping[str, Tensor], features: Tensor) -> Tensor:
        leaves = _walk(arrays, features.float())
        shares = arrays["values"][arrays["row"][leaves]].mean(1)
        return spread(shares.clamp(min=FLOOR).log(), arrays["offset"])


def _walk(arrays: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """(B, D) float32 -> the leaf (B, T) that each sample ends at in each tree; all go down one level at a time."""
    node = arrays["roots"].expand(len(x), -1)
    while True:
        goes_left = x.gather(1, arrays["feature"][node]) <= arrays["threshold"][node]
        below = torch.where(goes_left, arrays["left"][node], arrays["right"][node])
        if torch.equal(below, node):
            return node
        node = below


def _nodes(trees: list[Any]) -> dict[str, NDArray[Any]]:
    """All trees as one: node numbers count on from tree to tree."""
    sizes = np.array([tree.node_count for tree in trees])
    roots = np.cumsum(sizes) - sizes
    itself, start = np.arange(sizes.sum()), np.repeat(roots, sizes)
    left, right, feature, threshold = (
        np.concatenate([getattr(tree, name) for tree in trees])
        for name in ("children_left", "children_right", "feature", "threshold")
    )
    leaf = left < 0
    # most leaves are of one class, so that few rows are different
    values, row = np.unique(np.concatenate([tree.value[:, 0] for tree in trees])[leaf], axis=0, return_inverse=True)
    rows = np.zeros(len(leaf), dtype=np.int64)
    rows[leaf] = row
    return {
        "left": np.where(leaf, itself, left + start), "right": np.where(leaf, itself, right + start),
        "feature": np.where(leaf, 0, feature), "threshold": _floor32(threshold), "row": rows,
        "values": values / values.sum(1, keepdims=True), "roots": roots,
    }  # fmt: skip


def _floor32(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 that is not above: for a float32 x the answer to x <= threshold stays what it was."""
    near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near).astype(np.float32)
