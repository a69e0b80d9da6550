"""A tag for each word of a text, such as B-person: the entities that tags in IOB2 spell out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from graft.errors import DataError
from graft.intervals import Array, Counts
from graft.tasks import _bootstrap, _checks, _metrics, _token_head
from graft.tasks._entities import Entity, distinct, entities, type_of
from graft.types import Batch, Dataset, Features, Info, Json, Metric, Predictions, Sample, Task

NONE = -100  # the target of a word that has no tag: padding, or a sample without tags


def token_classification(classes: tuple[str, ...], *, head: str = "linear") -> Task:
    """The task over the tags `classes`, "O" first.

    head: "linear" or "linear(dropout=0.1)". Raises UsageError or DataError for what cannot work.
    """
    if len(classes) < 2 or classes[0] != "O" or len(set(classes)) < len(classes):
        raise DataError(f"the tags {', '.join(classes) or '(none)'} are not O and others, each once",
                        "tag words in IOB2: O, B-person, I-person")  # fmt: skip
    with torch.device("meta"):
        _token_head.build(head, 1, len(classes))  # a wrong head is refused now, not after the features are computed
    return TokenClassification(tuple(classes), head)


class Said(NamedTuple):
    """The words of one sample: (W,) indices of true and predicted tags, and -log of what the true ones got.

    `losses` is nan where the network did not see the word.
    """

    truth: NDArray[np.int64]
    guess: NDArray[np.int64]
    losses: Array


@final
@dataclass
class TokenClassification:
    """Made by `token_classification`. Predictions are probabilities (N, W, C), rows of zeros after the last word.

    A word is judged by its first token. One without a token (nothing of it is in the vocabulary, or the text was cut
    before it) is not trained on, and is an O.
    """

    classes: tuple[str, ...]
    head_spec: str
    kind: str = "tags"
    metric: str = "f1"
    needs: str = "tokens"
    view: None = None

    def targets(self, dataset: Dataset) -> Tensor:
        """(N, W) tag indices, W words of the longest text; -100 after the last word, and where tags are not known."""
        index = {tag: i for i, tag in enumerate(self.classes)}
        known = [_tags(sample, index) for sample in dataset.samples]
        made = torch.full((len(known), max((len(tags) for tags in known), default=0)), NONE)
        for row, tags in zip(made, known, strict=True):
            row[: len(tags)] = torch.tensor(tags, dtype=torch.long)
        return made

    def head(self, info: Info) -> nn.Module:
        return _token_head.build(self.head_spec, info.dim, len(self.classes))

    def loss(self, head: nn.Module, features: Features, batch: Batch) -> Tensor:
        """Cross-entropy, the mean over the words of a batch that have a tag and a token; 0 if there are none."""
        tokens, (row, at, word) = _tokens(features), first_tokens(features)
        kept = word < batch.targets.shape[1]
        row, at, word = row[kept], at[kept], word[kept]
        truth = batch.targets[row, word]
        logits: Tensor = head(tokens[row, at]).float()
        total = F.cross_entropy(logits, truth, ignore_index=NONE, reduction="sum")
        mean: Tensor = total / (truth >= 0).sum().clamp(min=1)
        return mean

    def predict(self, head: nn.Module, features: Features) -> Predictions:
        """(B, W, C) probabilities, float32, W words of the longest text as far as it was read."""
        tokens, (row, at, word) = _tokens(features), first_tokens(features)
        words = _words(features)
        width = int(words.max()) if len(words) else 0
        values = tokens.new_zeros((len(tokens), width, len(self.classes)), dtype=torch.float32)
        values[..., 0] = torch.arange(width, device=values.device) < words.unsqueeze(1)
        values[row, word] = head(tokens[row, at]).float().softmax(1)
        return Predictions(values, self.classes)

    def score(self, predictions: Predictions, targets: Tensor) -> dict[str, float]:
        """Figures without intervals; higher `f1`, that of entities as seqeval counts them, selects.

        `precision` and `recall` are of entities, `accuracy` and `loss` of words.
        """
        said, _ = self._labelled(predictions, targets)
        return _bootstrap.plain(self._figures(said), len(said))

    def each(self, predictions: Predictions, targets: Tensor) -> Tensor:
        """(N,) what each text adds to the metric. Their mean is F1, whose linearisation they are.

        The standard error of their mean is the delta method's. A text without tags adds the mean itself; where there
        are no entities at all, in truth or prediction, everything is 0.
        """
        said, kept = self._labelled(predictions, targets)
        hits, actual, predicted = self._entities(said)
        return _metrics.over_all(_metrics.linear_f1(hits, actual + predicted), kept)

    def measure(self, predictions: Predictions, targets: Tensor) -> dict[str, Metric]:
        """Figures with 95 % intervals: the bootstrap over texts, as the words of one text are not independent."""
        said, _ = self._labelled(predictions, targets)
        figures = self._figures(said)
        return _bootstrap.bootstrap(figures, _bootstrap.plain(figures, len(said)), len(said))

    def report(self, predictions: Predictions, targets: Tensor) -> Json:
        """Per type of entity, their averages, and numbers; `support` counts true entities."""
        said, _ = self._labelled(predictions, targets)
        types = sorted({name for tag in self.classes if (name := type_of(tag)) is not None})
        counts = Counts(*(np.zeros(len(types)) for _ in range(3)))
        for words in said:
            true, guessed = self._spans(words)
            for column, found in zip(counts, (true & guessed, true, guessed), strict=True):
                for entity in found:
                    column[types.index(entity.type)] += 1
        return {"samples": len(said), "words": sum(len(words.truth) for words in said), "classes": list(self.classes),
                "per_class": _metrics.rows(types, counts), **_metrics.averages(counts)}  # fmt: skip

    def rows(self, predictions: Predictions, dataset: Dataset) -> list[Json]:
        """One row for each sample of the data set: its entities, words [start, end), and the least probability of
        the tags that make them (1 where there are none)."""
        made = []
        for values, sample in zip(predictions.values, dataset.samples, strict=True):
            text = dataset.load(sample)
            words = text.words if text.words is not None else tuple(text.text.split())
            top = values[: len(words)].max(1)
            found = entities([self.classes[i] for i in top.indices.tolist()])
            sure = [top.values[entity.start : entity.end].min().item() for entity in found]
            made.append({"label": [_named(entity, words) for entity in found], "probability": min(sure, default=1.0)})
        return made

    def baselines(self, train: Tensor, train_targets: Tensor, features: Tensor) -> dict[str, Predictions]:
        """`majority`: no word is part of an entity, in each of the texts of features (M, ...)."""
        if not (train_targets >= 0).any():
            raise DataError("no training sample has tags", "tag the words of some of them")
        outside = torch.eye(len(self.classes))[0]
        return {"majority": Predictions(outside.expand(len(features), train_targets.shape[1], -1), self.classes)}

    def _labelled(self, predictions: Predictions, targets: Tensor) -> tuple[list[Said], NDArray[np.bool_]]:
        """The words of the M samples that have tags, and which of the N these are."""
        values, truth = predictions.values, targets.cpu().numpy()
        fits = values.ndim == 3 and len(values) == len(truth) and values.shape[2] == len(self.classes)
        _checks.belong(fits, values, len(truth), f"{len(self.classes)} tags")
        kept = np.asarray((truth >= 0).any(1))
        _checks.some(kept)
        pairs = zip(_checks.array(values)[kept], truth[kept], strict=True)
        return [_said(row, tags[tags >= 0]) for row, tags in pairs], kept

    def _spans(self, words: Said) -> tuple[frozenset[Entity], frozenset[Entity]]:
        true, guessed = (tuple(self.classes[i] for i in tags.tolist()) for tags in (words.truth, words.guess))
        return distinct(true), distinct(guessed)

    def _entities(self, said: list[Said]) -> tuple[Array, Array, Array]:
        """Of each text: entities that were found, that there are, that were said; (M,) each."""
        spans = [self._spans(words) for words in said]
        sizes = [(len(true & guessed), len(true), len(guessed)) for true, guessed in spans]
        hits, actual, predicted = np.array(sizes, dtype=np.float64).T
        return hits, actual, predicted

    def _figures(self, said: list[Said]) -> _bootstrap.Figures:
        hits, actual, predicted = self._entities(said)
        words = np.array([len(one.truth) for one in said])
        right = np.array([(one.truth == one.guess).sum() for one in said])
        losses = np.array([np.nansum(one.losses) for one in said])
        seen = np.array([(~np.isnan(one.losses)).sum() for one in said])

        def figures(weights: Array) -> dict[str, Array]:
            c = Counts(weights @ hits, weights @ actual, weights @ predicted)
            own = {name: figure(c) for name, figure in (("f1", _metrics.f1), *_metrics.FIGURES.items())}
            accuracy = _metrics.ratio(weights @ right, weights @ words)
            return own | {"accuracy": accuracy, "loss": _metrics.ratio(weights @ losses, weights @ seen)}

        return figures


def first_tokens(features: Features) -> tuple[Tensor, Tensor, Tensor]:
    """Of each word that has tokens, the first one: its row, its position and the word, (K,) each.

    Windows overlap, and then show a word again: its first occurrence counts.
    """
    start = _starts(features)
    before = F.pad(start.cummax(1).values[:, :-1], (1, 0), value=-1)
    row, at = (start > before).nonzero(as_tuple=True)
    return row, at, start[row, at]


def _words(features: Features) -> Tensor:
    """(B,) how many words of each text there are, up to the last that has a token."""
    return _starts(features).amax(1) + 1


def _starts(features: Features) -> Tensor:
    """(B, T) the word of each token, -1 where it has none."""
    assert features.places is not None, "words are found by their places"
    start = features.places[..., 0]
    return start if features.mask is None else start.masked_fill(~features.mask, -1)


def _tokens(features: Features) -> Tensor:
    assert features.tokens is not None, "this task needs tokens"
    return features.tokens


def _tags(sample: Sample, index: dict[str, int]) -> list[int]:
    """Indices of a sample's tags; none where they are not known, or one is none of ours."""
    tags = sample.label if isinstance(sample.label, tuple) else ()
    return [index[tag] for tag in tags] if set(tags) <= index.keys() else []


def _said(values: Array, truth: NDArray[np.int64]) -> Said:
    """Probabilities (V, C) and tags (W,); V may be more words (padding) or fewer (the text was cut)."""
    row = np.zeros((len(truth), values.shape[1]))
    row[: min(len(row), len(values))] = values[: len(row)]
    losses = np.where(row.any(1), _metrics.log_losses(row, truth), np.nan)
    return Said(truth, row.argmax(1), losses)


def _named(entity: Entity, words: Sequence[str]) -> Json:
    text = " ".join(words[entity.start : entity.end])
    return {"entity": entity.type, "text": text, "start": entity.start, "end": entity.end}
