"""Which way up a picture is: its four quarter turns to be told apart, without labels (RotNet, Gidaris et al. 2018).

"Unsupervised representation learning by predicting image rotations", ICLR 2018, arXiv:1803.07728. To know how a picture
is turned one has to know what it shows. As there, all four turns of a picture are in the batch, the trunk sees each
alone, and a layer on its pooled features says which one it is; a guess in the dark is right in one of four. It teaches
little about what looks the same from all sides, such as textures, cells or pictures taken from above.

Published: AlexNet, pretrained so on ImageNet, then detection on PASCAL VOC 2007: 54.4 mAP, 2.4 below supervised
pretraining (the abstract).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor, nn

from graft.nn import heads
from graft.tasks import _pretext
from graft.types import Batch, Features, Info, Predictions, Task
from graft.views.turns import VIEWS, Turns


def rotation(classes: tuple[str, ...] = (), *, head: str = "linear", scale: float = 0.5, flip: bool = True) -> Task:
    """The task of saying how a picture is turned; there are no labels, and `classes` mean nothing to it.

    head: "linear" or "mlp(hidden=(256,), dropout=0.2)". scale: the least share of the area that a crop shows before it
    is turned. flip: whether half of the crops are mirrored. Raises UsageError for what cannot be.
    """
    with torch.device("meta"):
        heads.build(head, 1, VIEWS)
    return Rotation(tuple(classes), head, Turns(scale, flip))


@final
@dataclass
class Rotation(_pretext.Guesses):
    """Made by `rotation`. Features have 4 B rows, the turns of a sample together; predictions (N, 3) are as
    `_pretext` says. The view crops and mirrors, in scoring always in the same way."""

    classes: tuple[str, ...]
    head_spec: str = "linear"
    view: Turns = field(default_factory=Turns)
    kind: str = "none"
    metric: str = "accuracy"
    needs: str = "views"

    def answers(self) -> int:
        return VIEWS

    def head(self, info: Info) -> nn.Module:
        """(4 B, D) -> (4 B, 4). Its features are those of a trunk that moves: their scale is not fixed in advance."""
        return heads.build(self.head_spec, info.dim, VIEWS, standardize=False)

    def loss(self, head: nn.Module, features: Features, batch: Batch) -> Tensor:
        """The mean cross-entropy of all turns of a batch. Raises UsageError where pictures were not turned, as in a
        frozen prefix, which sees them as they are."""
        return _pretext.loss(head(features.pooled), _pretext.truth_of(features, VIEWS, len(batch.rows)))

    def predict(self, head: nn.Module, features: Features) -> Predictions:
        """(B, 3) sums, float32. Raises UsageError as `loss` does."""
        return _pretext.predictions(head(features.pooled), _pretext.truth_of(features, VIEWS), VIEWS)
