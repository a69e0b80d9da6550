"""In which order the nine tiles of a picture are shown: a puzzle to be solved, without labels (Noroozi & Favaro 2016).

"Unsupervised learning of visual representations by solving jigsaw puzzles", ECCV 2016, arXiv:1603.09246. To put
parts in their places one has to know what they are parts of. As there, the trunk sees each tile alone, a layer that is
the same for all tiles makes a few numbers of each, and the layers behind it see the nine side by side and say which of
a set of permutations it is. Tiles are as small as their picture makes them: nine of them cost as much as one picture.

Published: AlexNet's layers, pretrained so on ImageNet, then detection on PASCAL VOC 2007: 51.8 mAP, where supervised
pretraining has 56.5 (the abstract of the first version). The authors' settings are 100 permutations, layers of 1024 and
4096, dropout of a half. The layers here are an eighth as wide, as are the trunks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor, nn

from graft.errors import UsageError
from graft.nn import heads
from graft.nn.tied import Tied
from graft.tasks import _checks, _pretext
from graft.types import Backbone, Batch, Features, Info, Predictions, Task
from graft.views.tiles import VIEWS, Tiles

HEAD = "mlp(hidden=(512,), dropout=0.5)"


def jigsaw(
    classes: tuple[str, ...] = (),
    *,
    permutations: int = 100,
    head: str = HEAD,
    width: int = 128,
    grey: float = 0.3,
    flip: bool = True,
    tile: int | None = None,
) -> Task:
    """The task of saying in which order tiles are shown; there are no labels, and `classes` mean nothing to it.

    permutations: to choose from; of more it is harder. head: the layers behind the nine tiles. width: numbers of each
    tile that these see. grey: share of the pictures without colours. flip: whether half of them are mirrored. tile:
    pixels of a tile's side as the trunk sees it, at least 8; None: as it is cut, or 16 if that is less. Raises
    UsageError for what cannot be.
    """
    with torch.device("meta"):
        heads.build(head, 1, 2)
    return Jigsaw(tuple(classes), head, _checks.count("width", width), Tiles(permutations, grey, flip, tile))


@final
@dataclass
class Jigsaw(_pretext.Guesses):
    """Made by `jigsaw`. Features have 9 B rows, the tiles of a sample together, in the order in which they are shown;
    predictions (N, 3) are as `_pretext` says: one guess for each sample. In scoring the puzzles are always the same."""

    classes: tuple[str, ...]
    head_spec: str = HEAD
    width: int = 128
    view: Tiles = field(default_factory=Tiles)
    kind: str = "none"
    metric: str = "accuracy"
    needs: str = "views"

    def answers(self) -> int:
        return self.view.count

    def head(self, info: Info) -> nn.Module:
        """(9 B, D) -> (B, permutations)."""
        return Puzzle(info.dim, self.width, self.head_spec, self.view)

    def loss(self, head: nn.Module, features: Features, batch: Batch) -> Tensor:
        """The mean cross-entropy of a batch. Raises UsageError where pictures were not cut, as in a frozen prefix,
        which sees them as they are."""
        truth = _pretext.truth_of(features, VIEWS, len(batch.rows))
        return _pretext.loss(head(features.pooled), truth[::VIEWS])

    def predict(self, head: nn.Module, features: Features) -> Predictions:
        """(B, 3): the loss, whether the guess is right, and 1; float32. Raises UsageError as `loss` does."""
        truth = _pretext.truth_of(features, VIEWS)[::VIEWS]
        return _pretext.predictions(head(features.pooled), truth, 1)


@final
class Puzzle(Tied):
    """(9 B, D) features of tiles -> (B, permutations): one layer for all tiles, then a head on the nine together."""

    def __init__(self, dim: int, width: int, head: str, view: Tiles) -> None:
        super().__init__()
        self.view = view
        self.each = nn.Sequential(nn.Linear(dim, width), nn.ReLU())
        self.whole = heads.build(head, VIEWS * width, view.count, standardize=False)

    def tie(self, backbone: Backbone) -> None:
        """Raises UsageError for a trunk that cannot look at such tiles, such as a transformer of fixed size."""
        try:
            _pretext.shown(backbone, self.view)
        except (RuntimeError, AssertionError, ValueError) as error:
            what = f"{backbone.info.source} cannot look at the tiles of a picture: {_pretext.refusal(error)}"
            hint = f"show them larger: --task 'jigsaw(tile={backbone.preprocess.json()['size']})'"
            raise UsageError(what, hint) from None

    def forward(self, pooled: Tensor) -> Tensor:
        out: Tensor = self.whole(self.each(pooled).unflatten(0, (-1, VIEWS)).flatten(1))
        return out
