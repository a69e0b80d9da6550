"""Pictures per second from files to what a network trains on: Graft's feed and a plain DataLoader loop, in turn.

    python benchmarks/views.py [--data $GRAFT_DATA] [--workers 2] [--quick]

Two jobs at 64 pixels: `basic` (a random crop of at least 0.35 of the area, and the mirror image), and SimCLR's pair of
views; of small PNGs (cifar10_png/train) and of photographs (hymenoptera). The peer is what most scripts do: a folder of
pictures, torchvision's v2 transforms for each sample, a DataLoader without workers, and with --workers, which are kept
and have run once before the clock. For both sides the clock runs from the first batch to the last, normalised and
channels last; opening the data set is not in it.

A peer decodes in each epoch. Graft decodes in the first, and crops from the canvas that it keeps, 72 pixels for 64; the
canvas is found on disk by the next run. "first epoch" is with nothing on disk, "later epochs" are what follows, and
"next run" is the first epoch where another run has kept the canvas, however little time that saves. All three are
compared with an epoch of the peer. Seconds are those of the clock; with --processor they are those that this process
had a processor, threads included, for machines that are busy: workers are other processes, and need the clock.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import cycle, islice, product
from pathlib import Path
from typing import Any

import _options
import torch
from _race import Lap, row
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from graft import archive, augment
from graft.backbones._images import IMAGENET_MEAN, IMAGENET_STD, Images
from graft.cache import Cache
from graft.canvas import Canvas
from graft.data._image import decode
from graft.device import permutation, seed_of
from graft.types import Augment, Dataset, Sample
from graft.views.pair import Pair

BATCH, SIZE, CANVAS = 128, 64, 72
LAST: list[v2.Transform] = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
BASIC = v2.Compose([v2.ToImage(), v2.RandomResizedCrop(SIZE, (0.35, 1)), v2.RandomHorizontalFlip(), *LAST])
SIMCLR = v2.Compose([
    v2.ToImage(), v2.RandomResizedCrop(SIZE, (0.2, 1)), v2.RandomHorizontalFlip(),
    v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8), v2.RandomGrayscale(0.2), *LAST,
])  # fmt: skip
JOBS: dict[str, tuple[Augment, v2.Compose, int]] = {
    "basic": (augment.Basic(0.35, True, 0.0, 0.0), BASIC, 1),
    "pair": (Pair(), SIMCLR, 2),
}
PEER = "DataLoader"


class Pictures(torch.utils.data.Dataset[Tensor]):
    """As torchvision's ImageFolder reads them; all views of a sample together."""

    def __init__(self, paths: list[Path], transform: v2.Compose, views: int) -> None:
        self.paths, self.transform, self.views = paths, transform, views

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, at: int) -> Tensor:
        with Image.open(self.paths[at]) as opened:
            picture = opened.convert("RGB")
        return torch.stack([self.transform(picture) for _ in range(self.views)])


class Ours:
    """The part of a Feed between files and the network; each epoch has views of its own."""

    def __init__(self, paths: list[Path], view: Augment, cache: Cache) -> None:
        samples = tuple(Sample(str(path), path, digest=_digest(path)) for path in paths)
        data = Dataset("pictures", "image", samples, (), lambda s: decode(s.source).image, lambda s: _bytes(s.source))
        self.canvas, self.view, self.epoch = Canvas(data, Images(SIZE, CANVAS), cache), view, 0

    def batches(self) -> Iterator[Tensor]:
        rows, self.epoch = permutation(len(self.canvas.at), "order", self.epoch).split(BATCH), self.epoch + 1
        samples, preprocess = self.canvas.dataset.samples, self.canvas.preprocess
        for few, following in zip(rows, (*rows[1:], torch.empty(0, dtype=torch.long)), strict=True):
            self.canvas.ahead(following)
            seeds = [seed_of(0, "view", self.epoch, samples[i].digest) for i in few.tolist()]
            yield preprocess.batch(self.canvas.take(few), self.view, seeds).x


