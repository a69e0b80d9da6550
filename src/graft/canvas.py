"""A data set as its preprocessing keeps it, uint8 pictures, tokens or waves: each is decoded once, ahead of its use.

Pictures that are asked for again, as in a second epoch, are kept on disk (archive.py) for the next run, and those that
are asked for once are not, as before a frozen trunk: its features are kept.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import final

import torch
from torch import Tensor

from graft.archive import Pictures
from graft.backbones._sounds import Sounds
from graft.cache import Cache
from graft.errors import DataError
from graft.shelf import Shelf, Some, memory_budget, room
from graft.types import Dataset, Preprocess, Raw, UnreadableSample

THREADS = min(8, os.cpu_count() or 1)
TEXTS = 256  # that are encoded at a time
WAVE = 4  # bytes of a sample: float32
AHEAD = 64 << 20  # bytes of sounds that are decoded before they are asked for


@cache
def _pool() -> ThreadPoolExecutor:
    """Unpacking and resizing release the interpreter's lock, so threads are enough and nothing has to be sent."""
    return ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="decode")


@dataclass
class _Store:
    """What is decoded, shared by all parts of a canvas. `kept` is a list for texts and sounds, which know their length
    when they are decoded, and None while nothing is known. `sizes` (N,) are positions, `samples` (N,) those of waves; 0
    where not known yet. `fresh` (N,): decoded here, and not on disk; `asked` (N,): taken before."""

    done: Tensor
    sizes: Tensor
    samples: Tensor
    fresh: Tensor
    asked: Tensor
    kept: Shelf | list[Tensor] | None = None
    too_large: bool = False
    bytes: int = 0  # of what the list holds
    coming: dict[int, Future[Tensor]] = field(default_factory=dict)
    seconds: float = 0.0  # of a processor, for decoding
    decoded: int = 0


