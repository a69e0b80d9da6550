"""A map laid over what it explains: orange speaks for the class, blue against it, the stronger the more.

The two are told apart by colour-blind readers (Okabe & Ito 2008), and by their lightness in print.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from graft.explainers._asked import Answer
from graft.explainers._sounds import to_mel
from graft.types import Json

FOR, AGAINST = (213, 94, 0), (0, 114, 178)
STRONGEST = 0.82  # share of the colour where the weight is 1 or -1
BLUR = 50  # a side of a map over the deviation that it is smoothed with: single pixels say little
Pixels = NDArray[np.uint8]  # (H, W, 3)
Weights = NDArray[np.float64]  # (H, W), -1..1
Corners = tuple[float, float, float, float]  # left, top, right, bottom, in pixels


def weights(answer: Answer) -> Weights:
    """The map of an answer, smoothed a little, with 1 or -1 where it is strongest."""
    assert answer.map is not None, "an answer with a map"
    values = answer.map.double().numpy()
    values = ndimage.gaussian_filter(values, [side / BLUR if side > 1 else 0 for side in values.shape])
    return np.asarray(values / max(float(np.abs(values).max()), 1e-30))


def over(picture: Pixels, values: Weights) -> Pixels:
    """The picture in grey, in the colours of the weights where these are not 0."""
    grey = 0.72 * _grey(picture) + 0.28 * 255
    share = STRONGEST * np.abs(values[..., None]) ** 0.8
    colour = np.where(values[..., None] > 0, np.array(FOR), np.array(AGAINST))
    return np.asarray(np.clip((1 - share) * grey + share * colour, 0, 255), np.uint8)


def faded(picture: Pixels) -> Pixels:
    """What the network does not see."""
    return np.asarray(0.25 * _grey(picture) + 0.75 * 205, np.uint8)


def _grey(picture: Pixels) -> NDArray[np.float64]:
    level = picture.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    return np.repeat(level[..., None], 3, 2)


# ------------------------------------------------------------------------------------------------------------ images


def corners(size: tuple[int, int], preprocess: Json) -> Corners:
    """The part of an upright picture of `size` (width, height) that the network sees: the middle of it."""
    width, height = size
    share = preprocess["size"] / max(preprocess["resize"], preprocess["size"])
    across, down = (width, height) if preprocess["squash"] else (min(size), min(size))
    left, top = (width - share * across) / 2, (height - share * down) / 2
    return left, top, width - left, height - top


def on_image(picture: Any, values: Weights, preprocess: Json, longest: int) -> tuple[Pixels, Pixels]:
    """An upright PIL picture as it is, and with the map where the network saw it; at most `longest` pixels a side."""
    scale = min(1.0, longest / max(picture.size))
    small = picture.convert("RGB").resize([max(1, round(side * scale)) for side in picture.size])
    plain: Pixels = np.asarray(small)
    left, top, right, bottom = (round(edge) for edge in corners(small.size, preprocess))
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    made = faded(plain)
    made[top:bottom, left:right] = over(plain[top:bottom, left:right], resized(values, (bottom - top, right - left)))
    return plain, made


def resized(values: Weights, shape: tuple[int, int]) -> Weights:
    made = Image.fromarray(values.astype(np.float32)).resize(shape[::-1], Image.Resampling.BILINEAR)
    return np.asarray(made, np.float64)


# ------------------------------------------------------------------------------------------------------------ sounds


def on_sound(levels: NDArray[np.float64], top: float, values: Weights, answer: Answer) -> tuple[Pixels, Pixels]:
    """A spectrogram (F, T), 1 where loudest, its rows evenly spaced in mel from 0 to `top` Hz with the lowest first:
    as ink on paper with high pitches at the top, and with the map on it."""
    ink = np.repeat((255 * (1 - 0.9 * levels[::-1]))[..., None], 3, 2).astype(np.uint8)
    return ink, over(ink, _in_mel(values, answer.pitches, top, levels.shape)[::-1])


def _in_mel(values: Weights, pitches: tuple[float, ...], top: float, shape: tuple[int, ...]) -> Weights:
    """A map over time by bands of pitch, on rows evenly spaced in mel; 0 where there is no band."""
    if not pitches:
        return np.repeat(resized(values, (1, shape[1])), shape[0], 0)
    edge = np.array([to_mel(pitch) for pitch in pitches])
    rows = (np.arange(shape[0]) + 0.5) / shape[0] * to_mel(top)
    place = np.interp(rows, (edge[:-1] + edge[1:]) / 2, np.arange(len(edge) - 1))
    heard = ((rows >= edge[0]) & (rows <= edge[-1])).astype(np.float64)
    wide = resized(values, (len(values), shape[1]))
    columns = np.broadcast_to(np.arange(shape[1]), shape)
    found = ndimage.map_coordinates(wide, [np.broadcast_to(place[:, None], shape), columns], order=1, mode="nearest")
    return np.asarray(found * heard[:, None])
