"""Hidden frames of a spectrogram to be guessed from the others, without labels: how trunks of sounds are pretrained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, final

import numpy as np
import torch
from torch import Tensor, nn

from graft.errors import DataError, UsageError
from graft.intervals import Array
from graft.masking_sound import HiddenFrames
from graft.tasks import _bootstrap, _checks, _metrics
from graft.types import Batch, Dataset, Features, Info, Json, Metric, Predictions, Task


def masked_spectrogram(classes: tuple[str, ...] = (), *, share: float = 0.15, span: int = 7) -> Task:
    """The task of guessing hidden frames; there are no labels, and `classes` mean nothing to it.

    share: of the frames of a sound that are hidden. span: frames that are hidden in a row. Raises UsageError for
    what is no share, or no number of frames.
    """
    return MaskedSpectrogram(tuple(classes), HiddenFrames(_checks.share("share", share), _checks.count("span", span)))


class Hidden(NamedTuple):
    """The K positions of a batch at which something is hidden: what the trunk makes of them (K, D), what it is (K, W)
    with nan where nothing is hidden, whose they are (K,)."""

    tokens: Tensor
    truth: Tensor
    row: Tensor


@final
@dataclass
class MaskedSpectrogram:
    """Made by `masked_spectrogram`. Predictions (N, 3) are of each sound: the sum of squared errors, the sum of squares
    of what was hidden (the errors of who knows nothing but the mean of the sound), hidden values.

    The view hides frames, in training each epoch others, in scoring always the same ones.
    """

    classes: tuple[str, ...]
    view: HiddenFrames = field(default_factory=HiddenFrames)
    kind: str = "none"
    metric: str = "explained"
    needs: str = "tokens"

    def targets(self, dataset: Dataset) -> Tensor:
        """(N,) zeros: what is to be guessed comes with the view."""
        return torch.zeros(len(dataset), dtype=torch.long)

    def head(self, info: Info) -> nn.Module:
        """(K, D) -> (K, W), the values of the frames at a position. Raises UsageError for a trunk without frames."""
        return nn.Sequential(nn.LayerNorm(info.dim), nn.Linear(info.dim, _width(info)))

    def loss(self, head: nn.Module, features: Features, batch: Batch) -> Tensor:
        """The mean squared error of the hidden values of a batch; 0 if there are none.

        Raises UsageError where nothing was hidden, as in a frozen prefix, which sees sounds as they are.
        """
        hidden = _hidden(features)
        known = ~hidden.truth.isnan()
        errors: Tensor = (head(hidden.tokens).float() - hidden.truth)[known]
        return errors.square().sum() / max(1, len(errors))

    def predict(self, head: nn.Module, features: Features) -> Predictions:
        """(B, 3) sums, float32. Raises UsageError as `loss` does."""
        hidden = _hidden(features)
        known = ~hidden.truth.isnan()
        truth = hidden.truth.nan_to_num(0.0)
        errors = (head(hidden.tokens).float() - truth).where(known, 0.0)
        sums = torch.stack([errors.square().sum(1), truth.square().sum(1), known.sum(1)], 1)
        found = sums.new_zeros((len(features.pooled), 3))
        return Predictions(found.index_add_(0, hidden.row, sums))

    def score(self, predictions: Predictions, targets: Tensor) -> dict[str, float]:
        """The share of the hidden values' variance around the mean of their sound that was guessed (1: all, 0: no more
        than by the mean, or less than 0), and the mean squared error; a higher share selects."""
        columns = _columns(predictions, targets)
        return _bootstrap.plain(_figures(columns), len(columns))

    def each(self, predictions: Predictions, targets: Tensor) -> Tensor:
        """(N,) what each sound adds to the share, the linearisation of a ratio of sums: their mean is the share.

        The standard error of their mean is the delta method's.
        """
        errors, squares, _ = _columns(predictions, targets).T
        return torch.from_numpy(_metrics.linear_f1((squares - errors) / 2, squares))  # 2 hits / total

    def measure(self, predictions: Predictions, targets: Tensor) -> dict[str, Metric]:
        """Figures with 95 % intervals: the bootstrap over sounds, as the values of one sound are not independent."""
        columns = _columns(predictions, targets)
        return _bootstrap.bootstrap(_figures(columns), self.score(predictions, targets), len(columns))

    def report(self, predictions: Predictions, targets: Tensor) -> Json:
        """The figures, and how many values were hidden."""
        columns = _columns(predictions, targets)
        return {
            "samples": len(columns),
            "hidden": int(columns[:, 2].sum()),
            "figures": self.score(predictions, targets),
        }

    def rows(self, predictions: Predictions, dataset: Dataset) -> list[Json]:
        """One row for each sample of the data set: the share of what was hidden that was guessed (0 where there was
        nothing), hidden values and their mean squared error."""
        made = []
        for errors, squares, count in predictions.values.double().tolist():
            label, loss = (float(_metrics.ratio(*pair)) for pair in ((squares - errors, squares), (errors, count)))
            made.append({"label": label, "hidden": int(count), "loss": loss})
        return made

    def baselines(self, train: Tensor, train_targets: Tensor, features: Tensor) -> dict[str, Predictions]:
        """None: pooled features know nothing of hidden frames, and the guess of the mean is what 0 stands for."""
        return {}


def _width(info: Info) -> int:
    """Values of a position: the mel bins of as many frames as the trunk stacks."""
    front = info.config.get("front") or {}
    if "mels" not in front:
        what = f"{info.source} shows no frames of a spectrogram, of which some could be hidden"
        raise UsageError(what, "choose a trunk that hears frames, or leave --backbone out")
    return int(front["mels"]) * int(front.get("stack", 1))


def _hidden(features: Features) -> Hidden:
    """Raises UsageError for sounds of which nothing was hidden: these have no truth."""
    assert features.tokens is not None, "this task needs tokens"
    if features.truth is None:
        what = "the first stages of the trunk stand still, and so hear sounds of which nothing is hidden"
        raise UsageError(what, "move all of it: --strategy full, or --strategy 'discriminative(head_epochs=0)'")
    at = ~features.truth.isnan().all(-1)
    at = at if features.mask is None else at & features.mask
    return Hidden(features.tokens[at], features.truth[at], at.nonzero()[:, 0])


def _columns(predictions: Predictions, targets: Tensor) -> Array:
    """(N, 3) of predictions that belong to their targets and hold something to count."""
    values = predictions.values
    _checks.belong(values.shape == (len(targets), 3), values, len(targets), "three sums")
    columns = _checks.array(values).astype(np.float64)
    if not columns[:, 2].any():
        raise DataError(f"none of {len(columns)} sounds is long enough to hide a part of it", "take longer ones")
    return columns


def _figures(columns: Array) -> _bootstrap.Figures:
    def figures(weights: Array) -> dict[str, Array]:
        errors, squares, count = (weights @ columns).T
        return {"explained": _metrics.ratio(squares - errors, squares), "loss": _metrics.ratio(errors, count)}

    return figures
