"""The rows of a data set on disk: found again by the content of its samples, whatever these are called by then."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import final

import torch
from torch import Tensor

from graft.cache import Cache
from graft.errors import DataError
from graft.shelf import Shelf
from graft.types import Dataset, Sample, UnreadableSample


@final
class Archive:
    """Without a cache, or for samples that no audit has hashed, nothing is kept and nothing found."""

    def __init__(self, dataset: Dataset, cache: Cache | None) -> None:
        self.dataset, self.cache = dataset, cache

    def fill(self, key: str, made: Shelf) -> Tensor:
        """Fill in the rows that are kept under a key; returns the positions of those that are not."""
        samples, places = self.dataset.samples, defaultdict(list)
        for i, sample in enumerate(samples):
            places[sample.digest].append(i)
        missing = torch.ones(len(samples), dtype=torch.bool)
        for digests, rows in self.cache.files(key) if self.cache else ():
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