def _bytes(path: Path) -> bytes:
    return path.read_bytes()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def theirs(paths: list[Path], transform: v2.Compose, views: int, workers: int) -> DataLoader[Tensor]:
    made = DataLoader(Pictures(paths, transform, views), BATCH, shuffle=True, num_workers=workers,
                      persistent_workers=workers > 0)  # fmt: skip
    for _ in made if workers else ():
        pass
    return made


class Laps:
    """One epoch of each side, under the clock that was asked for."""

    def __init__(self, paths: list[Path], job: str, folder: Path, clock: Callable[[], float]) -> None:
        self.paths, self.clock, self.folder = paths, clock, folder
        self.view, self.transform, self.views = JOBS[job]
        self.warm = Ours(paths, self.view, Cache(folder / "kept"))
        for _ in range(2):
            self.lap(self.warm.batches())

    def lap(self, batches: Iterable[Tensor]) -> Lap:
        start = self.clock()
        for batch in batches:
            if batch.ndim == 5:
                batch.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return Lap(self.clock() - start)

    def first(self) -> Lap:
        with tempfile.TemporaryDirectory(dir=self.folder) as empty:
            return self.lap(Ours(self.paths, self.view, Cache(Path(empty))).batches())

    def later(self) -> Lap:
        return self.lap(self.warm.batches())

    def next_run(self) -> Lap:
        return self.lap(Ours(self.paths, self.view, Cache(self.folder / "kept")).batches())


def rows(name: str, laps: Laps, workers: int, rounds: int) -> Iterator[dict[str, Any]]:
    """In each round all sides once, in the other order than in the round before."""
    loader = theirs(laps.paths, laps.transform, laps.views, workers)
    sides = {"first epoch": laps.first, "later epochs": laps.later, "next run": laps.next_run,
             PEER: partial(laps.lap, loader)}  # fmt: skip
    done: dict[str, list[Lap]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in list(sides)[:: 1 if number % 2 else -1]:
            done[side].append(sides[side]())
            print(f"  {name}, {side}: {done[side][-1].seconds:.2f} s", flush=True)
    for side in list(sides)[:-1]:
        made = row(f"{name}: {side}", done[side], done[PEER], name=f"{PEER}, {workers} workers")
        yield _rates(made, len(laps.paths))


def _rates(made: dict[str, Any], count: int) -> dict[str, Any]:
    return made | {"images": count, "graft_per_s": count / made["graft_s"], "peer_per_s": count / made["peer_s"]}


def found(folder: Path, count: int) -> list[Path]:
    """Every k-th picture, so that all classes are among them; repeated where there are too few."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    return list(islice(cycle(paths[:: max(1, len(paths) // count)]), count))


def main() -> None:
    parser = _options.with_data(_options.parser(__doc__, "a few hundred pictures, one round"))
    parser.add_argument("--workers", type=int, default=2, help="processes of the DataLoader; default: 2")
    parser.add_argument("--processor", action="store_true", help="seconds of a processor; without workers")
    parser.add_argument("--pngs", type=int, default=10_000, help="default: 10,000")
    parser.add_argument("--photographs", type=int, default=400, help="default: 400")
    asked = _options.read(parser, "cifar10_png", "hymenoptera")
    counts = (256, 64) if asked.quick else (asked.pngs, asked.photographs)
    sets = {"PNG of 32 pixels": found(asked.data / "cifar10_png/train", counts[0]),
            "photographs": found(asked.data / "hymenoptera", counts[1])}  # fmt: skip
    clock = time.process_time if asked.processor else time.perf_counter
    archive.WORTH = (0.0, archive.WORTH[1])
    made = []
    for name, job in product(sets, JOBS):
        with tempfile.TemporaryDirectory() as folder:
            laps = Laps(sets[name], job, Path(folder), clock)
            for workers in sorted({0} if asked.processor else {0, asked.workers}):
                made += rows(f"{name}, {job}", laps, workers, asked.rounds)
    _options.finish("views", made, {"batch": BATCH, "size": SIZE, "canvas": CANVAS, "clock": clock.__name__}, asked)


if __name__ == "__main__":
    main()
