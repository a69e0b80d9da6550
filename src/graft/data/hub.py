"""A data set of the Hugging Face hub with an image column and a label column: hub:beans, hub:owner/name, ..."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graft.data._files import SPLITS
from graft.data._image import decode
from graft.errors import DataError, MissingExtra, ResourceError, did_you_mean
from graft.types import Dataset, Issue, Raw, Sample, UnreadableSample


def hub(name: str, *, image: str | None = None, label: str | None = None, config: str | None = None) -> Dataset:
    """Columns are found by their type, or named. Code that a repository brings is never run.

    Raises MissingExtra without the library `datasets`, ResourceError without a network, DataError for a wrong column.
    """
    parts = _open(name, config)
    features = next(iter(parts.values())).features
    image = _column(name, features, "image", image, "Image")
    label = _column(name, features, "label", label, "ClassLabel")
    return _dataset(name, parts, image, label)


def _open(name: str, config: str | None) -> Mapping[str, Any]:
    """All splits. Version 4 and later of `datasets` cannot run a repository's scripts at all."""
    from graft import store

    try:
        import datasets
    except ImportError:
        raise MissingExtra("datasets", "hub") from None
    if int(datasets.__version__.split(".")[0]) < 4:
        raise MissingExtra("datasets>=4", "hub")
    options = datasets.DownloadConfig(local_files_only=True) if store.offline() else None
    try:
        return datasets.load_dataset(name, config, download_config=options)  # type: ignore[no-any-return]
    except Exception as error:  # some twenty types, from HTTP to Arrow
        raise ResourceError(f"the hub's '{name}' cannot be loaded: {str(error).splitlines()[0][:300]}",
                            "check the name (owner/name) and the network; without one use digits or a folder"
                            ) from error  # fmt: skip


def _column(name: str, features: Mapping[str, Any], role: str, asked: str | None, kind: str) -> str:
    if asked is not None:
        if asked not in features:
            raise DataError(f"{name} has no column '{asked}'", did_you_mean(asked, features))
        return asked
    fitting = [key for key, feature in features.items() if type(feature).__name__ == kind]
    if len(fitting) == 1:
        return fitting[0]
    if role in fitting or (not fitting and role in features):
        return role
    raise DataError(f"{name}: cannot tell which column is the {role}; there are: {', '.join(features)}",
                    f"name it: hub:{name}({role}='{(fitting or list(features))[0]}')")  # fmt: skip


def _dataset(name: str, parts: Mapping[str, Any], image: str, label: str) -> Dataset:
    from datasets import Image

    stored = {word: part.cast_column(image, Image(decode=False)) for word, part in parts.items()}
    names = getattr(next(iter(parts.values())).features[label], "names", None)
    samples, without = [], []
    for word, part in parts.items():
        for i, value in enumerate(part[label]):
            text = _label(value, names)
            if text is None:
                without.append(f"{word}/{i:06d}")
            else:
                samples.append(Sample(f"{word}/{i:06d}", (word, i), text, SPLITS.get(word)))

    def read_bytes(sample: Sample) -> bytes:
        word, i = sample.source
        data = stored[word][i][image]["bytes"]
        if data is None:
            raise UnreadableSample("the data set holds a path and no image")
        return bytes(data)

    def load(sample: Sample) -> Raw:
        return decode(read_bytes(sample)).image

    classes = tuple(names or sorted({str(sample.label) for sample in samples}))
    issue = Issue("unlabelled", "warning", "samples without a label are left out", tuple(without))
    issues = (issue,) if without else ()
    return Dataset(name, "image", tuple(samples), classes, load, read_bytes, issues, f"hub:{name}")


def _label(value: Any, names: list[str] | None) -> str | None:
    """Index -> name where names are known; -1 and None mean that there is none (tests of competitions)."""
    if value is None or (names and value == -1):
        return None
    return names[value] if names else str(value)
