"""Whatever is frozen runs once: a data set as it looks at any boundary of a backbone, kept in memory and on disk.

A Feed is rows of a data set, decoded, augmented, and run through the stages before a boundary; cache.py keeps them.
Rows of equal shape are one tensor; sequences, such as texts, are a list of tensors, and are padded in a batch only.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import final

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from graft.cache import Cache, memory_budget
from graft.checkpoint import digest
from graft.device import autocast, seed_of
from graft.errors import DataError
from graft.types import Augment, Backbone, Dataset, Features, Inputs, Sample, Targets, UnreadableSample

PLAIN = -1  # the view without augmentation
BLOCK = 512  # samples between two looks at memory, disk and the progress bar
Tell = Callable[[int, int], None]  # done, total
Rows = Tensor | list[Tensor]  # (N, ...), or N tensors (T_i, ...)


@final
class Feed:
    """A data set seen through a backbone. `augment` is None for everything but training."""

    def __init__(
        self,
        dataset: Dataset,
        backbone: Backbone,
        *,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        augment: Augment | None = None,
        views: int = 0,
        seed: int = 0,
        needs: str = "pooled",
        cache: Cache | None = None,
        tell: Tell | None = None,
        targets: Targets | None = None,
    ) -> None:
        self.dataset, self.backbone, self.device, self.dtype = dataset, backbone, device, dtype
        self.augment, self.views, self.seed, self.needs = augment, views, seed, needs
        self.cache, self.tell = cache, tell
        self.targets: Targets = dataset.targets() if targets is None else targets
        self._canvas: Rows | None = None  # images (N, 3, R, R) uint8 or texts (T_i, 4), filled as rows are asked for
        self._decoded = torch.zeros(len(dataset), dtype=torch.bool)
        self._kept: dict[int, Rows] = {}  # by view
        self._prefix = (0, "")  # the boundary that is open, and the digest of the weights before it
        self._too_large = False

    def decode(self) -> None:
        """Decode every sample once, if all fit into memory: parts of this feed then share them."""
        if len(self) and not bool(self._decoded.all()) and (self._canvas is not None or self._fits()):
            self._samples(torch.arange(len(self)))

    def _fits(self) -> bool:
        return self._ragged or self._decode([0])[0].numel() * len(self) <= memory_budget()

    @property
    def _ragged(self) -> bool:
        return self.backbone.preprocess.ragged

    def sizes(self) -> Tensor | None:
        """(N,) lengths of the samples; None where all are equal."""
        if not self._ragged or not len(self):
            return None
        return torch.tensor([len(one) for one in self._samples(torch.arange(len(self)))])

    def shortest_first(self, rows: Tensor) -> Tensor:
        """Rows in an order in which batches need little padding."""
        sizes = self.sizes()
        return rows if sizes is None else rows[sizes[rows].argsort(stable=True)]

    def part(self, rows: Tensor, backbone: Backbone, augment: Augment | None = None, needs: str = "pooled") -> Feed:
        """Some rows (n,) of this feed before another backbone of the same preprocessing: what was decoded is shared."""
        made = Feed(
            self.dataset.replace(samples=tuple(self.dataset.samples[i] for i in rows.tolist())),
            backbone,
            device=self.device,
            dtype=self.dtype,
            augment=augment,
            views=self.views,
            seed=self.seed,
            needs=needs,
            cache=self.cache,
            tell=self.tell,
            targets=self.targets[rows],
        )
        if self._canvas is not None and bool(self._decoded[rows].all()):
            made._canvas, made._decoded = _taken(self._canvas, rows), torch.ones(len(rows), dtype=torch.bool)
        if PLAIN in self._kept and needs == self.needs:  # `open` lets go of them if the other trunk has other weights
            made._prefix, made._kept = self._prefix, {PLAIN: _taken(self._kept[PLAIN], rows)}
        return made

    def __len__(self) -> int:
        return len(self.dataset)

    # ------------------------------------------------------------------------------------------- what the loop asks

    def open(self, boundary: int) -> None:
        """Get ready for batches at a boundary: what was kept of other weights or another boundary is let go."""
        stages = list(self.backbone.stages)[:boundary]
        assert not any(m.training for stage in stages for m in stage.modules()), (
            "a prefix that runs once is in eval mode"
        )
        weights = digest(item for stage in stages for item in stage.state_dict().items())
        if (boundary, weights) != self._prefix:
            self._kept, self._prefix, self._too_large = {}, (boundary, weights), False

    def batch(self, rows: Tensor, boundary: int, epoch: int = 0) -> Inputs:
        """The inputs of stage `boundary` for these rows; with `boundary` = all stages, the pooled features."""
        if boundary == 0:
            return self._inputs(rows, self._view(epoch, 0))
        view = self._view(epoch, boundary)
        kept = self._rows(boundary, view)
        found = self._through(rows, boundary, view) if kept is None else _taken(kept, rows)
        if isinstance(found, Tensor):
            return Inputs(_layout(found.to(self.device)))
        frame = self._inputs(rows, PLAIN)
        x = pad_sequence(found, batch_first=True).to(self.device)
        missing = frame.x.shape[1] - x.shape[1]  # windows are of one length
        return frame._replace(x=torch.nn.functional.pad(x, (0, 0, 0, missing)))

    def features(self, inputs: Inputs, boundary: int) -> Features:
        """What the head gets, from what `batch` gave."""
        if self._pooled(boundary):
            return Features(pooled=inputs.x)
        if self.needs == "stages":
            assert boundary == 0, "the means of all stages are made from the input on"
            return Features(pooled=self.backbone.every_stage(inputs))
        return self.backbone(inputs, boundary)  # type: ignore[no-any-return]

    def warm(self) -> None:
        """Run the whole trunk as it is, and keep what a head takes."""
        self.backbone.eval()
        self.open(len(self.backbone.stages))
        self._rows(len(self.backbone.stages), PLAIN)

    def pooled(self) -> Tensor:
        """(N, D) features of the trunk as it is, without augmentation: for probes, baselines, neighbours."""
        last = len(self.backbone.stages)
        self.open(last)
        kept = self._rows(last, PLAIN)
        found = kept if kept is not None else self._through(torch.arange(len(self)), last, PLAIN)
        assert isinstance(found, Tensor), "a feed of tokens has no pooled features"
        return found.cpu()

    # ----------------------------------------------------------------------------------------------- what is behind

    def _view(self, epoch: int, boundary: int) -> int:
        """A new view each epoch for an unfrozen trunk; a frozen prefix takes turns at those it keeps, or has one."""
        if self.augment is None or (boundary and not self.views):
            return PLAIN
        return epoch % self.views if boundary else epoch

    def _pooled(self, boundary: int) -> bool:
        return boundary == len(self.backbone.stages) and self.needs in ("pooled", "stages")

    def _rows(self, boundary: int, view: int) -> Rows | None:
        """All N rows at a boundary, from memory, from disk, or made now; None when they would not fit."""
        assert boundary == self._prefix[0], "open() the boundary first"
        if view not in self._kept and not self._too_large:
            made = self._make(boundary, view)
            if made is None:
                self._too_large = True
            else:
                self._kept[view] = made
        return self._kept.get(view)

    def _make(self, boundary: int, view: int) -> Rows | None:
        if not len(self):
            return torch.empty(0, self.backbone.info.dim)
        made = self._room(boundary, view)
        if made is None:
            return None
        missing = self.shortest_first(self._from_disk(self._key(boundary, view), made))
        done = len(self) - len(missing)
        for part in missing.split(8 * BLOCK) if len(missing) else ():
            for block in part.split(BLOCK):
                found = self._through(block, boundary, view)
                for i, row in zip(block.tolist(), found, strict=True):
                    made[i] = row.cpu()
                done += len(block)
                self._progress(done)
            self._to_disk(self._key(boundary, view), part, made)
        return made

    def _room(self, boundary: int, view: int) -> Rows | None:
        """Where all rows will be kept; None when they would not fit into memory."""
        first = self._through(torch.arange(1), boundary, view)[0]
        sizes = None if self._pooled(boundary) else self.sizes()
        width = first.numel() if sizes is None else first[0].numel()
        count = len(self) if sizes is None else int(sizes.sum())
        if 4 * width * count * max(1, self.views) > memory_budget():
            return None
        return torch.empty((len(self), *first.shape)) if sizes is None else [first[:0]] * len(self)

    def _to_disk(self, key: str, rows: Tensor, made: Rows) -> None:
        """Keep rows whose files are still what the audit saw: the address is the content."""
        samples = [self.dataset.samples[i] for i in rows.tolist()]
        if self.cache is None or not all(sample.digest for sample in samples):
            return
        for sample in samples:
            if self._digest(sample) != sample.digest:
                raise DataError(f"{sample.key} changed while the run read it", "run it again, on data that stand still")
        self.cache.add(key, [sample.digest for sample in samples], _taken(made, rows))

    def _digest(self, sample: Sample) -> str:
        try:
            return hashlib.sha256(self.dataset.read_bytes(sample)).hexdigest()
        except UnreadableSample:
            return "gone"

    def _from_disk(self, key: str, made: Rows) -> Tensor:
        """Fill in the rows that are kept on disk; returns the positions of those that are not."""
        known = self.cache.rows(key) if self.cache else {}
        missing = []
        for i, sample in enumerate(self.dataset.samples):
            if sample.digest in known:
                made[i] = known[sample.digest]
            else:
                missing.append(i)
        return torch.tensor(missing, dtype=torch.long)

    def _through(self, rows: Tensor, boundary: int, view: int) -> Rows:
        """Decode and run the frozen prefix. It must be in eval mode: the loop sees to that."""
        parts: list[Tensor] = []
        with torch.inference_mode(), autocast(self.device, self.dtype):
            for few in rows.split(64):
                parts += self._encoded(few, boundary, view)
        with torch.inference_mode(False):
            if self._ragged and not self._pooled(boundary):
                return [part.float().clone() for part in parts]
            return _layout(torch.stack(parts).float().clone())

    def _encoded(self, rows: Tensor, boundary: int, view: int) -> list[Tensor]:
        """One tensor for each row, without padding."""
        inputs = self._inputs(rows, view)
        if self._pooled(boundary) and self.needs == "stages":
            return list(self.backbone.every_stage(inputs))
        out = self.backbone.encode(inputs, 0, boundary)
        if self._pooled(boundary):
            return list(self.backbone.readout(out).pooled)
        sizes = [len(one) for one in self._samples(rows)] if self._ragged else [None] * len(rows)
        return [row[:size] for row, size in zip(out.x, sizes, strict=True)]

    def _inputs(self, rows: Tensor, view: int) -> Inputs:
        samples, preprocess = self._samples(rows), self.backbone.preprocess
        made = preprocess.batch(samples) if view == PLAIN else preprocess.batch(
            samples, self.augment, self._seeds(rows, view))  # fmt: skip
        return Inputs(*(None if part is None else part.to(self.device) for part in made))  # type: ignore[arg-type]

    def _seeds(self, rows: Tensor, view: int) -> list[int]:
        """f(seed, view, content): independent of the order, of other samples and of the number of workers."""
        samples = self.dataset.samples
        return [seed_of(self.seed, "view", view, samples[i].digest or samples[i].key) for i in rows.tolist()]

    @torch.inference_mode(False)  # what is kept is filled again later, by training as by prediction
    def _samples(self, rows: Tensor) -> Rows:
        """Images (B, 3, R, R) uint8, or B texts (T_i, 4). Each is decoded once and kept, unless all would not fit."""
        if self._canvas is None:
            first = self._decode([int(rows[0])])[0]
            if not self._ragged and first.numel() * len(self) > memory_budget():
                return torch.stack(self._decode(rows.tolist()))
            self._canvas = [first] * len(self) if self._ragged else first.new_empty((len(self), *first.shape))
            self._canvas[int(rows[0])], self._decoded[rows[0]] = first, True
        missing = rows[~self._decoded[rows]].tolist()
        for i, sample in zip(missing, self._decode(missing), strict=True):
            self._canvas[i] = sample
        self._decoded[missing] = True
        return _taken(self._canvas, rows)

    def _decode(self, rows: Sequence[int]) -> list[Tensor]:
        def one(i: int) -> Tensor:
            sample = self.dataset.samples[i]
            try:
                return self.backbone.preprocess.sample(self.dataset.load(sample))
            except UnreadableSample as error:
                what = f"{sample.key} could be read before, and cannot be read any more: {error}"
                raise DataError(what, "run it again: the file will be listed, and left out") from None

        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            return list(pool.map(one, rows))

    def _key(self, boundary: int, view: int) -> str:
        """The address of kept rows: everything that decides their values, except the bytes of the sample."""
        about = {
            "format": 1, "weights": self._prefix[1], "source": str(self.backbone.info.source), "boundary": boundary,
            "config": self.backbone.info.config, "preprocess": self.backbone.preprocess.json(),
            "pooled": self.needs if self._pooled(boundary) else "", "dtype": str(self.dtype),
            "view": None if view == PLAIN else [view, self.seed, repr(self.augment)],
        }  # fmt: skip
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()

    def _progress(self, done: int) -> None:
        if self.tell:
            self.tell(done, len(self))


def _taken(kept: Rows, rows: Tensor) -> Rows:
    return kept[rows] if isinstance(kept, Tensor) else [kept[i] for i in rows.tolist()]


def _layout(x: Tensor) -> Tensor:
    """One memory layout for kept and new rows: dropout draws in the order of memory, and convolutions are faster."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
