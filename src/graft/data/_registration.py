"""Which window of one picture shows another one? Least squares over scale and shift (Lucas & Kanade, An Iterative Image
Registration Technique, 1981), for many small pairs at once.

A window is (width, height, x, y) in half sides of the picture: (1, 1, 0, 0) is all of it, (0.95, 0.95, 0.05, -0.05) its
upper right corner.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

STEPS = 4
_FURTHEST = 0.06  # in one step
_LARGEST = 0.14  # in all


def register(one: Tensor, other: Tensor, steps: int = STEPS) -> tuple[Tensor, Tensor]:
    """(B, H, W) grey, twice -> the correlation (B,) of `one` with the best window (B, 4) of `other`, where both show
    something: a window may be larger than the picture. Brightness and contrast do not matter."""
    window = torch.tensor([1.0, 1.0, 0.0, 0.0]).repeat(len(one), 1)
    best, found = torch.full((len(one),), -1.0), window
    for _ in range(steps + 1):
        shown, inside = _through(other, window)
        left, right = _unit(one, inside), _unit(shown, inside)
        agree = (left * right).sum((1, 2))
        better = agree > best
        best, found = torch.where(better, agree, best), torch.where(better[:, None], window, found)
        window = _nearer(window, left, right, inside)
    return best, found


def _through(pictures: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
    """What is seen through windows, and where these lie inside of the picture: (B, H, W) each."""
    scale, shift = torch.diag_embed(window[:, :2]), window[:, 2:, None]
    grid = functional.affine_grid(torch.cat([scale, shift], 2), [len(pictures), 1, *pictures.shape[1:]], False)
    shown = functional.grid_sample(pictures[:, None], grid, "bicubic", "border", align_corners=False)
    return shown[:, 0], (grid.abs() <= 1).all(-1).float()


def _unit(pictures: Tensor, inside: Tensor) -> Tensor:
    mean = (pictures * inside).sum((1, 2), keepdim=True) / inside.sum((1, 2), keepdim=True).clamp(min=1)
    centred = (pictures - mean) * inside
    return centred / centred.square().sum((1, 2), keepdim=True).sqrt().clamp(min=1e-6)


def _nearer(window: Tensor, left: Tensor, right: Tensor, inside: Tensor) -> Tensor:
    """One step of Gauss and Newton; brightness and contrast are solved for, too."""
    height, width = left.shape[1:]
    x = ((torch.arange(width) + 0.5) * 2 / width - 1).expand(height, width)
    y = ((torch.arange(height) + 0.5) * 2 / height - 1)[:, None].expand(height, width)
    down, across = torch.gradient(right, dim=(1, 2))
    down, across = down * height / 2, across * width / 2
    slopes = torch.stack([across * x, down * y, across, down, right, inside], 1).mul_(inside[:, None]).flatten(2)
    normal = slopes @ slopes.transpose(1, 2)
    normal = normal + 1e-4 * torch.diag_embed(normal.diagonal(dim1=1, dim2=2)) + 1e-9 * torch.eye(6)
    step = torch.linalg.solve(normal, slopes @ (left - right).flatten(1)[:, :, None])[:, :4, 0]
    whole = torch.tensor([1.0, 1.0, 0.0, 0.0])
    moved: Tensor = whole + (window + step.clamp(-_FURTHEST, _FURTHEST) - whole).clamp(-_LARGEST, _LARGEST)
    return moved
