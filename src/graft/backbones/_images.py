"""Preprocessing of images, the same pixels in training and in prediction.

`sample`: resize the shorter side, cut a square canvas, keep it as uint8. `batch`: cut the centre (or augment), scale to
0..1, normalise. The centre of the canvas is exactly what torchvision's Resize + CenterCrop would give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from graft.types import Augment, Inputs, Json

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LONGEST = 8  # sides of a picture that is resized whole, longer to shorter


@final
@dataclass(frozen=True)
class Images:
    """`size`: pixels that the network sees (square); `resize`: shorter side before the centre is cut."""

    size: int
    resize: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    interpolation: str = "bilinear"  # or "bicubic", "nearest", "lanczos"
    ragged: ClassVar[bool] = False
    squash: bool = False  # resize both sides, ignoring the aspect ratio (some checkpoints were trained so)

    def sample(self, raw: Any) -> Tensor:
        """PIL image -> (3, R, R) uint8 with R = max(resize, size)."""
        mode = InterpolationMode(self.interpolation)
        side = max(self.resize, self.size)
        target = [side, side] if self.squash else [side]
        whole = raw if self.squash else _middle(raw)
        image: Tensor = F.pil_to_tensor(F.resize(whole.convert("RGB"), target, interpolation=mode, antialias=True))
        height, width = image.shape[-2:]
        top, left = self._corner(height, side), self._corner(width, side)
        return image[:, top : top + side, left : left + side].contiguous()

    def batch(self, samples: Tensor, augment: Augment | None = None, seeds: Sequence[int] = ()) -> Inputs:
        """(B, 3, R, R) uint8 -> (B, 3, size, size) float, normalised, channels last."""
        if augment is None:
            pixels = self.centre(samples)
        else:
            pixels = torch.stack([augment(one, self.size, s) for one, s in zip(samples, seeds, strict=True)])
        scaled = pixels.to(memory_format=torch.channels_last).float().div_(255)
        mean, std = (torch.tensor(values, device=pixels.device).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return Inputs(scaled.sub_(mean).div_(std))

    def centre(self, canvas: Tensor) -> Tensor:
        offset = round((canvas.shape[-1] - self.size) / 2)
        return canvas[..., offset : offset + self.size, offset : offset + self.size]

    def json(self) -> Json:
        return {"kind": "images", **asdict(self)}

    def _corner(self, length: int, side: int) -> int:
        """Where the canvas begins, such that its centre is the centre crop of the whole image."""
        corner = round((length - self.size) / 2) - round((side - self.size) / 2)
        return min(max(corner, 0), length - side)


def _middle(raw: Any) -> Any:
    """The middle of a very long picture, which resized whole would fill the memory: 1 x 20,000 becomes 72 x 1,440,000.

    The canvas shows one shorter side of the length; eight are kept, around the same centre, so that it shows the same
    and the filter of the resize sees the same neighbours.
    """
    width, height = raw.size
    most = _LONGEST * min(width, height)
    if max(width, height) <= most:
        return raw
    left, top = (max(0, (length - most) // 2) for length in (width, height))
    return raw.crop((left, top, width - left, height - top))  # as much from both ends: the centre stays


def images(record: Json) -> Images:
    """Build again what `Images.json` wrote."""
    fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in record.items() if key != "kind"}
    return Images(**fields)
