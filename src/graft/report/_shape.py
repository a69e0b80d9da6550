"""What shown.json holds: facts for the report that only a run at work can know. All of it is data, made by Graft itself:
pictures are encoded anew, texts are cut to a few hundred characters."""

from __future__ import annotations

from typing import TypedDict


class Picture(TypedDict):
    """A small picture: of an image itself, of a sound its spectrogram."""

    data: str  # base64
    type: str  # image/webp or image/png
    width: int
    height: int


class Item(TypedDict):
    """One sample as it is shown: `picture` for images and sounds, `text` for texts."""

    key: str
    label: str | None
    picture: Picture | None
    text: str | None


class Why(TypedDict):
    """An explanation: `picture` with a heat map laid over it, or `words` with their weights in -1..1."""

    method: str
    picture: Picture | None
    words: list[tuple[str, float]] | None


class Error(TypedDict):
    """A sample of the scored part whose label is wrong, the surest first. `why` speaks for the predicted class."""

    item: Item
    actual: str
    predicted: str
    probability: float
    actual_probability: float
    why: Why | None
    alike: list[Item]  # the nearest training samples


class Confused(TypedDict):
    """A pair of classes, with samples that were confused."""

    actual: str
    predicted: str
    count: int
    examples: list[Item]


class Point(TypedDict):
    x: float
    y: float
    label: int  # index of the class
    part: str
    right: bool | None  # of the scored part whether it was predicted rightly
    key: str


class Map(TypedDict):
    method: str
    points: list[Point]


class Curve(TypedDict):
    """Scores of a cheap head on growing shares of the training samples, error = a + b n^-c, and what that says."""

    metric: str
    sizes: list[int]
    scores: list[float]
    low: list[float]
    high: list[float]
    fit: dict[str, float]  # a, b, c
    now: float  # of the fit, with all samples
    doubled: dict[str, float]  # value, low, high: of the fit with twice as many
    larger: dict[str, float | str] | None  # the gain of the next larger trunk, from the ladder: trunk, value, low, high


class Next(TypedDict):
    """Samples worth a label, the most useful first; `source` says where they come from."""

    source: str  # "unlabelled", or "suspects": labels to look at again
    items: list[Item]


class Shown(TypedDict, total=False):
    format: int
    modality: str
    part: str  # "test" or "valid": what the errors are of
    errors: list[Error]
    confused: list[Confused]
    map: Map
    curve: Curve
    next: Next
    suspects: list[Error]  # training samples whose label is probably wrong; `predicted` is what they look like
    notes: list[str]  # what could not be made, and why
