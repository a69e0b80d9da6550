"""Colours of many pictures at once, each with factors of its own: what torchvision's adjust_* do to one at a time.

Pictures are (B, 3, H, W) float, 0 to 255, planes one after the other in memory; factors are (B,). Nothing is
rounded here, where torchvision cuts off the decimals of bytes after each step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
_STEPS = 4
_GREY = (0.2989, 0.587, 0.114)  # ITU-R BT.601, as torchvision has it


def jitter(pictures: Tensor, factors: Tensor, orders: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue, in place, each by its factor (B, 4), clamped to 0..255 after each.

    `orders` (B, 4) say which comes first, second, third and last. A hue is turned by a part of the circle, -0.5 to 0.5.
    """
    for step in range(_STEPS):
        kind = orders[:, step]
        _blend(pictures, factors.gather(1, kind[:, None])[:, 0], kind)
        turned = (kind == HUE).nonzero()[:, 0]
        if len(turned):
            pictures[turned] = _hue(pictures[turned], factors[turned, HUE])
    return pictures


def grey(pictures: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, 1, H, W)."""
    red, green, blue = pictures[:, :1], pictures[:, 1:2], pictures[:, 2:]
    return (red * _GREY[0]).add_(green, alpha=_GREY[1]).add_(blue, alpha=_GREY[2])


def _blend(pictures: Tensor, factor: Tensor, kind: Tensor) -> None:
    """Of each picture a mixture with black (brightness), with the mean of its greys (contrast), or with its greys."""
    factor, greys = factor.view(-1, 1, 1, 1), grey(pictures)
    is_contrast, is_saturation, is_hue = (kind.view(-1, 1, 1, 1) == one for one in (CONTRAST, SATURATION, HUE))
    mean = greys.mean((2, 3), keepdim=True) * ((1 - factor) * is_contrast)
    other = greys.mul_((1 - factor) * is_saturation).add_(mean)
    pictures.mul_(factor.masked_fill(is_hue, 1)).add_(other).clamp_(0, 255)


def _hue(pictures: Tensor, turn: Tensor) -> Tensor:
    """Through hue, saturation and value (Smith 1978): the largest and the smallest of the three colours stay."""
    red, green, blue = pictures.unbind(1)
    high, low = red.maximum(green).maximum(blue), red.minimum(green).minimum(blue)
    chroma = high - low
    below_red = _where_equal(high, green, blue - red + 2 * chroma, red - green + 4 * chroma)
    sixth = _where_equal(high, red, green - blue, below_red).div_(chroma.clamp_min(1e-6))
    sixth.add_(6 * turn.view(-1, 1, 1))
    sixth = sixth.sub_(sixth.div(6).floor_().mul_(6))  # 0 to 6: red, yellow, green, cyan, blue, magenta, red
    shares = (sixth - 3).abs_().sub_(1), (sixth - 2).abs_().neg_().add_(2), (sixth - 4).abs_().neg_().add_(2)
    return torch.stack([share.clamp_(0, 1).mul_(chroma).add_(low) for share in shares], 1)


def _where_equal(a: Tensor, b: Tensor, then: Tensor, otherwise: Tensor) -> Tensor:
    """torch.where is not vectorised on processors: this takes a tenth of its time."""
    return otherwise.addcmul_((a - b).eq_(0), then - otherwise)


def blurred(pictures: Tensor, sigma: Tensor) -> Tensor:
    """A Gaussian of `sigma` (B,) pixels, as wide as a tenth of the picture, whose edges are mirrored."""
    count, channels, height, width = pictures.shape
    radius = max(1, round(0.1 * height) // 2)
    steps = torch.arange(-radius, radius + 1, device=pictures.device)
    kernel = (-(steps**2) / (2 * sigma[:, None] ** 2)).softmax(1).repeat_interleave(channels, 0)  # (B * 3, k)
    planes = nn.functional.pad(pictures, (radius,) * 4, mode="reflect").flatten(0, 1)[None]
    made = nn.functional.conv2d(planes, kernel[:, None, None, :], groups=count * channels)
    made = nn.functional.conv2d(made, kernel[:, None, :, None], groups=count * channels)
    return made.reshape(pictures.shape)
