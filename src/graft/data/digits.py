"""1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn: real data without any download."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image

from graft.types import Dataset, Raw, Sample


def digits() -> Dataset:
    """Classes "0" to "9", grey. The stored values 0..16 become 0..255, so that they are ordinary pixels."""
    labels = _arrays()[1]
    samples = tuple(Sample(f"{i:04d}", i, str(label)) for i, label in enumerate(labels))
    return Dataset("digits", "image", samples, tuple("0123456789"), _load, _read_bytes)


def _load(sample: Sample) -> Raw:
    return Image.fromarray(_arrays()[0][sample.source]).convert("RGB")


def _read_bytes(sample: Sample) -> bytes:
    return bytes(_arrays()[0][sample.source].tobytes())


@cache
def _arrays() -> tuple[np.ndarray, np.ndarray]:
    """(1797, 8, 8) uint8 pixels and (1797,) labels."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return np.rint(found.images * (255 / 16)).astype(np.uint8), found.target
