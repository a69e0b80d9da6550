"""Projectors and predictors: perceptrons on pooled features, which are trained with the trunk and then left behind."""

from __future__ import annotations

from torch import nn


def projector(*widths: int, bias: bool = True) -> nn.Sequential:
    """(B, widths[0]) -> (B, widths[-1]): Linear, BatchNorm and ReLU for each hidden width, then a linear layer.

    With one hidden width those of SimCLR (Chen et al. 2020, arXiv:2002.05709) and BYOL (Grill et al. 2020,
    arXiv:2006.07733), with two the expander of VICReg (Bardes et al. 2022, arXiv:2105.04906). Theirs are 2,048, 4,096
    and 8,192 wide, for a ResNet-50 and its 2,048 features. Tasks take less for small trunks, or most of a step would
    be spent here. BatchNorm takes the bias of the layer before it away, so that one has none. `bias` is that of the
    last layer: the authors of VICReg have none, as no term of their loss would see it.
    """
    layers: list[nn.Module] = []
    for before, after in zip(widths[:-2], widths[1:-1], strict=True):
        layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1], bias=bias))
