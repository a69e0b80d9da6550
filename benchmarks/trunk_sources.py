"""The folders of images that the four equal trunks of the zoo are pretrained on, cut from public data.

    python benchmarks/trunk_sources.py characters OMNIGLOT OUT    176 characters of 7 alphabets, 4 quarter turns each
    python benchmarks/trunk_sources.py digits MNIST_T10K OUT      the 10,000 test digits of MNIST
    python benchmarks/trunk_sources.py textures DTD_IMAGES OUT    16 tiles of each photograph, which is a class

The fourth, natural, is Tiny ImageNet's own train folder. What `benchmarks/ladder.py` later asks about is left out: the
alphabets Sanskrit and Balinese, MNIST's train part, USPS.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

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


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


if __name__ == "__main__":
    kinds = {made.__name__: made for made in (characters, digits, textures)}
    if len(sys.argv) != 4 or sys.argv[1] not in kinds:
        sys.exit(__doc__)
    kinds[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
