"""Samples as the report shows them: small pictures of images and sounds, excerpts of texts.

A picture is encoded anew from decoded pixels; a user's file is never copied into a report, nor what hides in it.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import final

import numpy as np
from PIL import Image

from graft.backbones._mel import Mel
from graft.reporting._shape import Item, Picture
from graft.types import Dataset, Raw, Sample, Sound, Text, UnreadableSample

SIDE, SMALL = 128, 96  # pixels of the longer side: of samples that are looked at, of those beside them
LETTERS = 300
SECONDS, LOUDEST = 10.0, 48_000  # of a sound that are seen, and Hz above which it is averaged down
WIDE, HIGH, FLOOR = 128, 64, 60.0  # pixels of a spectrogram, and dB below the loudest that are dark
MOST = 1_400_000  # characters of all pictures together


@final
@dataclass
class Items:
    """Makes them as long as there is room: `missing` counts the pictures that were left out."""

    room: int = MOST
    missing: int = 0

    def make(self, dataset: Dataset, sample: Sample, side: int = SIDE) -> Item:
        """One whose file is gone or damaged by now has neither picture nor text."""
        label = None if sample.label is None or dataset.kind != "class" else str(sample.label)
        item = Item(key=clean(sample.key), label=label, picture=None, text=None)
        try:
            raw = dataset.load(sample)
            if isinstance(raw, Text):
                item["text"] = excerpt(raw)
            else:
                item["picture"] = self.kept(picture(raw, side))
        except UnreadableSample:
            pass
        return item

    def kept(self, made: Picture | None) -> Picture | None:
        """The picture, or None where there is no more room for it."""
        if made is None or len(made["data"]) > self.room:
            self.missing += made is not None
            return None
        self.room -= len(made["data"])
        return made


def picture(raw: Raw, side: int = SIDE) -> Picture:
    """Of an upright RGB image or a sound. Raises UnreadableSample for sound that is damaged."""
    made = spectrogram(raw) if isinstance(raw, Sound) else raw.copy()
    made.thumbnail((side, side))
    file = io.BytesIO()
    made.convert("RGB").save(file, "WEBP", quality=75, method=3, exif=b"", xmp=b"", icc_profile=b"")
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return Picture(data=data, type="image/webp", width=made.width, height=made.height)


def spectrogram(sound: Sound) -> Image.Image:
    """Time to the right, pitch (mel) upwards, bright is loud; the first seconds of a long one."""
    from matplotlib import colormaps

    wave = sound.read(0, min(sound.frames, round(SECONDS * sound.rate)))
    step = -(-sound.rate // LOUDEST)
    wave = wave[: len(wave) // step * step].reshape(-1, step).mean(1) if step > 1 else wave
    rate = sound.rate // step
    hop = max(0.010, len(wave) / rate / WIDE)
    level = _levels(wave, Mel(rate, HIGH if rate >= 8000 else HIGH // 2, window=max(0.025, hop), hop=hop))
    pixels = (colormaps["magma"](level.T[::-1])[:, :, :3] * 255).astype(np.uint8)
    return Image.fromarray(pixels).resize((WIDE, HIGH), Image.Resampling.BILINEAR)


def _levels(wave: np.ndarray, mel: Mel) -> np.ndarray:
    """(T, F) between 0, FLOOR dB below the loudest, and 1."""
    import torch

    level = 10 * mel.log(torch.from_numpy(np.ascontiguousarray(wave))).numpy() / np.log(10)
    return np.asarray(np.clip(1 + (level - level.max()) / FLOOR, 0, 1))


def excerpt(text: Text, most: int = LETTERS) -> str:
    """A text, or a text and its pair on two lines, cut to `most` letters."""
    if text.pair is None:
        return cut(text.text, most)
    return cut(text.text, most // 2) + "\n" + cut(text.pair, most // 2)


def cut(text: str, most: int = LETTERS) -> str:
    """At most `most` letters, the last of which says that there were more."""
    short = clean(text[: most + 1])
    return short if len(text) <= most else short[: most - 1] + "…"


def clean(text: str) -> str:
    """What can be written as UTF-8: names of files may hold bytes that are no letters."""
    return text.encode("utf-8", "replace").decode("utf-8")