@final
class Canvas:
    """Samples (N,) by row: images (B, 3, R, R) uint8, or B tensors: texts (T_i, 4), sounds (n_i,)."""

    def __init__(self, dataset: Dataset, preprocess: Preprocess, cache: Cache | None = None) -> None:
        self.dataset, self.preprocess, self.cache = dataset, preprocess, cache
        self.at = torch.arange(len(dataset))  # of this canvas's rows in the store
        self.disk, self.looked = Pictures(dataset, preprocess, cache), False
        done, fresh, asked = torch.zeros(3, len(dataset), dtype=torch.bool)
        sizes, samples = torch.zeros(2, len(dataset), dtype=torch.long)
        self.store = _Store(done, sizes, samples, fresh, asked)

    def part(self, rows: Tensor, dataset: Dataset) -> Canvas:
        """The rows of `dataset`, which are some (n,) of this canvas; what one of the two decodes the other one has."""
        made = Canvas(dataset, self.preprocess, self.cache)
        made.at, made.store, made.looked = self.at[rows], self.store, self.looked
        return made

    def sizes(self) -> Tensor | None:
        """(N,) positions of the samples; None where all are equal."""
        if not self.preprocess.ragged or not len(self.at):
            return None
        missing = (self.store.sizes[self.at] == 0).nonzero()[:, 0]
        for rows in missing.split(TEXTS) if len(missing) else ():
            if isinstance(self.preprocess, Sounds):
                self._measure(rows, self.preprocess)
            else:
                self.take(rows)
        return self.store.sizes[self.at]

    def _measure(self, rows: Tensor, preprocess: Sounds) -> None:
        """Headers of sounds say how long they will be, and whether all fit."""
        store, places = self.store, self.at[rows]
        found = [preprocess.expected(raw) for raw in _pool().map(self._load, rows.tolist())]
        store.samples[places] = torch.tensor(found)
        store.sizes[places] = torch.tensor([preprocess.front.positions(one) for one in found])
        if WAVE * int(store.samples.sum()) > memory_budget():
            store.kept, store.too_large, store.bytes = None, True, 0

    @torch.inference_mode(False)  # what is kept is filled again later, by training as by prediction
    def take(self, rows: Tensor) -> Some:
        """Each is decoded once and kept, unless all would not fit."""
        store, places = self.store, self.at[rows]
        if store.kept is None and not store.too_large:
            self._begin(int(rows[0]))
        self._look()
        missing = rows if store.too_large else rows[~store.done[places]]
        found = self._decoded(missing)
        if self.preprocess.ragged:
            return self._ragged(rows, dict(zip(missing.tolist(), found, strict=True)))
        if store.too_large:
            return _planes(torch.stack([_pixels(one) for one in found]))
        for place, one in zip(self.at[missing].tolist(), found, strict=True):
            _put(store, place, one)
        assert isinstance(store.kept, Shelf), "made by _begin"
        if bool((store.asked & store.fresh)[places].any()):
            self._publish(store.kept)
        store.asked[places] = True
        return _planes(store.kept.flat.index_select(0, places))

    def _ragged(self, rows: Tensor, found: dict[int, Tensor]) -> list[Tensor]:
        """What was decoded now, and what is kept; one that is too much for the memory empties it."""
        store, kept = self.store, self.store.kept
        for row, one in found.items():
            place = int(self.at[row])
            store.sizes[place] = self.preprocess.positions(one)
            if isinstance(kept, list) and not store.done[place]:
                store.bytes += one.nbytes
                _put(store, place, one)
        taken = [found[row] if row in found else kept[place]  # type: ignore[index]
                 for row, place in zip(rows.tolist(), self.at[rows].tolist(), strict=True)]  # fmt: skip
        if store.bytes > memory_budget():
            store.kept, store.too_large, store.bytes = None, True, 0
        return taken

    def ahead(self, rows: Tensor) -> None:
        """Begin to decode in the background what will be asked for next."""
        store = self.store
        if isinstance(self.preprocess, Sounds):
            rows = self._few(rows)
        elif self.preprocess.ragged or (store.kept is None and not store.too_large):
            return  # a tokeniser takes all cores by itself
        self._look()
        for row in rows[~store.done[self.at[rows]]].tolist():
            place = int(self.at[row])
            if place not in store.coming:
                store.coming[place] = _pool().submit(self._one, row)

    def _few(self, rows: Tensor) -> Tensor:
        """So many of these sounds that what was not asked for yet stays small."""
        self.sizes()
        rows = rows[~self.store.done[self.at[rows]]]
        coming = int(self.store.samples[list(self.store.coming)].sum())
        total = coming + self.store.samples[self.at[rows]].cumsum(0)
        return rows[WAVE * total <= AHEAD]

    def forget(self) -> None:
        """What is on its way and was not asked for, as after an error, is not waited for."""
        for one in self.store.coming.values():
            one.cancel()
        self.store.coming.clear()

    def fill(self) -> None:
        """Decode every sample now, if all fit: parts of this canvas then have them."""
        if not len(self.at):
            return
        self.sizes()
        if self.store.kept is None and not self.store.too_large:
            self._begin(0)
        for rows in torch.arange(len(self.at)).split(THREADS if isinstance(self.preprocess, Sounds) else TEXTS):
            if not self.store.too_large:
                self.take(rows)
        self.store.asked[self.at] = False  # nobody has yet

    # -------------------------------------------------------------------------------------- pictures of other runs

    def _look(self) -> None:
        """Fill in what an earlier run has kept."""
        kept, places = self.store.kept, self.at
        if self.looked or not isinstance(kept, Shelf):
            return
        self.looked = True
        if self.cache is None or bool(self.store.done[places].all()):
            return
        found = torch.ones(len(places), dtype=torch.bool)
        found[self.disk.fill(kept.part(places))] = False
        self.store.done[places[found]] = True
        self.store.fresh[places[found]] = False

    def _publish(self, kept: Shelf) -> None:
        store = self.store
        rows = store.fresh[self.at].nonzero()[:, 0]
        store.fresh[self.at] = False
        self.disk.publish(rows, kept.part(self.at), store.seconds, store.decoded)

    # -------------------------------------------------------------------------------------------------- decoding

    def _begin(self, row: int) -> None:
        """The first sample tells the size of all."""
        store, first = self.store, self._decoded(torch.tensor([row]))[0]
        if self.preprocess.ragged:
            store.kept, store.bytes = [first] * len(store.done), first.nbytes
            store.sizes[int(self.at[row])] = self.preprocess.positions(first)
        else:
            where = (None, 0) if self.cache is None else (self.cache.folder, self.cache.budget)
            store.kept = room(len(store.done), _pixels(first).shape, first.dtype, scratch=where[0], disk=where[1])
            store.too_large = store.kept is None
        if not store.too_large:
            _put(store, int(self.at[row]), first)

    def _decoded(self, rows: Tensor) -> list[Tensor]:
        """In order; those that are on their way are waited for."""
        if self.preprocess.ragged and not isinstance(self.preprocess, Sounds):
            return self.preprocess.samples([self._load(row) for row in rows.tolist()])
        coming, pairs = self.store.coming, list(zip(self.at[rows].tolist(), rows.tolist(), strict=True))
        waiting = [coming.get(place) or _pool().submit(self._one, row) for place, row in pairs]
        for place, _ in pairs:
            coming.pop(place, None)
        return [one.result() for one in waiting]

    def _one(self, row: int) -> Tensor:
        start, raw = time.thread_time(), self._load(row)
        try:
            made = self.preprocess.sample(raw)
        except UnreadableSample as error:
            raise self._gone(row, error) from None
        self.store.seconds, self.store.decoded = self.store.seconds + time.thread_time() - start, self.store.decoded + 1
        return made

    def _load(self, row: int) -> Raw:
        try:
            return self.dataset.load(self.dataset.samples[row])
        except UnreadableSample as error:
            raise self._gone(row, error) from None

    def _gone(self, row: int, error: UnreadableSample) -> DataError:
        what = f"{self.dataset.samples[row].key} could be read before, and cannot be read any more: {error}"
        return DataError(what, "run it again: the file will be listed, and left out")


def _pixels(image: Tensor) -> Tensor:
    """(3, R, R) -> (R, R, 3): kept so, a batch is channels last, which is what networks and normalisation want."""
    return image.movedim(0, -1) if image.ndim == 3 else image


def _planes(images: Tensor) -> Tensor:
    return images.movedim(-1, 1) if images.ndim == 4 else images


def _put(store: _Store, place: int, one: Tensor) -> None:
    if isinstance(store.kept, Shelf):
        store.kept.flat[place] = _pixels(one)
    elif store.kept is not None:
        store.kept[place] = one
    store.done[place] = store.fresh[place] = True
