"""Hidden patches of a picture to be painted from the others, without labels (MAE, He et al. 2022).

"Masked autoencoders are scalable vision learners", CVPR 2022, arXiv:2111.06377. As there, 75 % of the patches are
hidden, the loss is the mean squared error of the hidden ones alone, and what is to be guessed of a patch are its values
less their mean, by their deviation. Their transformer leaves hidden patches out, and so sees a quarter of the tokens. A
convolution cannot: here patches are blanked in the picture, and the trunk sees all of it, as in SimMIM (Xie et al.
2022, arXiv:2111.09886). So every trunk with maps or tokens can be pretrained, at the cost of a whole picture each.

Published: ImageNet-1K top-1 after fine-tuning, 87.8 % with a ViT-Huge that is pretrained on it alone (MAE, the
abstract), 83.8 % with a ViT-B (SimMIM, the abstract).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor, nn

from graft.device import seeded
from graft.errors import UsageError
from graft.nn.painter import Painter
from graft.nn.tied import Tied
from graft.tasks import _checks, _pretext, _pretext_values
from graft.types import Backbone, Batch, Features, Info, Predictions, Task
from graft.views.patches import Patches


def masked_autoencoder(
    classes: tuple[str, ...] = (),
    *,
    share: float = 0.75,
    grid: int = 8,
    width: int = 128,
    scale: float = 0.2,
    flip: bool = True,
) -> Task:
    """The task of painting hidden patches; there are no labels, and `classes` mean nothing to it.

    share: of the patches that are hidden. grid: patches in a line; 14 for the authors' transformers. width: channels
    of the decoder. scale: the least share of the area that a crop shows. flip: whether half of the crops are mirrored.
    Raises UsageError for what cannot be.
    """
    view = Patches(share, grid, scale, flip)
    return MaskedAutoencoder(tuple(classes), _checks.count("width", width), view)


@final
@dataclass
class MaskedAutoencoder(_pretext_values.Values):
    """Made by `masked_autoencoder`. Predictions (N, 3) are as `_pretext_values` says. The view crops, mirrors and
    hides, in training each epoch other patches, in scoring always the same ones."""

    classes: tuple[str, ...]
    width: int = 128
    view: Patches = field(default_factory=Patches)
    kind: str = "none"
    metric: str = "explained"
    needs: str = "maps"

    def head(self, info: Info) -> nn.Module:
        """Features -> (B, P, W), the values of all patches; it is made when it gets to know the trunk."""
        return Patched(self.width, self.view)

    def loss(self, head: nn.Module, features: Features, batch: Batch) -> Tensor:
        """The mean squared error of the hidden values of a batch. Raises UsageError where nothing was hidden, as in a
        frozen prefix, which sees pictures as they are."""
        truth = _pretext.truth_of(features, 1, len(batch.rows))
        return _pretext_values.loss(head(features), truth)

    def predict(self, head: nn.Module, features: Features) -> Predictions:
        """(B, 3) sums, float32. Raises UsageError as `loss` does."""
        truth = _pretext.truth_of(features, 1)
        return _pretext_values.predictions(head(features), truth)


@final
class Patched(Tied):
    """A decoder as large as the trunk's maps, or the plane of its tokens, ask for."""

    def __init__(self, width: int, view: Patches) -> None:
        super().__init__()
        self.width, self.view = width, view
        self._seed = int(torch.randint(2**62, ()))  # drawn now, as the seed of a run says; its size is not known yet

    def tie(self, backbone: Backbone) -> None:
        """Makes the decoder for what the trunk shows of a picture. Raises UsageError for one that shows neither maps
        nor tokens."""
        inputs, features = _pretext.shown(backbone, self.view)
        if not features.maps and features.tokens is None:
            what = f"{backbone.info.source} says nothing of single places of a picture, of which some could be hidden"
            raise UsageError(what, "choose another trunk, such as --backbone small, or another task: --task simclr")
        assert inputs.truth is not None, "the view says what is hidden"
        _, patches, values = inputs.truth.shape
        plane = _plane(features)
        with seeded(self._seed):
            self.painter = Painter(plane.shape[1], plane.shape[2], math.isqrt(patches), values, self.width)

    def forward(self, features: Features) -> Tensor:
        out: Tensor = self.painter(_plane(features))
        return out


def _plane(features: Features) -> Tensor:
    """(B, C, h, w): the last maps, or the tokens of places in lines; those before them stand for no place."""
    if features.maps:
        return features.maps[-1]
    assert features.tokens is not None, "this task needs maps or tokens"
    side = math.isqrt(features.tokens.shape[1])
    plane: Tensor = features.tokens[:, -side * side :].mT
    return plane.reshape(*plane.shape[:2], side, side)
