"""The nouns of data: samples, their labels, and the data sets that readers make of them. Part of types.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Raw = Any  # one sample as its reader gives it: an upright RGB PIL image, a Text, a Sound
Json = dict[str, Any]
COPIES = "copies:"  # the names of groups that the audit makes begin so
Corpus = Callable[[], Iterable[Raw]]  # the training samples, for a trunk that makes its vocabulary from them


class Text(NamedTuple):
    """A text, or two that belong together: a sentence and its pair, a question and its passage.

    `words`: where the text comes cut into words, which tags belong to; `text` is then these, joined by blanks.
    """

    text: str
    pair: str | None = None
    words: tuple[str, ...] | None = None


@final
@dataclass(frozen=True)
class Sound:
    """A sound that lies where it was found: what it is, and how to read a stretch of it.

    `read(start, stop)` gives the frames [start, stop) as (n,) float32, the mean of all channels. It raises
    UnreadableSample.
    """

    rate: int  # frames in a second (Hz)
    frames: int  # that are there, whatever the header says
    channels: int
    read: Callable[[int, int], NDArray[np.float32]]

    @property
    def seconds(self) -> float:
        return self.frames / self.rate


class Answers(NamedTuple):
    """What may be said to a question: texts and where each starts in the passage. None at all: unanswerable.

    A text that starts at -1 is no part of the passage: "yes" or "no".
    """

    texts: tuple[str, ...]
    starts: tuple[int, ...]


Label = str | float | tuple[str, ...] | Answers  # a class or a transcript; a number; labels, or tags of words; answers


@dataclass(frozen=True)
class Sample:
    """One example, not yet read. `key` names it to people ("ants/7.jpg"), `source` to the reader."""

    key: str
    source: Any
    label: Any = None  # a Label, of the kind that the data set says; None: not known
    split: str | None = None  # "train", "valid" or "test" where the data say so
    group: str | None = None  # samples of one group (patient, speaker) stay on one side of every split
    digest: str = ""  # sha256 of the content as stored; filled by the audit
    about: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)  # what the file says of itself;
    # filled by the audit: of images format, mode, width, height, bytes; of sounds format, rate, channels, seconds,
    # bytes; of texts characters

    @property
    def in_copies(self) -> bool:
        """Whether its group is one that the audit made of copies."""
        return self.group is not None and self.group.startswith(COPIES)

    @property
    def own_group(self) -> str | None:
        """The speaker, the patient: a group that the data give, and none that the audit made of copies."""
        return None if self.in_copies else self.group


@dataclass(frozen=True)
class Issue:
    """A finding about the data. `severity` is "note", "warning" or "error"; `keys` names the samples, and `details`
    says something of each of them ("a copy of ...", "looks like bees"), or is empty."""

    code: str
    severity: str
    what: str
    keys: tuple[str, ...] = ()
    hint: str = ""
    details: tuple[str, ...] = ()

    def json(self) -> Json:
        said = {"code": self.code, "severity": self.severity, "what": self.what, "count": len(self.keys),
                "keys": list(self.keys), "hint": self.hint}  # fmt: skip
        return said | ({"details": list(self.details)} if self.details else {})


@final
@dataclass(frozen=True)
class Dataset:
    """Samples and how to read one. `load(sample)` raises UnreadableSample with a reason, and never guesses."""

    name: str
    modality: str  # "image", "text", "audio"
    samples: tuple[Sample, ...]
    classes: tuple[str, ...]  # in the order of the label indices; none of numbers; of transcripts their symbols
    load: Callable[[Sample], Raw]
    read_bytes: Callable[[Sample], bytes]  # what the content hash covers
    issues: tuple[Issue, ...] = ()
    root: str = ""
    kind: str = "class"  # of labels: "class", "labels" (several), "number", "tags" (of words), "answers", "transcript",
    # "none"

    def __len__(self) -> int:
        return len(self.samples)

    def part(self, split: str) -> Dataset:
        return self.where(lambda sample: sample.split == split)

    def where(self, keep: Callable[[Sample], bool]) -> Dataset:
        return self.replace(samples=tuple(sample for sample in self.samples if keep(sample)))

    def replace(self, **changes: Any) -> Dataset:
        return Dataset(**{**self.__dict__, **changes})

    def targets(self) -> Tensor:
        """(N,) class indices; -1 where a sample has no label."""
        index = {label: i for i, label in enumerate(self.classes)}
        return torch.tensor([index.get(s.label, -1) if s.label is not None else -1 for s in self.samples])


class UnreadableSample(Exception):
    """This one sample cannot be read; the message is the reason. It is listed, never replaced."""
