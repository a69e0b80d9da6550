"""What shown.json holds: facts for the report that only a run at work can know. All of it is data, made by Graft
itself: pictures are encoded anew, texts are cut to a few hundred characters."""

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
    probability: float | None  # of what was predicted; None where a task gives none, such as numbers
    actual_probability: float | None  # of what is true; None where it is not known
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
    samples: int  # there are to train on: more than the last of `sizes`, as some are held out
    now: float  # of the fit, with all `samples`
    doubled: dict[str, float]  # value, low, high: of the fit with 2 * samples; gain, gain_low, gain_high: less `now`
    larger: dict[str, float | str] | None  # what the largest trunk gains over smaller ones, on the ladder's folds,
    # paired: trunk, over (the best of those), way, value, low, high; None where all are of one size
    says: str  # what is beyond noise: "data", "trunk", "both" or "neither"; where no larger trunk was measured,
    # "only_data" or "no_data": more data promise a gain, or none beyond noise


class Next(TypedDict):
    """Samples worth a label, the most useful first; `source` says where they come from."""

    source: str  # "unlabelled", or "suspects": labels to look at again
    of: int  # candidates there were
    items: list[Item]


class Cost(TypedDict):
    """What the run took. Energy is an estimate: nothing was metered, and `assumption` says how it was made."""

    seconds: float
    stages: dict[str, float]  # "choice", "training", "report", "rest": seconds each; those that are known
    processor: str
    cores: int
    busy: float  # cores that were at work on average
    gpu: str | None
    watts: float  # assumed
    watt_hours: float
    assumption: str  # in English, one sentence


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
    cost: Cost
    notes: list[str]  # what could not be made, and why
