"""Preprocessing of images, the same pixels in training and in prediction.

`sample`: resize the shorter side, cut a square canvas, keep it as uint8. `batch`: cut the centre (or augment), scale to
0..1, normalise. The centre of the canvas is exactly what torchvision's Resize + CenterCrop make: of a tensor of bytes
where the filter is bilinear or bicubic and the picture has at most a million pixels; of the picture itself, which is
Pillow's resize, for other filters and larger pictures. The two round a few values in a thousand apart, and neither is
nearer to the exact result; torch takes a half to a third of the time, until its copy of the picture costs more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from graft.types import Augment, Inputs, Json

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LONGEST = 8  # sides of a picture that is resized whole, longer to shorter
_BYTES = ("bilinear", "bicubic")  # torch resizes bytes by these; Pillow by the others
_MANY = 1_000_000  # pixels; of larger pictures the copy for torch costs more time and memory than it saves

_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC, "nearest": Image.Resampling.NEAREST,
    "nearest-exact": Image.Resampling.NEAREST, "lanczos": Image.Resampling.LANCZOS, "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}  # fmt: skip


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
        """PIL image -> (3, R, R) uint8 with R = max(resize, size), channels last in memory."""
        side = max(self.resize, self.size)
        image = raw if raw.mode == "RGB" else raw.convert("RGB")
        image = image if self.squash else _middle(image)
        width, height = (side, side) if self.squash else _resized(image.size, side)
        left, top = self._corner(width, side), self._corner(height, side)
        whole = _scaled(image, width, height, self.interpolation)
        return whole[top : top + side, left : left + side].contiguous().permute(2, 0, 1)

    def samples(self, raws: Sequence[Any]) -> list[Tensor]:
        return [self.sample(raw) for raw in raws]

    def batch(self, samples: Tensor, augment: Augment | None = None, seeds: Sequence[int] = ()) -> Inputs:
        """(B, 3, R, R) uint8 -> (B, 3, size, size) float, normalised, channels last; of V views (B * V, ...)."""
        if augment is None:
            return Inputs(self._normalised(self.centre(samples)))
        views = augment(samples, self.size, seeds)
        return views._replace(x=self._normalised(views.x))

    def _normalised(self, pixels: Tensor) -> Tensor:
        """(x / 255 - mean) / std as one multiplication and one addition, over whole rows in the order of memory."""
        count, channels, height, width = pixels.shape
        scale = torch.tensor([1 / (255 * std) for std in self.std], device=pixels.device).repeat(width)
        shift = torch.tensor([-m / s for m, s in zip(self.mean, self.std, strict=True)], device=pixels.device)
        rows = pixels.permute(0, 2, 3, 1).reshape(count, height, width * channels).float()
        torch.addcmul(shift.repeat(width), rows, scale, out=rows)
        return rows.view(count, height, width, channels).permute(0, 3, 1, 2)

    def centre(self, canvas: Tensor) -> Tensor:
        offset = round((canvas.shape[-1] - self.size) / 2)
        return canvas[..., offset : offset + self.size, offset : offset + self.size]

    def positions(self, sample: Tensor) -> int:
        return 1

    def json(self) -> Json:
        return {"kind": "images", **asdict(self)}

    def _corner(self, length: int, side: int) -> int:
        """Where the canvas begins, such that its centre is the centre crop of the whole image."""
        corner = round((length - self.size) / 2) - round((side - self.size) / 2)
        return min(max(corner, 0), length - side)


def _resized(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Width and height with `side` as the shorter one, rounded as torchvision does."""
    width, height = size
    if width <= height:
        return side, int(side * height / width)
    return int(side * width / height), side


def _scaled(image: Image.Image, width: int, height: int, how: str) -> Tensor:
    """(height, width, 3) uint8."""
    if how not in _BYTES or image.width * image.height > _MANY:
        return torch.from_numpy(np.array(image.resize((width, height), _FILTERS[how])))
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]  # channels last, as the kernel wants them
    if (width, height) != image.size:
        pixels = nn.functional.interpolate(pixels, (height, width), mode=how, antialias=True)
    return pixels[0].permute(1, 2, 0)


def _middle(image: Image.Image) -> Image.Image:
    """The middle of a very long picture, which resized whole would fill the memory: 1 x 20,000 becomes 72 x 1,440,000.

    The canvas shows one shorter side of the length; eight are kept, around the same centre, so that it shows the same
    and the filter of the resize sees the same neighbours.
    """
    width, height = image.size
    most = _LONGEST * min(width, height)
    if max(width, height) <= most:
        return image
    left, top = (max(0, (length - most) // 2) for length in (width, height))
    return image.crop((left, top, width - left, height - top))  # as much from both ends: the centre stays


def images(record: Json) -> Images:
    """Build again what `Images.json` wrote."""
    fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in record.items() if key != "kind"}
    return Images(**fields)
