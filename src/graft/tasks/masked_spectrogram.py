"""Hidden frames of a spectrogram to be guessed from the others, without labels: how trunks of sounds are pretrained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, final

from torch import Tensor, nn

from graft.errors import UsageError
from graft.masking_sound import HiddenFrames
from graft.tasks import _checks, _pretext_values
from graft.types import Batch, Features, Info, Predictions, Task


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
class MaskedSpectrogram(_pretext_values.Values):
    """Made by `masked_spectrogram`. Predictions (N, 3) are of each sound: the sum of squared errors, the sum of squares
    of what was hidden (the errors of who knows nothing but the mean of the sound), hidden values.

    The view hides frames, in training each epoch others, in scoring always the same ones.
    """

    nothing: ClassVar[tuple[str, str]] = ("none of {} sounds is long enough to hide a part of it", "take longer ones")
    classes: tuple[str, ...]
    view: HiddenFrames = field(default_factory=HiddenFrames)
    kind: str = "none"
    metric: str = "explained"
    needs: str = "tokens"

    def head(self, info: Info) -> nn.Module:
        """(K, D) -> (K, W), the values of the frames at a position. Raises UsageError for a trunk without frames."""
        return nn.Sequential(nn.LayerNorm(info.dim), nn.Linear(info.dim, _width(info)))

    def loss(self, head: nn.Module, features: Features, batch: Batch) -> Tensor:
        """The mean squared error of the hidden values of a batch; 0 if there are none.

        Raises UsageError where nothing was hidden, as in a frozen prefix, which sees sounds as they are.
        """
        hidden = _hidden(features)
        return _pretext_values.loss(head(hidden.tokens), hidden.truth)

    def predict(self, head: nn.Module, features: Features) -> Predictions:
        """(B, 3) sums, float32. Raises UsageError as `loss` does."""
        hidden = _hidden(features)
        sums = _pretext_values.predictions(head(hidden.tokens), hidden.truth).values
        found = sums.new_zeros((len(features.pooled), 3))
        return Predictions(found.index_add_(0, hidden.row, sums))


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
