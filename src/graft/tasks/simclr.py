"""Two views of a picture are told from those of all others in the batch (Chen et al. 2020, arXiv:2002.05709).

Published, linear probe on frozen features: ResNet-18, 1,000 epochs, CIFAR-10 90.7 %, CIFAR-100 65.8 % (solo-learn);
k-NN, CIFAR-10, 200 epochs, 84.7 % (lightly).
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from graft.augment import within
from graft.nn.projector import projector
from graft.tasks import _checks, _pairs
from graft.types import Task
from graft.views.pair import Pair


def simclr(
    classes: tuple[str, ...] = (),
    *,
    temperature: float = 0.5,
    dim: int = 128,
    hidden: int = 512,
    scale: float = 0.2,
    flip: bool = True,
    colour: float = 0.5,
    grey: float = 0.2,
    blur: float = 0.0,
) -> Task:
    """The task of finding the other view; there are no labels, and `classes` mean nothing to it.

    temperature: of the cosines, the paper's for CIFAR-10. dim, hidden: widths of the projector. The others are those
    of the views (`views.pair.Pair`). Raises UsageError for what cannot be.
    """
    within(0 < temperature < math.inf, "temperature", temperature, "a temperature", "temperature > 0")
    widths = _checks.count("hidden", hidden), _checks.count("dim", dim)
    return _pairs.TwoViews(
        tuple(classes),
        Pair(scale, flip, colour, grey, blur),
        make=lambda info: projector(info.dim, *widths),
        objective=partial(nt_xent, temperature=temperature),
    )


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Equation 1, the mean over all 2 B views: of the embeddings (B, E) of two views of B samples, the cross-entropy
    of finding the other view of a sample among all 2 B - 1 others, by cosine / temperature."""
    views = F.normalize(torch.cat([first, second]), dim=1)
    itself = torch.eye(len(views), dtype=torch.bool, device=views.device)
    logits = (views @ views.T / temperature).masked_fill(itself, -torch.inf)
    return F.cross_entropy(logits, torch.arange(len(views), device=views.device).roll(len(first)))
