"""What the audit does with copies: they share a group, and are found where they contradict each other or leak."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Sequence
from typing import NamedTuple

from graft.data import _copies
from graft.types import Dataset, Issue, Sample

Links = Sequence[tuple[int, int]]


class _Words(NamedTuple):
    """How findings of one modality are put."""

    noun: str
    repeat: str
    near: str
    shown: str


_IMAGES = _Words("images", "repeat the pixels of another one", "of images show almost the same picture", "pictures")
_TEXTS = _Words("texts", "repeat another one, but for case and blanks", "of texts say almost the same", "texts")


def words(modality: str) -> _Words:
    return _TEXTS if modality == "text" else _IMAGES


def grouped(
    dataset: Dataset, samples: Sequence[Sample], exact: Links, near: Links
) -> tuple[list[Sample | None], list[Issue]]:
    raise NotImplementedError
