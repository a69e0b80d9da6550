"""One view tells what a moving average of the network makes of the other (Grill et al. 2020, arXiv:2006.07733): BYOL.

Published, linear probe on frozen features: ResNet-18, 1,000 epochs, CIFAR-10 92.6 %, CIFAR-100 70.5 % (solo-learn);
k-NN, CIFAR-10, 86.9 % after 200 epochs, 91.0 % after 800 (lightly).
"""

from __future__ import annotations

from typing import final

from torch import Tensor, nn
from torch.nn import functional as F

from graft.nn.projector import projector
from graft.nn.teacher import Teacher
from graft.nn.tied import Tied
from graft.tasks import _checks, _pairs
from graft.types import Backbone, Features, Inputs, Task
from graft.views.pair import Pair


def byol(
    classes: tuple[str, ...] = (),
    *,
    momentum: float = 0.99,
    dim: int = 256,
    hidden: int = 1024,
    scale: float = 0.2,
    flip: bool = True,
    colour: float = 0.5,
    grey: float = 0.2,
    blur: float = 0.0,
) -> Task:
    """The task of guessing the teacher's embeddings; there are no labels, and `classes` mean nothing to it.

    momentum: what a step keeps of the teacher. The paper begins with 0.99 for up to 300 epochs, 0.996 for 1,000, and
    rises to 1; here it stays, as a head does not know how long a run will be. dim, hidden: widths of the projector and
    the predictor, 256 and 4,096 in the paper. The others are those of the views (`views.pair.Pair`). Raises UsageError
    for what cannot be.
    """
    kept = _checks.share("momentum", momentum)
    wide, last = _checks.count("hidden", hidden), _checks.count("dim", dim)
    return _pairs.TwoViews(
        tuple(classes),
        Pair(scale, flip, colour, grey, blur),
        make=lambda info: Byol(info.dim, wide, last, kept),
        objective=regression,
        outputs=guessed,
    )


@final
class Byol(Tied):
    """Projector and predictor, and the teacher: the moving average of trunk and projector."""

    def __init__(self, width: int, hidden: int, dim: int, momentum: float) -> None:
        super().__init__()
        self.projector = projector(width, hidden, dim)
        self.predictor = projector(dim, hidden, dim)
        self.teacher = Teacher(momentum)

    def tie(self, backbone: Backbone) -> None:
        self.teacher.follow({"trunk": backbone, "projector": self.projector})

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, D) -> (B, dim), the embeddings; the predictor is for training alone."""
        made: Tensor = self.projector(pooled)
        return made

    def taught(self, inputs: Inputs) -> Tensor:
        """(B, dim), what the teacher makes of the inputs of the trunk. In training it has followed the optimiser's last
        step before, once."""
        self.teacher.update()
        features: Features = self.teacher("trunk", inputs)
        made: Tensor = self.teacher("projector", features.pooled)
        return made


def guessed(head: nn.Module, pooled: Tensor, inputs: Inputs) -> tuple[Tensor, ...]:
    """What the predictor says of both views, and what the teacher makes of them."""
    assert isinstance(head, Byol)
    return head.predictor(head(pooled)), head.taught(inputs)


def regression(first: Tensor, second: Tensor, taught_first: Tensor, taught_second: Tensor) -> Tensor:
    """Equation 2 and its mirror image, all (B, E): each view guesses the teacher's other one, and the squared distance
    of unit vectors is 2 - 2 cos. The sum of both, from 0 to 8, the mean over samples."""
    cosines = F.cosine_similarity(first, taught_second) + F.cosine_similarity(second, taught_first)
    return (4 - 2 * cosines).mean()
