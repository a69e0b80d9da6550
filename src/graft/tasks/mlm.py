"""Hidden words to be guessed from the others, without labels: how encoders are pretrained (Devlin et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graft.errors import DataError, UsageError
from graft.intervals import Array
from graft.masking import Masked
from graft.nn.tied import HiddenWords
from graft.tasks import _bootstrap, _checks, _metrics
from graft.types import Batch, Dataset, Features, Info, Json, Metric, Predictions, Task

AT_ONCE = 2048  # hidden tokens whose logits over the vocabulary are held together in prediction: about 250 MB


def mlm(classes: tuple[str, ...] = (), *, share: float = 0.15) -> Task:
    """The task of guessing hidden words; there are no labels, and `classes` mean nothing to it.

    share: of the words of a text that are hidden. Raises UsageError for what is no share.
    """
    return MaskedLanguage(tuple(classes), Masked(_checks.share("share", share)))


class Hidden(NamedTuple):
    """The K hidden tokens of a batch: what the trunk makes of them (K, D), what they are (K,), whose they are (K,)."""

    tokens: Tensor
    truth: Tensor
    row: Tensor


@final
@dataclass
class MaskedLanguage:
    """Made by `mlm`. Predictions (N, 3) are of each text: the sum of its losses, right guesses, hidden tokens.

    The view hides words, in training each epoch others, in scoring always the same ones; the ids that it has hidden are
    in `features.places` (`masking.Masked`).
    """

    classes: tuple[str, ...]
    view: Masked = field(default_factory=Masked)
    kind: str = "none"
    metric: str = "accuracy"
    needs: str = "tokens"

    def targets(self, dataset: Dataset) -> Tensor:
        """(N,) zeros: what is to be guessed comes with the view."""
        return torch.zeros(len(dataset), dtype=torch.long)

    def head(self, info: Info) -> nn.Module:
        return HiddenWords(info.dim)

    def loss(self, head: nn.Module, features: Features, batch: Batch) -> Tensor:
        """Cross-entropy over the vocabulary, the mean of the hidden tokens of a batch; 0 if there are none.

        Raises UsageError where no word was hidden, as in a frozen prefix, which sees texts as they are.
        """
        hidden = _hidden(features)
        total = F.cross_entropy(head(hidden.tokens).float(), hidden.truth, reduction="sum")
        return total / max(1, len(hidden.truth))

    def predict(self, head: nn.Module, features: Features) -> Predictions:
        """(B, 3) sums of losses, right guesses and hidden tokens, float32. Raises UsageError as `loss` does."""
        hidden = _hidden(features)
        found = hidden.tokens.new_zeros((len(features.pooled), 3), dtype=torch.float32)
        for part in torch.arange(len(hidden.truth), device=found.device).split(AT_ONCE):
            logits, truth = head(hidden.tokens[part]).float(), hidden.truth[part]
            losses, right = F.cross_entropy(logits, truth, reduction="none"), logits.argmax(1) == truth
            found.index_add_(0, hidden.row[part], torch.stack([losses, right, torch.ones_like(losses)], 1))
        return Predictions(found)

    def score(self, predictions: Predictions, targets: Tensor) -> dict[str, float]:
        """Accuracy and mean loss of hidden tokens, and e to that loss, the perplexity; higher accuracy selects."""
        columns = _columns(predictions, targets)
        return _bootstrap.plain(_figures(columns), len(columns))

    def each(self, predictions: Predictions, targets: Tensor) -> Tensor:
        """(N,) what each text adds to the accuracy, the linearisation of a ratio of sums: their mean is the accuracy.

        The standard error of their mean is the delta method's.
        """
        _, right, count = _columns(predictions, targets).T
        return torch.from_numpy(_metrics.linear_f1(right, 2 * count))  # 2 hits / total, with each token counted twice

    def measure(self, predictions: Predictions, targets: Tensor) -> dict[str, Metric]:
        """Figures with 95 % intervals: the bootstrap over texts, as the tokens of one text are not independent."""
        columns = _columns(predictions, targets)
        return _bootstrap.bootstrap(_figures(columns), self.score(predictions, targets), len(columns))

    def report(self, predictions: Predictions, targets: Tensor) -> Json:
        """The figures, and how many tokens were hidden and guessed."""
        columns = _columns(predictions, targets)
        right, hidden = (int(total) for total in columns[:, 1:].sum(0))
        return {"samples": len(columns), "hidden": hidden, "right": right, "figures": self.score(predictions, targets)}

    def rows(self, predictions: Predictions, dataset: Dataset) -> list[Json]:
        """One row for each sample of the data set: how many hidden tokens were guessed, and how probable they were, the
        geometric mean (0 where there were none)."""
        made = []
        for loss, right, count in predictions.values.double().tolist():
            mean = float(np.exp(-loss / count)) if count else 0.0
            label = f"{right:.0f} of {count:.0f}"
            made.append({"label": label, "probability": mean, "right": int(right), "hidden": int(count), "loss": loss})
        return made

    def baselines(self, train: Tensor, train_targets: Tensor, features: Tensor) -> dict[str, Predictions]:
        """None: pooled features know nothing of hidden words."""
        return {}


def _hidden(features: Features) -> Hidden:
    """Raises UsageError for texts of which nothing was hidden: these have places with an end."""
    assert features.tokens is not None and features.places is not None, "this task needs tokens and their places"
    truth = features.places[..., 0]
    if bool((features.places[..., 1] >= 0).any()):
        what = "the first stages of the trunk stand still, and so see texts in which no word is hidden"
        raise UsageError(what, "move all of it: --strategy full, or --strategy 'discriminative(head_epochs=0)'")
    at = truth >= 0 if features.mask is None else (truth >= 0) & features.mask
    return Hidden(features.tokens[at], truth[at], at.nonzero()[:, 0])


def _columns(predictions: Predictions, targets: Tensor) -> Array:
    """(N, 3) of predictions that belong to their targets and hold something to count."""
    values = predictions.values
    _checks.belong(values.shape == (len(targets), 3), values, len(targets), "three sums")
    columns = _checks.array(values).astype(np.float64)
    if not columns[:, 2].any():
        what = f"none of {len(columns)} texts has a word that the vocabulary knows"
        raise DataError(what, "choose a trunk of their language: --backbone bert makes a vocabulary of its own")
    return columns


def _figures(columns: Array) -> _bootstrap.Figures:
    def figures(weights: Array) -> dict[str, Array]:
        losses, right, count = (weights @ columns).T
        loss = _metrics.ratio(losses, count)
        return {"accuracy": _metrics.ratio(right, count), "loss": loss, "perplexity": np.exp(loss)}

    return figures
