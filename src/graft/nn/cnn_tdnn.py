"""A convolutional front in time and frequency, then residual convolutions in time (Thienpondt et al. 2021,
arXiv:2104.02370, "CNN-TDNN", without squeeze and excitation).

Voices differ by shifts in frequency: convolutions that slide over it know a sound again. What is behind slides over
time alone. Padding is zero after every layer, and counts in no statistics of a BatchNorm: a sound alone and
beside a longer one gives the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

KERNEL = 5  # frames that a convolution in time sees


class Front(nn.Module):
    """(B, T, stack * mels), mask (B, T) -> (B, T, dim). The first convolution takes `stack` spectra to one frame, and
    each one halves the frequencies."""

    def __init__(self, mels: int, stack: int, widths: Sequence[int], dim: int) -> None:
        super().__init__()
        self.mels, self.stack = mels, stack
        sizes = (1, *widths)
        strides = [(stack if i == 0 else 1, 2) for i in range(len(widths))]
        self.convs = nn.ModuleList(_planes(a, b, s) for a, b, s in zip(sizes, widths, strides, strict=False))
        left = mels
        for _ in widths:
            left = -(-left // 2)
        self.project = nn.ModuleList([nn.Linear(widths[-1] * left, dim, bias=False), nn.BatchNorm1d(dim)])

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        h = x.reshape(len(x), 1, -1, self.mels)
        for conv in self.convs:
            assert isinstance(conv, nn.Sequential)
            h = F.relu(normed(conv[1], conv[0](h), mask))
        linear, norm = self.project
        h = linear(h.transpose(1, 2).flatten(2)).transpose(1, 2)  # (B, T, C * F) -> (B, D, T)
        return F.relu(normed(norm, h, mask)).transpose(1, 2)


def normed(norm: nn.Module, h: Tensor, mask: Tensor) -> Tensor:
    """(B, C, T, ...), mask (B, T) -> normalised, 0 where nothing is real; in training by statistics of what is."""
    if norm.training and not bool(mask.all()):
        frames = h.movedim(2, 1)  # (B, T, C, ...)
        real = norm(frames[mask].unsqueeze(-1)).squeeze(-1)
        made = real.new_zeros(frames.shape)
        made[mask] = real
        moved: Tensor = made.movedim(1, 2)
        return moved
    out: Tensor = norm(h)
    return out * mask.to(out.dtype).reshape(len(mask), 1, -1, *[1] * (h.ndim - 3))


def _planes(inputs: int, outputs: int, stride: tuple[int, int]) -> nn.Sequential:
    kernel = (3 + stride[0] // 2 * 2, 3)
    conv = nn.Conv2d(inputs, outputs, kernel, stride, (kernel[0] // 2, 1), bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class Residual(nn.Module):
    """Two convolutions in time beside a shortcut. (B, T, D), mask (B, T) -> (B, T, D)."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv1d(dim, dim, KERNEL, padding=KERNEL // 2, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm1d(dim) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        shortcut = x.transpose(1, 2)
        h = F.relu(normed(self.norms[0], self.first(shortcut), mask))
        h = normed(self.norms[1], self.second(self.dropout(h)), mask)
        return F.relu(shortcut + h).transpose(1, 2)  # both are 0 where nothing is real


def cnn_tdnn(mels: int, stack: int, widths: Sequence[int], dim: int, blocks: int, dropout: float) -> list[nn.Module]:
    """The stages, input first: the front, and one stage a block. (B, T, stack * mels) -> (B, T, dim)."""
    return [Front(mels, stack, widths, dim), *(Residual(dim, dropout) for _ in range(blocks))]
