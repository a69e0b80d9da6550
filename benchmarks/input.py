"""From files to what a network takes: JPEGs and small PNGs to a normalised batch at 224 pixels, texts to tokens.

    python benchmarks/input.py [--data $GRAFT_DATA/hymenoptera] [--pngs $GRAFT_DATA/cifar10_png] [--quick]

The peer of pictures is what most scripts do: Pillow, then torchvision's Resize, CenterCrop, ToTensor, Normalize for
each picture, in a pool of threads or in a DataLoader, whose two processes are kept and have run once before the clock;
scores are 1 - mean difference from it, in units of the normalised pixels. That of texts is `encode_batch` of the
tokenizers library, all texts at once, and the lists that it returns; both sides have --threads threads for it. "images
per second" are Graft's own, by the number of threads and in processes.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import _options
import torch
from _race import Lap, race
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms

from graft.backbones._images import IMAGENET_MEAN, IMAGENET_STD, Images
from graft.backbones._tokens import Tokens
from graft.backbones.minilm import minilm
from graft.data._image import decode
from graft.types import Text

OURS, BATCH = Images(224, 256), 32
THEIRS = transforms.Compose([
    transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(),
    transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
])  # fmt: skip
WORDS = ("the", "film", "was", "good", "and", "a", "city", "of", "houses", "stands", "on", "other", "unlikely")


def canvas(path: Path) -> Tensor:
    return OURS.sample(decode(path).image)


def usual(path: Path) -> Tensor:
    with Image.open(path) as opened:
        made: Tensor = THEIRS(opened.convert("RGB"))
    return made


def batches(paths: Sequence[Path]) -> Iterator[Sequence[Path]]:
    return (paths[start : start + BATCH] for start in range(0, len(paths), BATCH))


def ours(paths: Sequence[Path], pool: Executor | None) -> Iterator[Tensor]:
    for few in batches(paths):
        made = list(map(canvas, few) if pool is None else pool.map(canvas, few, chunksize=4))
        yield OURS.batch(torch.stack([one.permute(1, 2, 0) for one in made]).permute(0, 3, 1, 2)).x


def theirs(paths: Sequence[Path], pool: Executor | None) -> Iterator[Tensor]:
    for few in batches(paths):
        yield torch.stack(list(map(usual, few) if pool is None else pool.map(usual, few)))


def loader(paths: Sequence[Path]) -> DataLoader[Tensor]:
    """Its processes have started, and run once."""
    made = DataLoader(_Pictures(paths), BATCH, num_workers=2, persistent_workers=True)
    for _ in made:
        pass
    return made


class _Pictures(torch.utils.data.Dataset[Tensor]):
    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Tensor:
        return usual(self.paths[row])


def seconds(work: Callable[[], Iterator[Any]], score: float | None = None) -> Lap:
    start = time.perf_counter()
    for _ in work():
        pass
    return Lap(time.perf_counter() - start, score)


def agreement(paths: Sequence[Path]) -> float:
    """1 - mean difference of the two sides' pixels."""
    pairs = zip(ours(paths, None), theirs(paths, None), strict=True)
    return 1 - float(torch.stack([(a - b).abs().mean() for a, b in pairs]).mean())


def pictures(name: str, paths: Sequence[Path], rounds: int) -> list[dict[str, Any]]:
    rows, near = [], agreement(paths[:64])
    with ThreadPoolExecutor(2) as pool:
        for threads, ways in ((1, None), (2, pool)):
            mine, peer = partial(ours, paths, ways), partial(theirs, paths, ways)
            what = f"{name} to 224, {threads} threads"
            rows.append(race(what, partial(seconds, mine, near), partial(seconds, peer, 1.0), name="Pillow + v1",
                             rounds=rounds) | {"images": len(paths)})  # fmt: skip
        mine, peer = partial(ours, paths, pool), partial(iter, loader(paths))
        rows.append(race(f"{name} to 224, 2 workers", partial(seconds, mine, near), partial(seconds, peer, 1.0),
                         name="DataLoader", rounds=rounds) | {"images": len(paths)})  # fmt: skip
    return rows


def ways(paths: Sequence[Path]) -> dict[str, float]:
    """Images per second of our own, by how they are decoded."""
    pools: dict[str, Executor | None] = {
        "here": None, "1 thread": ThreadPoolExecutor(1), "2 threads": ThreadPoolExecutor(2),
        "4 threads": ThreadPoolExecutor(4), "8 threads": ThreadPoolExecutor(8), "2 processes": ProcessPoolExecutor(2),
    }  # fmt: skip
    found = {}
    for name, pool in pools.items():
        list(ours(paths[:BATCH], pool))  # processes start now
        found[name] = len(paths) / min(seconds(partial(ours, paths, pool)).seconds for _ in range(2))
        print(f"  {name}: {found[name]:.0f} images per second", flush=True)
        if pool is not None:
            pool.shutdown()
    return found


def texts(count: int, rounds: int) -> list[dict[str, Any]]:
    draw = random.Random(0)  # noqa: S311 - not a secret
    made = [Text(" ".join(draw.choices(WORDS, k=draw.randint(5, 150)))) for _ in range(count)]
    preprocess = minilm().preprocess
    assert isinstance(preprocess, Tokens)
    plain = preprocess._library()
    plain.enable_truncation(preprocess.length)

    def at_once() -> Iterator[list[Any]]:
        return ([e.ids, e.type_ids, e.offsets] for e in plain.encode_batch([text.text for text in made]))

    what = f"{count:,} texts to tokens"
    return [race(what, partial(seconds, lambda: iter(preprocess.samples(made))), partial(seconds, at_once),
                 name="tokenizers", rounds=rounds) | {"texts": count}]  # fmt: skip


def found(folder: Path, suffixes: tuple[str, ...], count: int) -> list[Path]:
    """Every k-th picture, so that all classes are among them; repeated where there are too few."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
    few = paths[:: max(1, len(paths) // count)][:count]
    return list(islice(cycle(few), count))


def main() -> None:
    parser = _options.parser(__doc__, "few samples, one round", rounds=5)
    given = Path(os.environ.get("GRAFT_DATA", ""))
    parser.add_argument("--data", type=Path, default=given / "hymenoptera", help="default: $GRAFT_DATA/hymenoptera")
    parser.add_argument("--pngs", type=Path, default=given / "cifar10_png", help="default: $GRAFT_DATA/cifar10_png")
    asked = _options.read(parser)
    os.environ["RAYON_NUM_THREADS"] = str(asked.threads)  # read when tokenizers is first used, which comes later
    torch.set_num_threads(1)  # beside the pools' own
    count = 64 if asked.quick else 640
    jpegs, pngs = found(asked.data, (".jpg", ".jpeg"), count), found(asked.pngs, (".png",), count)
    if not jpegs or not pngs:
        parser.error("no pictures: give --data and --pngs, or set GRAFT_DATA: the folder of data sets")
    setup = {"images per second": ways(jpegs), "batch": BATCH}  # before tokenizers has threads, which forks would lose
    rows = pictures("JPEG", jpegs, asked.rounds) + pictures("small PNG", pngs, asked.rounds)
    _options.finish("input", rows + texts(30 * count, asked.rounds), setup, asked)


if __name__ == "__main__":
    main()
