"""A data set of torchvision by its name, with its official splits: torchvision:CIFAR10, torchvision:Flowers102, ..."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from graft.errors import DataError, ResourceError, UsageError, did_you_mean
from graft.types import Dataset, Issue, Raw, Sample, UnreadableSample

_NAMED = {"train": "train", "trainval": "train", "valid": "valid", "val": "valid", "test": "test"}
_SPLITS = {
    "OxfordIIITPet": ("trainval", "test"), "DTD": ("train", "val", "test"), "Flowers102": ("train", "val", "test"),
    "FGVCAircraft": ("train", "val", "test"), "RenderedSST2": ("train", "val", "test"),
    "PCAM": ("train", "val", "test"), "Country211": ("train", "valid", "test"), "Imagenette": ("train", "val"),
}  # fmt: skip
_LABELLED = (
    "CIFAR10 CIFAR100 MNIST FashionMNIST KMNIST QMNIST USPS SVHN Flowers102 OxfordIIITPet DTD Food101 STL10 EuroSAT "
    "FGVCAircraft RenderedSST2 PCAM Country211 Imagenette GTSRB FER2013 StanfordCars SUN397 Caltech101 Caltech256 "
    "SEMEION"
)


def torchvision(name: str, *, root: str | None = None) -> Dataset:
    """Reads what is on the disk, and downloads only what is absent.

    Raises UsageError for an unknown name, and ResourceError when a download is needed and impossible.
    """
    from torchvision import datasets

    if name not in _LABELLED.split():
        raise UsageError(f"torchvision has no image classification set '{name}'", did_you_mean(name, _LABELLED.split()))
    build = getattr(datasets, name)
    folder = _root(root)
    parts = {word: _open(build, name, folder, options) for word, options in _parts(name, build)}
    return _dataset(name, parts, folder)


def _root(root: str | None) -> Path:
    from graft import store

    folder = Path(root).expanduser() if root else store.cache_dir() / "datasets"
    if root and not folder.is_dir():
        raise DataError(f"there is no folder {root}", "leave root out to use the cache folder")
    return folder


def _parts(name: str, build: Callable[..., Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The words of the official splits, and how the constructor is asked for each; "" when there are none."""
    known = inspect.signature(build).parameters
    if name == "QMNIST":
        yield from (("train", {"what": "train"}), ("test", {"what": "test"}))
    elif "train" in known:
        yield from (("train", {"train": True}), ("test", {"train": False}))
    elif "split" in known:
        yield from ((word, {"split": word}) for word in _SPLITS.get(name, ("train", "test")))
    else:
        yield "", {}


def _open(build: Callable[..., Any], name: str, folder: Path, options: dict[str, Any]) -> Any:
    """The set from the disk; else after a download; else a plain word about the network."""
    from graft import store

    can_download = "download" in inspect.signature(build).parameters
    try:
        return build(str(folder), **options)
    except (RuntimeError, OSError) as error:
        absent = error
    except (ImportError, ModuleNotFoundError) as error:
        raise ResourceError(f"torchvision needs another library for {name}: {error}", "pip install scipy") from error
    if store.offline() or not can_download:
        why = "GRAFT_OFFLINE forbids downloads" if can_download else "torchvision offers no download of it"
        raise ResourceError(f"{name} is not in {folder}, and {why}", _offline_hint()) from absent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return build(str(folder), download=True, **options)
    except Exception as error:  # urllib, ssl, tarfile, torchvision: each fails in its own way without a network
        raise ResourceError(f"{name} is not in {folder}, and downloading it failed (no network?): {error}",
                            _offline_hint()) from error  # fmt: skip


def _offline_hint() -> str:
    return "without a network use the built-in set: digits, or a folder of images"


def _dataset(name: str, parts: dict[str, Any], folder: Path) -> Dataset:
    samples, words = [], dict[str, None]()
    classes = _classes(next(iter(parts.values())))
    for word, items in parts.items():
        for i, target in enumerate(_targets(items)):
            label = classes[target] if 0 <= target < len(classes) else str(target)
            words[label] = None
            samples.append(Sample(f"{word or 'all'}/{i:06d}", (word, i), label, _NAMED.get(word)))
    ordered = [label for label in classes if label in words] or sorted(words, key=_numeric)

    def load(sample: Sample) -> Raw:
        word, i = sample.source
        return _picture(parts[word], i)

    def read_bytes(sample: Sample) -> bytes:
        image = load(sample)
        return b"%d x %d:" % image.size + bytes(image.tobytes())

    rest = sorted(set(words) - set(ordered), key=_numeric)
    note = Issue("official-split", "note", f"the official parts of {name}: {', '.join(parts)}" if "" not in parts else
                 f"{name} has no official split")  # fmt: skip
    return Dataset(name, "image", tuple(samples), (*ordered, *rest), load, read_bytes, (note,), str(folder))


def _picture(items: Any, i: int) -> Image.Image:
    try:
        return items[i][0].convert("RGB")  # type: ignore[no-any-return]
    except Exception as error:
        raise UnreadableSample(f"damaged image ({error})") from error


def _classes(items: Any) -> list[str]:
    """Class names where torchvision knows them; two classes of one name keep their number."""
    names = [name if isinstance(name, str) else "/".join(name) for name in getattr(items, "classes", ())]
    return [name if names.count(name) == 1 else f"{name} ({i})" for i, name in enumerate(names)]


def _targets(items: Any) -> Sequence[int]:
    """Class indices, from where the set keeps them, else by reading every sample."""
    for place in ("targets", "labels", "_labels", "y"):
        found = getattr(items, place, None)
        if found is not None and len(found) == len(items):
            return [int(target) for target in found]
    return [int(items[i][1]) for i in range(len(items))]


def _numeric(label: str) -> tuple[int, str]:
    return (int(label), "") if label.isdigit() else (1 << 30, label)
