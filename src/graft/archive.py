"""The rows of a data set on disk: found again by the content of its samples, whatever these are called by then."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from contextlib import suppress
from typing import final

import PIL
import torch
from torch import Tensor

from graft.cache import Cache
from graft.errors import DataError
from graft.shelf import Shelf
from graft.types import Dataset, Preprocess, Sample, UnreadableSample

FILE = 64 << 20  # bytes of pictures in a file
SHARE = 0.25  # of the pictures of a file: fewer are decoded sooner than all of it is read
WORTH = (2.0, 200e6)  # seconds of decoding in all, and bytes of a second: less time, or more bytes, are not kept


@final
class Archive:
    """Without a cache, or for samples that no audit has hashed, nothing is kept and nothing found."""

    def __init__(self, dataset: Dataset, cache: Cache | None) -> None:
        self.dataset, self.cache = dataset, cache

    def fill(self, key: str, made: Shelf, share: float = 0.0) -> Tensor:
        """Fill in the rows that are kept under a key; returns the positions of those that are not.

        Files of which no more than `share` is of these samples are not read.
        """
        samples, places = self.dataset.samples, defaultdict(list)
        for i, sample in enumerate(samples):
            places[sample.digest].append(i)
        missing = torch.ones(len(samples), dtype=torch.bool)
        for digests, rows in self.cache.files(key, places, share) if self.cache else ():
            pairs = [(i, j) for j, name in enumerate(digests) for i in places.get(name, ())]
            if pairs:
                at, of = torch.tensor(pairs).T
                made.put(at, rows[of] if isinstance(rows, Tensor) else [rows[j] for j in of.tolist()])
                missing[at] = False
        return missing.nonzero().flatten()

    def publish(self, key: str, rows: Tensor, made: Shelf) -> None:
        """Keep rows whose files are still what the audit saw, as the address is the content. Raises DataError."""
        samples = [self.dataset.samples[i] for i in rows.tolist()]
        if self.cache is None or not samples or not all(sample.digest for sample in samples):
            return
        for sample in samples:
            if self._digest(sample) != sample.digest:
                raise DataError(f"{sample.key} changed while the run read it", "run it again, on data that stand still")
        self.cache.add(key, [sample.digest for sample in samples], made.take(rows))

    def _digest(self, sample: Sample) -> str:
        try:
            return hashlib.sha256(self.dataset.read_bytes(sample)).hexdigest()
        except UnreadableSample:
            return "gone"


@final
class Pictures:
    """The pictures of a data set as `preprocess.sample` makes them, kept where reading is much faster than decoding."""

    def __init__(self, dataset: Dataset, preprocess: Preprocess, cache: Cache | None) -> None:
        self.archive, self.preprocess, self.cache = Archive(dataset, cache), preprocess, cache

    def fill(self, made: Shelf) -> Tensor:
        """Fill in what an earlier run has kept; returns the positions of the others."""
        return self.archive.fill(self._key(), made, SHARE)

    def publish(self, rows: Tensor, made: Shelf, seconds: float, decoded: int) -> None:
        """Keep rows (n,) for the next run, if the `seconds` of a processor in which `decoded` were made are worth it.

        A picture whose file has changed since, or is gone, is no error here: nothing more is kept.
        """
        size = made.row_bytes()
        slow = seconds > max(WORTH[0], decoded * size / WORTH[1])
        if self.cache is None or not slow or len(rows) * size > self.cache.budget // 2:
            return
        with suppress(DataError):
            for few in rows.split(max(1, FILE // size)):
                if self.cache.room(self._key(), len(few) * size):  # asked first: to publish reads every file again
                    self.archive.publish(self._key(), few, made)

    def _key(self) -> str:
        """All that decides the pixels but the file: its decoder too, whose versions differ in roundings."""
        decisive = {name: value for name, value in self.preprocess.json().items() if name not in ("mean", "std")}
        about = {"pictures": 1, "preprocess": decisive, "decoder": [PIL.__version__, torch.__version__]}
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
