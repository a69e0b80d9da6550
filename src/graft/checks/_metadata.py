"""What files say of themselves, as columns of numbers: of the file, which a model sees, and of its name and place."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from graft.types import Sample

About = Mapping[str, Any]
RARE = 3  # files that share a word of their names, for it to say anything
PARTS = ("train", "training", "valid", "val", "validation", "dev", "test", "testing")


class Column(NamedTuple):
    """`name` as it is said to people; `values` (N,), of words the places in `words`."""

    name: str
    values: NDArray[np.float64]
    words: tuple[str, ...] = ()

    def shown(self, rows: NDArray[np.bool_]) -> str:
        """What is usual in some rows: the median number, or the most frequent word."""
        middle = float(np.median(self.values[rows]))
        if self.words:
            most = Counter(self.values[rows].tolist()).most_common(1)[0][0]
            return self.words[int(most)] or "none"
        return f"{middle:,.2f}" if middle < 10 else f"{middle:,.0f}"


_Number = Callable[[About], float]
NUMBERS: tuple[tuple[str, tuple[str, ...], _Number], ...] = (  # name, what is needed, value
    ("the width of the file", ("width",), lambda about: about["width"]),
    ("the height of the file", ("height",), lambda about: about["height"]),
    ("the proportions (width : height)", ("width", "height"), lambda about: about["width"] / max(1, about["height"])),
    ("the compression (bytes for each pixel)", ("bytes", "width", "height"),
     lambda about: about["bytes"] / max(1, about["width"] * about["height"])),
    ("the rate", ("rate",), lambda about: about["rate"]),
    ("the number of channels", ("channels",), lambda about: about["channels"]),
    ("the length in seconds", ("seconds",), lambda about: about["seconds"]),
    ("the compression (bytes for each second)", ("bytes", "seconds"),
     lambda about: about["bytes"] / max(1e-3, about["seconds"])),
    ("the number of characters", ("characters",), lambda about: about["characters"]),
)  # fmt: skip
WORDS = (("the format of the file", "format"), ("the mode of the pixels", "mode"))


def of_files(samples: Sequence[Sample]) -> list[Column]:
    """What of the files themselves differs; nothing of data whose files say nothing."""
    abouts = [sample.about for sample in samples]
    found = [Column(name, np.array([float(value(about)) for about in abouts]))
             for name, keys, value in NUMBERS if all(key in about for about in abouts for key in keys)]  # fmt: skip
    found += [coded(name, [str(about[key]) for about in abouts])
              for name, key in WORDS if all(key in about for about in abouts)]  # fmt: skip
    return [column for column in found if np.ptp(column.values) > 0]


def of_names(samples: Sequence[Sample]) -> list[Column]:
    """Folder, form and first word of the names of files, each without the name of the class; keys that are no paths
    say nothing."""
    if not samples or not all(re.search(r"\.\w{2,4}$", sample.key) for sample in samples):
        return []
    names = [_names(sample) for sample in samples]
    columns = zip(("the folder", "the form of the file name", "the first word of the file name"),
                  zip(*names, strict=True), strict=True)  # fmt: skip
    found = [coded(name, list(words)) for name, words in columns]
    return [column for column in found if np.ptp(column.values) > 0]


def coded(name: str, words: Sequence[str]) -> Column:
    """Words that few samples share are one word: they say nothing of others."""
    counts = Counter(words)
    kept = [word if counts[word] >= RARE else "" for word in words]
    known, places = np.unique(kept, return_inverse=True)
    return Column(name, places.astype(np.float64), tuple(map(str, known)))


def _names(sample: Sample) -> tuple[str, str, str]:
    label = re.sub(r"[^a-z0-9]", "", str(sample.label).casefold())
    *folders, file = sample.key.split("/")
    place = "/".join(part for part in folders if part.casefold() not in PARTS and not _repeats(part, label))
    words = re.findall(r"[A-Za-z0-9]+|[^A-Za-z0-9]+", file.rpartition(".")[0])
    said = [word for word in words if not _repeats(word, label)]
    first = next((word for word in said if word[0].isalnum() and not word.isdigit()), "")
    return place, _form(said), first.rstrip("0123456789").casefold() if not _mixed(first) else ""


def _repeats(word: str, label: str) -> bool:
    """Whether a word is the class, its plural, or its beginning."""
    bare = re.sub(r"[^a-z0-9]", "", word.casefold()).rstrip("0123456789") or word
    long = len(bare) >= 3
    return bool(bare) and (word.casefold() == label or (long and (label.startswith(bare) or bare.startswith(label))))


def _mixed(word: str) -> bool:
    """An identifier such as 1b6c72e180, and no word with a number behind it."""
    return bool(re.search(r"\d[A-Za-z]", word))


def _form(words: Sequence[str]) -> str:
    """ "IM-0115-0001" -> "A-0-0": letters, digits and signs without what they say."""
    kinds = [re.sub(r"\s+", " ", word)[:1] if not word[0].isalnum() else
             "0" if word.isdigit() else "x" if any(map(str.isdigit, word)) else "A" if word.isupper() else "a"
             for word in words]  # fmt: skip
    return re.sub(r"(.{1,2})\1+", r"\1", "".join(kinds))[:12]  # how many words there are says less than which kinds
