"""Whatever is frozen runs once: a data set as it looks at any boundary of a backbone, kept in memory and on disk.

A Feed is rows of a data set, decoded (canvas.py), augmented, and run through the stages before a boundary (engine.py);
shelf.py holds them, archive.py keeps them for the next run. Sequences, such as texts, are padded in a batch only.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from typing import final

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from graft.archive import Archive
from graft.backbones._sounds import Sounds
from graft.cache import Cache
from graft.canvas import Canvas
from graft.checkpoint import digest
from graft.device import seed_of
from graft.engine import CHECKED, FEW, Engine, Ready, plain
from graft.order import split
from graft.prefix import Prefix
from graft.shelf import Shelf, Some, room
from graft.types import Augment, Backbone, Dataset, Features, Inputs, Targets

PLAIN = -1  # the view without augmentation
BLOCK = 64  # samples between two looks at the clock and the progress bar; the next as many are decoded meanwhile
TOGETHER = 320.0  # seconds of sound in a batch, padding included: 64 of five seconds; more are divided
PUBLISH = (30.0, 64 << 20)  # seconds, bytes: after so much new rows are written to disk
Tell = Callable[[int, int], None]  # done, total


@final
class Feed:
    """A data set seen through a backbone. `augment` is None for everything but training; `keep=False` for rows that
    are asked for once."""

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
        engine: Engine | None = None,
        canvas: Canvas | None = None,
        keep: bool = True,
    ) -> None:
        self.dataset, self.backbone, self.device = dataset, backbone, device
        self.augment, self.views, self.seed, self.needs = augment, views, seed, needs
        self.cache, self.tell, self.keep = cache, tell, keep
        self.archive = Archive(dataset, cache)
        self.targets: Targets = dataset.targets() if targets is None else targets
        self.engine = engine or Engine(dtype=dtype)
        self.canvas = canvas or Canvas(dataset, backbone.preprocess, cache)
        self._kept: dict[int, Shelf] = {}  # by view
        self._prefix = (0, "")  # the boundary that is open, and the digest of the weights before it
        self._too_large = False

    @property
    def dtype(self) -> torch.dtype:
        """Of what moves; the engine may take another one for what stands still."""
        return self.engine.dtype

    def decode(self) -> None:
        """Decode every sample once, if all fit into memory: parts of this feed then share them."""
        self.canvas.fill()

    def sizes(self) -> Tensor | None:
        """(N,) lengths of the samples; None where all are equal."""
        return self.canvas.sizes()

    @property
    def most(self) -> int | None:
        """Positions of a batch, padding included, beyond which it takes too much memory; None where samples are alike,
        or texts, whose windows are bounded."""
        preprocess = self.backbone.preprocess
        if not isinstance(preprocess, Sounds):
            return None
        return preprocess.front.positions(round(TOGETHER * preprocess.rate))

    def shortest_first(self, rows: Tensor) -> Tensor:
        """Rows in an order in which batches need little padding."""
        sizes = self.sizes()
        return rows if sizes is None else rows[sizes[rows].argsort(stable=True)]

    def part(self, rows: Tensor, backbone: Backbone, augment: Augment | None = None, needs: str = "pooled") -> Feed:
        """Some rows (n,) of this feed before another backbone of the same preprocessing: what is decoded is shared."""
        dataset = self.dataset.replace(samples=tuple(self.dataset.samples[i] for i in rows.tolist()))
        made = Feed(
            dataset,
            backbone,
            device=self.device,
            augment=augment,
            views=self.views,
            seed=self.seed,
            needs=needs,
            cache=self.cache,
            tell=self.tell,
            targets=self.targets[rows],
            engine=self.engine,
            canvas=self.canvas.part(rows, dataset),
        )
        if PLAIN in self._kept and needs == self.needs:  # `open` lets go of them if the other trunk has other weights
            made._prefix, made._kept = self._prefix, {PLAIN: self._kept[PLAIN].part(rows)}
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
        found = self._through(rows, boundary, view) if kept is None else kept.take(rows)
        if isinstance(found, Tensor):
            return Inputs(_layout(found.to(self.device).float()))
        frame = self._frame(rows)
        x = pad_sequence(found, batch_first=True).to(self.device).float()
        assert frame.mask is not None, "sequences have a mask"
        missing = frame.mask.shape[1] - x.shape[1]  # windows are of one length
        return frame._replace(x=torch.nn.functional.pad(x, (*(0, 0) * (x.ndim - 2), 0, missing)))

    def ahead(self, rows: Tensor, boundary: int) -> None:
        """Begin to decode what `batch` will be asked for next, if it will not find it kept."""
        if boundary == 0 or self._too_large:
            self.canvas.ahead(rows)

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
        found = kept.whole() if kept is not None else self._through(torch.arange(len(self)), last, PLAIN)
        assert isinstance(found, Tensor), "a feed of tokens has no pooled features"
        return found.cpu()

    # ----------------------------------------------------------------------------------------------- what is behind

    def _view(self, epoch: int, boundary: int) -> int:
        """A new view each epoch for an unfrozen trunk; a frozen prefix takes turns at those it keeps, or has one. What
        is kept of sequences has their own length, which that of a view may not be."""
        lengths = self.canvas.preprocess.ragged and not self._pooled(boundary)
        if self.augment is None or (boundary and (lengths or not self.views)):
            return PLAIN
        return epoch % self.views if boundary else epoch

    def _pooled(self, boundary: int) -> bool:
        return boundary == len(self.backbone.stages) and self.needs in ("pooled", "stages")

    def _rows(self, boundary: int, view: int) -> Shelf | None:
        """All N rows at a boundary, from memory, from disk, or made now; None where they are not to be kept, or where
        there is no room for them."""
        assert boundary == self._prefix[0], "open() the boundary first"
        if self.keep and view not in self._kept and not self._too_large:
            made = self._make(boundary, view)
            if made is None:
                self._too_large = True
            else:
                self._kept[view] = made
        return self._kept.get(view)

    @torch.inference_mode(False)  # training takes what prediction has kept
    def _make(self, boundary: int, view: int) -> Shelf | None:
        if not len(self):
            return Shelf(torch.empty(0, self.backbone.info.dim))
        made = self._room(boundary, view)
        if made is None:
            return None
        self._fill(made, self.shortest_first(self.archive.fill(self._key(boundary, view), made)), boundary, view)
        return made

    def _fill(self, made: Shelf, missing: Tensor, boundary: int, view: int) -> None:
        """Make rows, and write them to disk from time to time: a run that is stopped finds again what it has made."""
        fresh, since, key = missing[:0], time.monotonic(), self._key(boundary, view)
        try:
            for block in missing.split(BLOCK if self.device.type == "cpu" else 16 * BLOCK) if len(missing) else ():
                self.canvas.ahead(missing[: 2 * len(block)])
                made.put(block, self._through(block, boundary, view))
                fresh = torch.cat([fresh, block])
                if len(fresh) * made.row_bytes() > PUBLISH[1] or time.monotonic() - since > PUBLISH[0]:
                    self.archive.publish(key, fresh, made)
                    fresh, since = missing[:0], time.monotonic()
                missing = missing[len(block) :]
                self._progress(len(self) - len(missing))
        finally:
            self.canvas.forget()
            self.archive.publish(key, fresh, made)

    def _room(self, boundary: int, view: int) -> Shelf | None:
        """Where all rows will be kept; a frozen prefix in bf16 gives no more digits than that."""
        first = self._like(boundary, view)
        sizes = None if self._pooled(boundary) else self.sizes()
        dtype = torch.bfloat16 if self.dtype is torch.bfloat16 and not self._pooled(boundary) else torch.float32
        scratch, disk = (self.cache.folder, self.cache.budget) if self.cache else (None, 0)
        shape = first.shape if sizes is None else first.shape[1:]
        return room(
            len(self), shape, dtype, sizes=sizes, times=1 if view == PLAIN else self.views, scratch=scratch, disk=disk
        )

    def _like(self, boundary: int, view: int) -> Tensor:
        """The first row: an engine need not be made for rows that are on disk."""
        inputs, run = self._inputs(torch.arange(1), view), plain(self._stages(boundary), torch.float32)
        return run(inputs.x, inputs.mask)[0]

    def _stages(self, boundary: int) -> Prefix:
        return Prefix(self.backbone, boundary, self.needs if self._pooled(boundary) else "stage")

    def _through(self, rows: Tensor, boundary: int, view: int) -> Some:
        """Decode and run the frozen prefix. It must be in eval mode: the loop sees to that."""
        ready, parts = self._ready(boundary, view), []
        for few in self._batches(rows, ready.batch):
            with torch.inference_mode():
                parts += self._encoded(ready, few, boundary, view)
        if self.canvas.preprocess.ragged and not self._pooled(boundary):
            return [part.float().clone() for part in parts]
        return _layout(torch.stack(parts).float().clone())

    def _ready(self, boundary: int, view: int) -> Ready:
        prefix = self._stages(boundary)
        few = next(split(torch.arange(len(self)), CHECKED, self.sizes(), self.most))
        key = f"{self._prefix[1]} {boundary} {prefix.gives}"
        rows = len(self) if self.cache is None else max(len(self), FEW)  # rows under one key are made in one way
        return self.engine.ready(prefix, lambda: self._inputs(few, view), key, rows)

    def _batches(self, rows: Tensor, size: int) -> Iterator[Tensor]:
        """As many at a time as the engine takes well, of sequences as many tokens; the next ones are decoded then."""
        start = 0
        for few in split(rows, size, self.sizes(), size):
            start += len(few)
            self.canvas.ahead(rows[start : start + BLOCK])
            yield few

    def _encoded(self, ready: Ready, rows: Tensor, boundary: int, view: int) -> list[Tensor]:
        """One tensor for each row, without padding."""
        inputs, sizes = self._inputs(rows, view), self.sizes()
        out = ready.run(inputs.x, inputs.mask)
        if sizes is None or self._pooled(boundary):
            return list(out)
        return [row[:size] for row, size in zip(out, sizes[rows].tolist(), strict=True)]

    def _frame(self, rows: Tensor) -> Inputs:
        """The mask of sequences, and their places. All positions of a sound are real, so it need not be heard again."""
        preprocess, sizes = self.backbone.preprocess, self.sizes()
        if sizes is None or not isinstance(preprocess, Sounds):
            return self._inputs(rows, PLAIN)
        width, window = int(sizes[rows].max()), preprocess.length
        if window is not None and width > window:
            width = -(-width // window) * window
        mask = torch.arange(width) < sizes[rows, None]
        return Inputs(mask, mask.to(self.device))

    def _inputs(self, rows: Tensor, view: int) -> Inputs:
        samples, preprocess = self.canvas.take(rows), self.backbone.preprocess
        made = preprocess.batch(samples) if view == PLAIN else preprocess.batch(
            samples, self.augment, self._seeds(rows, view))  # fmt: skip
        return Inputs(*(None if part is None else part.to(self.device) for part in made))  # type: ignore[arg-type]

    def _seeds(self, rows: Tensor, view: int) -> list[int]:
        """f(seed, view, content): independent of the order, of other samples and of the number of workers."""
        samples = self.dataset.samples
        return [seed_of(self.seed, "view", view, samples[i].digest or samples[i].key) for i in rows.tolist()]

    def _key(self, boundary: int, view: int) -> str:
        """The address of kept rows: everything that decides their values, except the bytes of the sample."""
        about = {
            "format": 2, "weights": self._prefix[1], "source": str(self.backbone.info.source), "boundary": boundary,
            "config": self.backbone.info.config, "preprocess": self.backbone.preprocess.json(),
            "pooled": self.needs if self._pooled(boundary) else "", "dtype": str(self.dtype),
            "engine": [self.engine.name, self.engine.auto],
            "view": None if view == PLAIN else [view, self.seed, repr(self.augment)],
        }  # fmt: skip
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()

    def _progress(self, done: int) -> None:
        if self.tell:
            self.tell(done, len(self))


def _layout(x: Tensor) -> Tensor:
    """One memory layout for kept and new rows: dropout draws in the order of memory, and convolutions are faster."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
