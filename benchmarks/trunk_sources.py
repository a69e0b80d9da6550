"""What the bundled trunks are pretrained on, cut from public data, and where tiny64's successor begins.

    python benchmarks/trunk_sources.py characters OMNIGLOT OUT    176 characters of 7 alphabets, 4 quarter turns each
    python benchmarks/trunk_sources.py digits MNIST_T10K OUT      the 10,000 test digits of MNIST
    python benchmarks/trunk_sources.py textures DTD_IMAGES OUT    16 tiles of each photograph, which is a class
    python benchmarks/trunk_sources.py natural300 TINY_IMAGENET CIFAR100 OUT    300 classes of 500 photographs
    python benchmarks/trunk_sources.py widened OUT.safetensors    tiny64 with a last stage of 1,024 channels, at random

The first three make the folders of the equal trunks of 48 pixels; of the fourth, natural, it is Tiny ImageNet's own
train folder. What `benchmarks/ladder.py` later asks about is left out: the alphabets Sanskrit and Balinese, MNIST's
train part, USPS. natural300 is what tiny64 learns from: the train parts of Tiny ImageNet, train/<wnid>/images/*.JPEG,
and of CIFAR-100, train/<class>/*.png, as one folder of class folders. `widened` makes a file for
local:OUT.safetensors(arch='small(expand=1024)').
"""

from __future__ import annotations

import gzip
import inspect
import os
import shutil
import sys
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image

from graft.backbones.bundled import bundled
from graft.backbones.small import small
from graft.checkpoint import save_tensors

HELD_OUT = ("Sanskrit", "Balinese")


def characters(source: Path, out: Path) -> None:
    """A character turned by 90 degrees is another character (Vinyals et al. 2016, arXiv:1606.04080)."""
    drawn = {f"{p.parts[-3]}_{p.parts[-2]}": p.parent for p in sorted(source.glob("images_background_*/*/*/*.png"))}
    for name, folder in drawn.items():
        for quarter in range(4) if not name.startswith(HELD_OUT) else ():
            for path in sorted(folder.glob("*.png")):
                turned = Image.open(path).convert("L").rotate(90 * quarter, fillcolor=255)
                _save(turned.resize((56, 56), Image.Resampling.BOX), out / f"{name}_{90 * quarter}" / path.name)


def digits(source: Path, out: Path) -> None:
    pixels = np.frombuffer(gzip.decompress((source / "t10k-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
    labels = np.frombuffer(gzip.decompress((source / "t10k-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    for i, (image, label) in enumerate(zip(pixels.reshape(-1, 28, 28), labels, strict=True)):
        _save(Image.fromarray(image), out / str(label) / f"{i:05}.png")


def textures(source: Path, out: Path) -> None:
    """Tell photographs apart by a tile of them (Dosovitskiy et al. 2014, arXiv:1406.6909)."""
    for path in sorted(source.glob("*/*.jpg")):
        draw, image = Random(path.name), Image.open(path).convert("RGB")  # noqa: S311 - not a secret
        for i in range(16):
            side = draw.randint(min(image.size) // 4, min(image.size) // 2)
            left, top = draw.randint(0, image.width - side), draw.randint(0, image.height - side)
            tile = image.crop((left, top, left + side, top + side))
            _save(tile.resize((64, 64), Image.Resampling.BOX), out / path.stem / f"{i:02}.png")


def natural300(tiny_imagenet: Path, cifar100: Path, out: Path) -> None:
    """As hard links where the disk is the same: nothing is written twice."""
    for path in sorted((tiny_imagenet / "train").glob("*/images/*.JPEG")):
        _link(path, out / path.parts[-3] / path.name)
    for path in sorted((cifar100 / "train").glob("*/*.png")):
        _link(path, out / path.parts[-2] / path.name)


def widened(out: Path) -> None:
    torch.manual_seed(0)
    save_tensors(out, {**small(expand=1024).state_dict(), **bundled("tiny64").state_dict()})


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def main() -> None:
    kinds = {made.__name__: made for made in (characters, digits, textures, natural300, widened)}
    made, folders = kinds.get("".join(sys.argv[1:2])), [Path(word) for word in sys.argv[2:]]
    if made is None or len(folders) != len(inspect.signature(made).parameters):
        sys.exit(__doc__)
    made(*folders)


if __name__ == "__main__":
    main()
