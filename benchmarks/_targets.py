"""The small public tasks that `benchmarks/ladder.py` asks about, as folders of train/ and test/ pictures.

    python benchmarks/_targets.py $GRAFT_DATA OUT     builds all, in every size, and prints how many images each has

Training has exactly `per_class` images of every class, and a smaller part is part of a larger one. The test part is the
same for all sizes and shares no group (photograph, slice, drawer) with training. Parts that come with the data are
kept; where none do, a random half of the groups is for testing.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import wave
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from graft.errors import DataError, UsageError, did_you_mean

SIZES: dict[str, tuple[int, ...]] = {"digits": (5, 20, 50), "sanskrit": (5, 10), "balinese": (5, 10)}
SIZES |= dict.fromkeys(("cifar10", "hymenoptera", "usps", "bccd", "membrane", "fsdd", "speakers"), (5, 20, 100))
USPS = "734f88c541104a956d88be2c95d03b4a463ffd74ccc2ba9c80841fb98e3fcb36"
# id, class, group, picture: the group is "train" or "test" where the part is given, or what stands on one side only
Item = tuple[str, str, str, Callable[[], Image.Image]]
Parts = dict[tuple[str, str], list[Item]]  # by part and class, in the order in which they are taken


def targets(data: Path) -> dict[str, Callable[[], Iterator[Item]]]:
    """What can be built from the folder `data`; nothing is read before the call."""
    return {
        "cifar10": partial(_folders, data / "cifar10_png"),
        "hymenoptera": partial(_folders, data / "hymenoptera"),
        "usps": partial(_usps, data / "usps" / "usps.h5"),
        "digits": _digits,
        "sanskrit": partial(_alphabet, data / "omniglot" / "images_background_small2" / "Sanskrit"),
        "balinese": partial(_alphabet, data / "omniglot" / "images_background_small1" / "Balinese"),
        "bccd": partial(_cells, data / "bccd"),
        "membrane": partial(_membrane, data / "isbi_membrane" / "train"),
        "fsdd": partial(_spoken, data / "fsdd" / "recordings", 0),
        "speakers": partial(_spoken, data / "fsdd" / "recordings", 1),
    }


def build(name: str, per_class: int, data: Path, out: Path, *, test_per_class: int = 0, seed: int = 0) -> Path:
    """The folder out/<name>-<per_class> with train/<class>/<id>.png and test/<class>/<id>.png, lossless.

    A folder that exists is complete, and is used as it is; another seed or test size has a name of its own. The test
    part has up to `test_per_class` images of a class (0: a thousand over all classes). Raises UsageError for an unknown
    name and DataError when there is no data, or fewer than `per_class` images of a class to train on.
    """
    known = targets(data)
    if name not in known:
        raise UsageError(f"there is no target '{name}'", did_you_mean(name, known))
    own = (f"-test{test_per_class}" if test_per_class else "") + (f"-seed{seed}" if seed else "")
    folder = out / f"{name}-{per_class}{own}"
    if not folder.exists():
        parts = _parts(list(known[name]()), Random(f"{name} {seed}"))
        found = [len(items) for (part, _), items in parts.items() if part == "train"]
        if min(found, default=0) < per_class:
            raise DataError(f"{data} has no {per_class} images of each class of {name}", "check the folder")
        _write(folder, parts, {"train": per_class, "test": test_per_class or 1000 // len(found)})
    return folder


def _parts(items: list[Item], random: Random) -> Parts:
    """Shuffled before a size is known, so that sizes are nested."""
    loose = sorted({group for _, _, group, _ in items} - {"train", "test"})
    learn = {"train", *random.sample(loose, len(loose) // 2)}
    parts: Parts = defaultdict(list)
    for item in random.sample(items, len(items)):
        parts["train" if item[2] in learn else "test", item[1]].append(item)
    return parts


def _write(folder: Path, parts: Parts, sizes: dict[str, int]) -> None:
    """Renamed when all is there: a build that was interrupted is not taken for a folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
        for (part, label), items in parts.items():
            place = Path(unfinished, "all", part, label)
            place.mkdir(parents=True)
            for key, _, _, load in items[: sizes[part]]:
                load().save(place / f"{key}.png")
        Path(unfinished, "all").rename(folder)


def _folders(root: Path) -> Iterator[Item]:
    for path in sorted(root.glob("*/*/*.[jp][pn]g")):
        yield path.stem, path.parts[-2], "train" if path.parts[-3] == "train" else "test", partial(_photo, path)


def _photo(path: Path) -> Image.Image:
    """The shorter side is 160 pixels at most."""
    image = Image.open(path)
    size = [round(side * min(1.0, 160 / min(image.size))) for side in image.size]
    return image.convert("RGB" if image.mode == "RGB" else "L").resize(size, Image.Resampling.LANCZOS)


def _digits() -> Iterator[Item]:
    for i, (pixels, label) in enumerate(zip(*load_digits(return_X_y=True), strict=True)):
        yield f"{i:04}", str(label), str(i), partial(_grey, pixels.reshape(8, 8) * (255 / 16))


def _grey(pixels: np.ndarray) -> Image.Image:
    """(H, W) of 0..255."""
    return Image.fromarray(np.rint(pixels).astype(np.uint8))


