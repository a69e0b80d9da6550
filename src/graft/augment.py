"""Random views of images, as torchvision's v2 makes them; the draws are a pure function of the seed.

    none                            the centre, as in prediction
    basic(scale=0.35, flip=True)    random resized crop and mirror image (Szegedy et al. 2015)
    basic(rotate=15, colour=0.3)    and rotation in degrees, brightness, contrast and saturation
    trivial(scale=0.35)             basic, then TrivialAugment (Mueller & Hutter 2021, arXiv:2103.10158)

Never applied to validation or test data: only the training feed takes an Augment. torchvision takes longer to import
than torch does, and neither prediction nor `basic` alone needs it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, final

import torch
from torch import Tensor, nn

from graft import spec
from graft.device import seeded
from graft.errors import UsageError, did_you_mean
from graft.types import Augment, Inputs

Box = tuple[int, int, int, int]  # top, left, height, width


def build(text: str) -> Augment | None:
    """The augmentation that a recipe names; None for "none"."""
    asked = spec.parse(text)
    if asked.name == "none":
        return None
    known: dict[str, Callable[..., Augment]] = {"basic": basic, "trivial": trivial}
    if asked.name not in known:
        raise UsageError(f"there is no augmentation '{asked.name}'", did_you_mean(asked.name, [*known, "none"]))
    return asked.bind(known[asked.name])  # type: ignore[no-any-return]


def check(text: str, mixing: str | None) -> None:
    """Raises UsageError for a name or an option that does not exist, before anything is trained."""
    build(text)
    if mixing is not None:
        mix(mixing, torch.zeros(2, 3, 4, 4), torch.tensor([0, 1]), 2, 0)


def basic(*, scale: float = 0.35, flip: bool = True, rotate: float = 0.0, colour: float = 0.0) -> Augment:
    """Raises UsageError for a number outside of its range."""
    within(0 < scale <= 1, "scale", scale, "a share of the picture", "0 < scale <= 1")
    within(0 <= rotate <= 180, "rotate", rotate, "an angle in degrees, either way", "0 <= rotate <= 180")
    within(0 <= colour < 1, "colour", colour, "a strength", "0 <= colour < 1")
    return Basic(scale, flip, rotate, colour)


def trivial(*, scale: float = 0.35, flip: bool = True) -> Augment:
    """Raises UsageError for a scale outside of its range."""
    within(0 < scale <= 1, "scale", scale, "a share of the picture", "0 < scale <= 1")
    from torchvision.transforms import v2

    return Trivial(Basic(scale, flip, 0.0, 0.0), v2.TrivialAugmentWide())


def within(holds: bool, name: str, value: object, what: str, limits: str) -> None:
    """Raises UsageError for an option outside of its limits."""
    if not holds:
        raise UsageError(f"{name}={value!r} is not {what}", f"choose {limits}")


@final
@dataclass(frozen=True)
class Basic:
    scale: float  # smallest share of the canvas that a crop covers
    flip: bool
    rotate: float  # degrees, either way
    colour: float  # strength of brightness, contrast and saturation jitter

    def __call__(self, samples: Tensor, size: int, seeds: Sequence[int]) -> Inputs:
        draws, side = [Random(seed) for seed in seeds], samples.shape[-1]  # noqa: S311 - not secrets
        if self.rotate:
            angles = [draw.uniform(-self.rotate, self.rotate) for draw in draws]
            samples = torch.stack([_rotated(one, angle) for one, angle in zip(samples, angles, strict=True)])
        boxes = [box(draw, side, self.scale) for draw in draws]
        mirrored = [self.flip and draw.random() < 0.5 for draw in draws]
        views = crops(samples, range(len(samples)), boxes, mirrored, size)
        if self.colour:
            for view, draw in zip(views, draws, strict=True):
                view.copy_(self._coloured(view, draw))
        return Inputs(views)

    def _coloured(self, view: Tensor, draw: Random) -> Tensor:
        """One by one: torchvision cuts decimals off after each step, which the same steps of a batch do elsewhere."""
        from torchvision.transforms.v2 import functional as F

        for adjust in (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation):
            view = adjust(view, draw.uniform(1 - self.colour, 1 + self.colour))
        return view


def _rotated(sample: Tensor, angle: float) -> Tensor:
    from torchvision.transforms import v2

    return v2.functional.rotate(sample, angle, interpolation=v2.InterpolationMode.BILINEAR)  # type: ignore[no-any-return]


def box(draw: Random, side: int, scale: float) -> Box:
    """top, left, height, width of a crop with an aspect ratio between 3/4 and 4/3."""
    area, ratio = draw.uniform(scale, 1.0), math.exp(draw.uniform(math.log(3 / 4), math.log(4 / 3)))
    height = min(side, max(1, round(side * math.sqrt(area / ratio))))
    width = min(side, max(1, round(side * math.sqrt(area * ratio))))
    return draw.randint(0, side - height), draw.randint(0, side - width), height, width


def crops(samples: Tensor, rows: Sequence[int], boxes: Sequence[Box], mirrored: Sequence[bool], size: int) -> Tensor:
    """(B, 3, R, R) uint8 -> (n, 3, size, size) uint8, channels last: box by box of the sample in `rows`."""
    each = [_resized(samples[row : row + 1, :, top : top + height, left : left + width], size)
            for row, (top, left, height, width) in zip(rows, boxes, strict=True)]  # fmt: skip
    made = torch.cat(each).contiguous(memory_format=torch.channels_last)
    turned = torch.tensor([i for i, one in enumerate(mirrored) if one], dtype=torch.long)
    made[turned] = made[turned].flip(-1)
    return made


def _resized(crop: Tensor, size: int) -> Tensor:
    """(1, 3, H, W) uint8 -> (1, 3, size, size) uint8, as torchvision resizes tensors; fastest with channels last."""
    if crop.shape[-2:] == (size, size):
        return crop
    pixels = crop.contiguous(memory_format=torch.channels_last)
    pixels = pixels if crop.device.type == "cpu" else pixels.float()  # processors have a kernel for bytes
    made = nn.functional.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
    return made if made.dtype == torch.uint8 else made.round_().clamp_(0, 255).to(torch.uint8)


@final
@dataclass(frozen=True)
class Trivial:
    first: Basic
    then: Any  # torchvision's TrivialAugmentWide

    def __call__(self, samples: Tensor, size: int, seeds: Sequence[int]) -> Inputs:
        views = self.first(samples, size, seeds).x
        for view, seed in zip(views, seeds, strict=True):
            with seeded(seed):  # the library draws from the global generator
                view.copy_(self.then(view))
        return Inputs(views)


def mix(text: str, pixels: Tensor, targets: Tensor, classes: int, *where: int | str) -> tuple[Tensor, Tensor]:
    """MixUp (arXiv:1710.09412) or CutMix (arXiv:1905.04899): (B, ...), (B,) -> the same mixed, (B, C).

    Kept features of a frozen trunk (B, D) are mixed by MixUp as pixels are. CutMix needs a plane to cut: without one
    the batch stays as it is, so that a strategy whose first phase trains the head alone can be used with it.
    """
    known = {"mixup": mixup, "cutmix": cutmix}
    asked = spec.parse(text)
    if asked.name not in known:
        raise UsageError(f"there is no mixing '{asked.name}'", did_you_mean(asked.name, known))
    mixer = asked.bind(known[asked.name], classes)
    if pixels.ndim != 4 and asked.name == "cutmix":
        return pixels, targets
    with seeded(*where, device=pixels.device):
        mixed, soft = mixer(pixels.reshape(len(pixels), -1, 1, 1) if pixels.ndim != 4 else pixels, targets)
    return mixed.reshape(pixels.shape), soft


def mixup(classes: int, *, alpha: float = 1.0) -> nn.Module:
    """The share of each sample is drawn from Beta(alpha, alpha). Raises UsageError for alpha <= 0."""
    within(0 < alpha < math.inf, "alpha", alpha, "a parameter of a Beta distribution", "alpha > 0")
    from torchvision.transforms import v2

    return v2.MixUp(alpha=alpha, num_classes=classes)  # type: ignore[no-any-return]


def cutmix(classes: int, *, alpha: float = 1.0) -> nn.Module:
    """The share of the area is drawn from Beta(alpha, alpha). Raises UsageError for alpha <= 0."""
    within(0 < alpha < math.inf, "alpha", alpha, "a parameter of a Beta distribution", "alpha > 0")
    from torchvision.transforms import v2

    return v2.CutMix(alpha=alpha, num_classes=classes)  # type: ignore[no-any-return]
