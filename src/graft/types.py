"""The nouns, with those of samples.py. Data walk one way: Sample -> Raw -> Inputs -> Features -> Predictions -> Metric.

Shapes: N samples of a set, B of a batch, C classes, D features, T positions (tokens), W words, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, final

import torch
from torch import Tensor, nn

from graft.errors import UsageError
from graft.recipe import Recipe as Recipe
from graft.samples import Answers as Answers
from graft.samples import Corpus as Corpus
from graft.samples import Dataset as Dataset
from graft.samples import Issue as Issue
from graft.samples import Json as Json
from graft.samples import Label as Label
from graft.samples import Raw as Raw
from graft.samples import Sample as Sample
from graft.samples import Sound as Sound
from graft.samples import Text as Text
from graft.samples import UnreadableSample as UnreadableSample
from graft.spec import Spec

# ------------------------------------------------------------------------------------------------------ backbones


class Inputs(NamedTuple):
    """What stages hand on: a tensor and, for sequences, which positions are real and where they come from.

    `places` (B, T, 2): the units of the sample [start, end) that a token stands for: characters of a text (of its
    pair, if it has one), or words where it comes in words; -1 for padding, special tokens and the other text of a pair;
    of a sound in windows, the frames of its wave.
    `truth` (B, T, ...): what a view has hidden of `x` and a task is to guess, nan where nothing is hidden.
    Where a task looks at V views of each picture, all of these have B * V rows, those of a sample together.
    """

    x: Tensor
    mask: Tensor | None = None
    places: Tensor | None = None
    truth: Tensor | None = None


class Features(NamedTuple):
    """One batch, seen by a head."""

    pooled: Tensor  # (B, D)
    tokens: Tensor | None = None  # (B, T, D)
    maps: tuple[Tensor, ...] = ()  # (B, C, H, W) each, fine to coarse
    mask: Tensor | None = None  # (B, T), True where real
    places: Tensor | None = None  # (B, T, 2), as in Inputs
    truth: Tensor | None = None  # (B, T, ...), as in Inputs


class Preprocess(Protocol):
    """The preprocessing that belongs to a set of weights, in two halves so that the first can be kept.

    `sample` is deterministic and compact (uint8 pixels): it runs once and may be cached. `batch` is what differs
    between training and prediction: it crops (or augments) and normalises.

    Where samples are `ragged`, such as texts and sounds, each has a length of its own, and a batch is a list of them.
    """

    @property
    def ragged(self) -> bool: ...
    def sample(self, raw: Raw) -> Tensor: ...
    def samples(self, raws: Sequence[Raw]) -> list[Tensor]:
        """What `sample` makes of each; a tokeniser is faster with many at a time."""
        ...

    def batch(self, samples: Any, augment: Any = None, seeds: Sequence[int] = ()) -> Inputs: ...
    def positions(self, sample: Tensor) -> int:
        """How many positions (tokens, frames, windows) a ragged sample takes in a batch of its own."""
        ...

    def json(self) -> Json:
        """All that is needed to build it again; part of every cache key."""
        ...


class Augment(Protocol):
    """Random views of pictures, each fixed by its seed, whatever else is in the batch."""

    def __call__(self, samples: Tensor, size: int, seeds: Sequence[int]) -> Inputs:
        """(B, 3, R, R) uint8 -> `x` (B * V, 3, size, size) uint8: the V views of a sample one after the other. `truth`,
        (B * V, ...), is what there is to be guessed of them."""
        ...


class SoundView(Protocol):
    """A random view of one sound, fixed by `seed`, made in two places: of its wave, and of its spectrogram."""

    def wave(self, wave: Tensor, rate: int, seed: int) -> Tensor:
        """(n,) float32 at `rate` Hz -> the same, perhaps of another length."""
        ...

    def spectrogram(self, mel: Tensor, seed: int, top: float = 8000.0) -> tuple[Tensor, Tensor | None]:
        """(T, F), bins evenly spaced in mel up to `top` Hz -> what the network sees of it, (T, F); and what was hidden
        to be guessed, nan elsewhere, or None."""
        ...


@dataclass(frozen=True)
class Info:
    """Where a backbone comes from. `source` rebuilds the architecture without its weights."""

    source: Spec
    modality: str
    dim: int
    licence: str = "unknown"
    sha256: str = ""  # of the weights as loaded; "" when they are random
    parameters: int = 0
    pretrained_on: str = ""
    notes: tuple[str, ...] = ()  # said to the user once
    lr: float = 1e-3  # the peak rate at which AdamW fine-tunes all of it: what strategies take unless told otherwise
    standardize: bool = True  # heads standardise its features; not those that are mostly 0, as rare ones would explode
    source_accuracy: float | None = None  # on what it was pretrained on, where that is known
    config: Json = field(default_factory=dict)  # what an offline rebuild needs beyond `source`


@final
class Backbone(nn.Module):
    """Inputs -> features, as an ordered list of stages. Built by a source function, never subclassed.

    Running `stages` in order is the whole forward pass; `readout` has no parameters and names the views of the last
    stage's output. The head that the checkpoint brought is in `heads`, cut off, and never runs by accident.
    """

    def __init__(
        self,
        info: Info,
        stages: Sequence[nn.Module],
        preprocess: Preprocess,
        readout: Callable[[Inputs], Features],
        heads: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.info, self.preprocess, self.readout = info, preprocess, readout
        self.stages = nn.ModuleList(stages)
        self.heads: Mapping[str, nn.Module] = dict(heads or {})  # a plain dict: not parameters of this module

    def prepare(self, raw: Iterable[Raw]) -> Inputs:
        samples = [self.preprocess.sample(r) for r in raw]
        return self.preprocess.batch(samples if self.preprocess.ragged else torch.stack(samples))

    def encode(self, inputs: Inputs, start: int = 0, stop: int | None = None) -> Inputs:
        """Run stages start..stop; a prefix that is frozen runs once and is kept."""
        for stage in list(self.stages)[start:stop]:
            inputs = self.encode_one(stage, inputs)
        return inputs

    @staticmethod
    def encode_one(stage: nn.Module, inputs: Inputs) -> Inputs:
        x, mask = inputs.x, inputs.mask
        return inputs._replace(x=stage(x) if mask is None else stage(x, mask))

    def forward(self, inputs: Inputs, start: int = 0) -> Features:
        encoded = self.encode(inputs, start)
        features = self.readout(encoded)
        return features if features.truth is not None else features._replace(truth=encoded.truth)

    def every_stage(self, inputs: Inputs) -> Tensor:
        """(B, D1 + D2 + ...): what the readout makes of each stage's output (Head2Toe, Evci et al. 2022, without its
        choice of features). Stages without weights, and those whose output has another form than the last, add nothing.
        """
        outputs = []
        for stage in self.stages:
            inputs = self.encode_one(stage, inputs)
            outputs.append((any(True for _ in stage.parameters()), inputs))
        last = outputs[-1][1]
        views = [out for has_weights, out in outputs[:-1] if has_weights and out.x.ndim == last.x.ndim]
        return torch.cat([self.readout(out).pooled for out in (*views, last)], 1)


# ---------------------------------------------------------------------------------------------- tasks and training


@dataclass(frozen=True)
class Predictions:
    """What a task says of N samples: for classes, `values` are probabilities (N, C).

    For the words of a text they are (N, W, C), with rows of zeros after the last word.
    """

    values: Tensor
    labels: tuple[str, ...] = ()  # the class names, in the order of the columns


class Batch(NamedTuple):
    """`targets` are what the task made of the labels: of classes (B,) indices, or (B, C) probabilities after MixUp.

    `rows` are positions in the data set.
    """

    inputs: Inputs
    targets: Targets
    rows: Tensor


Targets = Any  # a tensor (N, ...), or else something with len(), [rows] and .to(device)


class Metric(NamedTuple):
    """A figure with its 95 % interval; `method` says how the interval was made."""

    value: float
    low: float
    high: float
    method: str = ""


class Task(Protocol):
    """What the labels mean. Only the task knows how its head is called."""

    classes: tuple[str, ...]
    kind: str  # of the labels that it takes, as a data set names them
    metric: str  # the one that selects; higher is better
    needs: str  # the view its head takes: "pooled", "tokens" or "maps"; only "pooled" can be kept small
    view: Any  # a view that belongs to the task, in training and in scoring: hidden words; None: no such

    def targets(self, dataset: Dataset) -> Targets:
        """What `loss` and `score` compare with, for each sample of the data set."""
        ...

    def head(self, info: Info) -> nn.Module: ...
    def loss(self, head: nn.Module, features: Features, batch: Batch) -> Tensor: ...
    def predict(self, head: nn.Module, features: Features) -> Predictions: ...
    def score(self, predictions: Predictions, targets: Targets) -> dict[str, float]: ...
    def each(self, predictions: Predictions, targets: Targets) -> Tensor: ...
    def measure(self, predictions: Predictions, targets: Targets) -> dict[str, Metric]: ...
    def report(self, predictions: Predictions, targets: Targets) -> Json: ...
    def rows(self, predictions: Predictions, dataset: Dataset) -> list[Json]: ...
    def baselines(self, train: Tensor, train_targets: Targets, features: Tensor) -> dict[str, Predictions]: ...


@final
class Model(nn.Module):
    """A backbone with a task's head on it: what strategies move and runs save."""

    def __init__(self, backbone: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head


class Group(NamedTuple):
    """Parameters that move together; `lr` is the peak learning rate of the phase for them."""

    params: tuple[nn.Parameter, ...]
    lr: float


class Step(NamedTuple):
    """What a term may look at."""

    model: Model
    features: Features
    batch: Batch
    loss: Tensor


Term = Callable[[Step], Tensor]  # an nn.Module when it owns parameters (an adversary)


@dataclass(frozen=True)
class Phase:
    """A stretch of training: what moves and how fast. All else is frozen, in eval mode."""

    name: str
    groups: tuple[Group, ...]
    epochs: int
    schedule: str | None = None  # None: what the recipe says
    terms: tuple[Term, ...] = ()
    loss: Term | None = None  # in place of the task's loss
    pairs: bool = False  # a batch is followed by as many samples, each of the class of its counterpart
    select: bool = True  # keep the best epoch by the validation part; False: the last one
    solve: Callable[[Tensor, Tensor], None] | None = None  # fits the head to features (N, D), targets (N,) in one step

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise UsageError(f"epochs={self.epochs} is no number of epochs", "choose 0 or more")


@dataclass(frozen=True)
class Result:
    """What a phase came to. Strategies may decide by it; a resumed run gets the stored one again."""

    phase: str
    epochs: int
    best_epoch: int
    valid: Mapping[str, float]
    train_loss: float
    moved: int  # parameters that were allowed to move
    boundary: int  # stages before it ran once
    seconds: float = 0.0


class Probe(Protocol):
    """A classical head on frozen features: fitted once, kept as named arrays, and evaluated by torch alone."""

    def fit(self, features: Tensor, targets: Tensor, classes: int) -> dict[str, Tensor]:
        """(N, D) features and (N,) indices -> arrays. A class without samples gets practically no probability."""
        ...

    def logits(self, arrays: Mapping[str, Tensor], features: Tensor) -> Tensor:
        """(B, D) -> (B, C); their softmax are the probabilities."""
        ...


Flow = Generator[Phase, Result, None]  # result = yield phase
Strategy = Callable[..., Flow]  # def lp_ft(model, *, epochs=5, lr=1e-3) -> Flow