def _alphabet(folder: Path) -> Iterator[Item]:
    """Omniglot (Lake et al., 2015): the number after the underscore is the drawer, one of 20 for an alphabet."""
    for path in sorted(folder.glob("*/*.png")):
        yield path.stem, path.parent.name, path.stem[-2:], partial(_photo, path)


def _cells(root: Path) -> Iterator[Item]:
    """BCCD: red cells, white cells and platelets, cut square from photographs; boxes below 16 pixels are mistakes."""
    for path in sorted((root / "Annotations").glob("*.xml")):
        photo = root / "JPEGImages" / f"{path.stem}.jpg"
        for i, cell in enumerate(ElementTree.parse(path).iter("object")):
            box = [int(cell.findtext(f"bndbox/{edge}", "0")) for edge in ("xmin", "ymin", "xmax", "ymax")]
            if min(box[2] - box[0], box[3] - box[1]) >= 16:
                yield f"{path.stem}-{i}", cell.findtext("name", ""), path.stem, partial(_crop, photo, box)


def _crop(photo: Path, box: list[int]) -> Image.Image:
    """A tenth of margin on each side, moved inwards at the border of the photograph."""
    image = Image.open(photo).convert("RGB")
    side = min(round(1.2 * max(box[2] - box[0], box[3] - box[1])), *image.size)
    x, y = (min(max((box[i] + box[i + 2] - side) // 2, 0), image.size[i] - side) for i in (0, 1))
    return image.crop((x, y, x + side, y + side))


def _membrane(root: Path) -> Iterator[Item]:
    """ISBI 2012: the middle 5 x 5 pixels say the class. Slices from 15 on are noisier, so each half is cut once."""
    for path in sorted((root / "image").glob("*.png")):
        pixels, inside = (np.asarray(Image.open(root / kind / path.name)) for kind in ("image", "label"))
        part = "train" if int(path.stem) % 15 < 8 else "test"
        for y, x in product(range(0, 512 - 47, 16), repeat=2):
            label = {0: "membrane", 25: "interior"}.get((inside[y + 22 : y + 27, x + 22 : x + 27] > 127).sum())
            if label:
                yield f"{path.stem}-{y}-{x}", label, part, partial(_grey, pixels[y : y + 48, x : x + 48])


def _spoken(root: Path, field: int) -> Iterator[Item]:
    """Free Spoken Digit Dataset, files digit_speaker_index.wav: index 0 to 4 is its test part, of every speaker."""
    for path in sorted(root.glob("*.wav")):
        names = path.stem.split("_")
        yield path.stem, names[field], "test" if int(names[2]) < 5 else "train", partial(_spectrogram, path)


def _spectrogram(path: Path, bins: int = 64, hop: int = 96) -> Image.Image:
    """The first 0.77 s as a picture of 64 x 64: 0 to 4 kHz upwards, black is 60 dB below the loudest."""
    width = 2 * bins - 2
    with wave.open(str(path)) as file:
        sound = np.pad(np.frombuffer(file.readframes(file.getnframes()), "<i2"), (0, hop * bins + width))
    frames = np.lib.stride_tricks.sliding_window_view(sound, width)[: hop * bins : hop] * np.hanning(width)
    level = np.log10(np.abs(np.fft.rfft(frames)) + 1e-9).T[::-1]
    return _grey(np.clip(1 + (level - level.max()) / 3, 0, 1) * 255)


def _usps(path: Path) -> Iterator[Item]:
    """7,291 + 2,007 digits of 16 x 16. Where the arrays lie is true of this one file, so that h5py is not needed."""
    raw = path.read_bytes() if path.exists() else b""
    if hashlib.sha256(raw).hexdigest() != USPS:
        raise DataError(f"{path} is not the expected usps.h5", f"get the file whose SHA-256 is {USPS}")
    for part, n, width, x, y in (("train", 7291, 16, 2104, 2241991), ("test", 2007, 32, 2249041, 2910039)):
        pixels, labels = np.zeros((n, 256), "<f4"), np.zeros((n, 1), "<i4")
        _read_chunks(raw, x, 5, width, pixels)
        _read_chunks(raw, y, 4, 1, labels)
        for i, image in enumerate(pixels.reshape(-1, 16, 16)):
            yield f"{i:04}", str(labels[i, 0]), part, partial(_grey, image * 255)


def _read_chunks(raw: bytes, node: int, words: int, width: int, out: np.ndarray) -> None:
    """HDF5: what lies below a version-1 B-tree node; an entry's words are size, row, column, ..., address."""
    table = np.frombuffer(raw, "<u8", raw[node + 6] * words, node + 24).reshape(-1, words)
    for size, row, column, *_, address in table.tolist():
        if raw[node + 5]:  # the level: 0 holds the data
            _read_chunks(raw, address, words, width, out)
        else:
            chunk = np.frombuffer(zlib.decompress(raw[address : address + size]), out.dtype).reshape(-1, width)
            out[row : row + len(chunk), column : column + width] = chunk[: len(out) - row]


if __name__ == "__main__":
    for target, size in [(target, size) for target, sizes in SIZES.items() for size in sizes]:
        folder = build(target, size, Path(sys.argv[1]), Path(sys.argv[2]))
        print(folder.name, *(sum(1 for _ in (folder / side).glob("*/*.png")) for side in ("train", "test")))
