"""The transcript of what is said in a sound, symbol by symbol: CTC (Graves et al. 2006), word errors by jiwer."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from graft.errors import DataError, UsageError
from graft.intervals import Array, wilson
from graft.tasks import _bootstrap, _checks, _ctc_decoder, _ctc_errors, _metrics, _token_head
from graft.tasks._ctc_beam import Ids
from graft.tasks._ctc_decoder import Decoder
from graft.tasks._ctc_memo import Last
from graft.tasks._ctc_targets import Transcripts, losses, losses_of, spelled, transcripts
from graft.transcripts import decode, encode
from graft.types import Batch, Dataset, Features, Info, Json, Metric, Predictions, Task

ALIGNED = 2_000_000  # frames times symbols of which all alignments are summed: about 30 MB


def ctc(
    classes: tuple[str, ...],
    *,
    head: str = "linear",
    pieces: int | None = None,
    case: str = "keep",
    beam: int = 0,
    lm: str = "none",
    order: int = 2,
    lm_weight: float = 0.5,
    word_bonus: float = 0.0,
    dictionary: str | tuple[str, ...] | None = None,
    texts: tuple[str, ...] | None = None,
) -> Task:
    """The task over the symbols `classes`, as `graft.transcripts.symbols` makes them with `pieces` and `case`.

    head: "linear" or "linear(dropout=0.1)". case: "lower" or "upper" writes all transcripts so. beam: 0 takes the best
    path; else how many texts a prefix beam search keeps, with n-grams of `order` of "words" or "characters" (lm), whose
    logarithm counts lm_weight, word_bonus for each word, and a dictionary outside of which no word is heard: words, or
    "train" for all of the training transcripts. texts: these, for `lm` and `dictionary`. Raises UsageError, DataError
    or MissingExtra for what cannot work.
    """
    _check(classes, pieces)
    with torch.device("meta"):
        _token_head.build(head, 1, len(classes) + 1)  # a wrong head is refused now, not after the features are computed
    decoder = Decoder(tuple(classes), case, beam, lm, order, lm_weight, word_bonus, dictionary, texts)
    _ctc_decoder.check(decoder)
    _ctc_errors.require()
    return Ctc(tuple(classes), head, decoder)


class Said(NamedTuple):
    """Of the M sounds that have a transcript: the loss, nan for those too short for it, and what is recognised wrongly;
    and which of the N sounds these are."""

    losses: Array
    errors: _ctc_errors.Errors
    kept: NDArray[np.bool_]


@final
@dataclass
class Ctc:
    """Made by `ctc`. Predictions are probabilities (N, T, C + 1), the blank last, rows of zeros after the last frame.

    A transcript is not learned from where its sound has too few frames for it, which `transcripts.too_short` lists. A
    character that is no symbol is not learned, and counts as an error where it is recognised as another or not at all.
    """

    classes: tuple[str, ...]
    head_spec: str
    decoder: Decoder
    kind: str = "transcript"
    metric: str = "word_accuracy"
    needs: str = "tokens"
    view: None = None
    _ids: Last[list[Ids]] = field(default_factory=Last, init=False, repr=False, compare=False)
    _said: Last[Said] = field(default_factory=Last, init=False, repr=False, compare=False)

    def targets(self, dataset: Dataset) -> Transcripts:
        """Transcripts as texts and as symbols; one that is blank is as good as none."""
        texts = [sample.label if isinstance(sample.label, str) else None for sample in dataset.samples]
        return transcripts(texts, self.classes, self.decoder.case)

    def head(self, info: Info) -> nn.Module:
        return _token_head.build(self.head_spec, info.dim, len(self.classes) + 1)

    def loss(self, head: nn.Module, features: Features, batch: Batch) -> Tensor:
        """PyTorch's CTC loss: the mean, over transcripts, of -log of all alignments' probability per symbol.

        Only transcripts that fit their sounds count; 0 if there are none. Raises UsageError for a trunk without frames.
        """
        tokens, frames = _frames(features)
        logits: Tensor = head(tokens).float()
        found, _ = losses(logits.log_softmax(2), frames, batch.targets)
        return found.mean() if len(found) else logits.sum() * 0

    def predict(self, head: nn.Module, features: Features) -> Predictions:
        """(B, T, C + 1) probabilities, float32."""
        tokens, frames = _frames(features)
        real = torch.arange(tokens.shape[1], device=tokens.device) < frames.unsqueeze(1)
        return Predictions(head(tokens).float().softmax(2) * real.unsqueeze(2), self.classes)

    def score(self, predictions: Predictions, targets: Transcripts) -> dict[str, float]:
        """Figures without intervals; higher `word_accuracy`, 1 - WER, selects, and is negative for more errors than
        words. `cer` is of characters, blanks among them; `exact` of whole transcripts; `loss` is that of training."""
        said = self._labelled(predictions, targets)
        figures = _bootstrap.plain(_figures(said), len(said.losses))
        return figures | {"exact": float(said.errors.exact.mean())}

    def each(self, predictions: Predictions, targets: Transcripts) -> Tensor:
        """(N,) what each sound adds to word accuracy, a ratio of sums, whose linearisation these are.

        The standard error of their mean is the delta method's. A sound without a transcript adds the mean itself.
        """
        said = self._labelled(predictions, targets)
        return _metrics.over_all(_ctc_errors.linear(said.errors.words, said.errors.of_words), said.kept)

    def measure(self, predictions: Predictions, targets: Transcripts) -> dict[str, Metric]:
        """Figures with 95 % intervals: Wilson's for whole transcripts, the bootstrap over sounds for the others, as the
        words of one sound are not independent."""
        said = self._labelled(predictions, targets)
        figures, n = _figures(said), len(said.losses)
        made = _bootstrap.bootstrap(figures, _bootstrap.plain(figures, n), n)
        return made | {"exact": wilson(int(said.errors.exact.sum()), n)}

    def report(self, predictions: Predictions, targets: Transcripts) -> Json:
        """Errors by kind, the words that are confused most ("" is none), and sounds too short for their transcripts."""
        said = self._labelled(predictions, targets)
        return {
            "samples": len(said.losses),
            "words": int(said.errors.of_words.sum()),
            "characters": int(said.errors.of_characters.sum()),
            "too_short": int(np.isnan(said.losses).sum()),
            **said.errors.table,
        }

    def rows(self, predictions: Predictions, dataset: Dataset) -> list[Json]:
        """One row for each sample of the data set: what is recognised, and how probable it is by all its alignments (of
        a long one by the best path): the geometric mean over its symbols."""
        found = self._decoded(predictions)
        texts = [decode(ids, self.classes) for ids in found]
        sure = [_loss(one, text, ids) for one, text, ids in zip(predictions.values, texts, found, strict=True)]
        pairs = zip(texts, sure, strict=True)
        return [{"label": text, "probability": 0.0 if math.isnan(loss) else math.exp(-loss)} for text, loss in pairs]

    def baselines(self, train: Tensor, train_targets: Transcripts, features: Tensor) -> dict[str, Predictions]:
        """`majority`: the most frequent training transcript, of each of features (M, ...), in frames enough for all."""
        texts = Counter(text for text in train_targets.texts if text is not None)
        if not texts:
            raise DataError("no training sample has a transcript", "transcribe some of them")
        ids = encode(texts.most_common(1)[0][0], self.classes, self.decoder.case).ids
        path = _path(ids, max(1, int(train_targets.least.max())), len(self.classes))
        one_hot = torch.eye(len(self.classes) + 1)[torch.tensor(path)]
        return {"majority": Predictions(one_hot.expand(len(features), -1, -1), self.classes)}

    def _decoded(self, predictions: Predictions) -> list[Ids]:
        """The symbols of all N sounds, once for all that is asked about them."""
        return self._ids(lambda: self.decoder(predictions.values.float().cpu()), predictions.values)

    def _labelled(self, predictions: Predictions, targets: Transcripts) -> Said:
        """What is said of the M samples that have a transcript."""
        values, width = predictions.values, len(self.classes) + 1
        fits = values.ndim == 3 and len(values) == len(targets) and values.shape[2] == width
        _checks.belong(fits, values, len(targets), f"{len(self.classes)} symbols")
        _checks.array(values)
        _checks.some(targets.known().cpu().numpy())
        return self._said(lambda: self._compared(predictions, targets), values, targets)

    def _compared(self, predictions: Predictions, targets: Transcripts) -> Said:
        kept = targets.known().cpu()
        rows = kept.nonzero().flatten().tolist()
        found, values = self._decoded(predictions), predictions.values.float().cpu()[kept]
        truth = [text for text in targets.texts if text is not None]
        errors = _ctc_errors.errors(truth, [decode(found[i], self.classes) for i in rows])
        return Said(losses_of(values, targets[kept]), errors, kept.numpy())


def _loss(values: Tensor, text: str, ids: Ids) -> float:
    """Of one sound's probabilities (T, C + 1). All alignments of an hour would not fit into memory."""
    one = values.float().cpu()
    if one.shape[0] * max(1, len(ids)) <= ALIGNED:
        return float(losses_of(one.unsqueeze(0), spelled([text], [ids]))[0])
    best = one.amax(1)
    return float(-best[best > 0].log().sum() / max(1, len(ids)))


def _frames(features: Features) -> tuple[Tensor, Tensor]:
    """(B, T, D), and how many frames of each sound are real (B,)."""
    tokens, mask = features.tokens, features.mask
    if tokens is None:
        raise UsageError("this trunk has one vector for a whole sound, and a transcript needs its frames",
                         "choose a trunk with frames: graft list backbone")  # fmt: skip
    return tokens, torch.full((len(tokens),), tokens.shape[1], device=tokens.device) if mask is None else mask.sum(1)


def _figures(said: Said) -> _bootstrap.Figures:
    errors, seen = said.errors, ~np.isnan(said.losses)
    total = np.nan_to_num(said.losses)

    def figures(weights: Array) -> dict[str, Array]:
        wrong, words = weights @ errors.words, weights @ errors.of_words
        cer = _metrics.ratio(weights @ errors.characters, weights @ errors.of_characters)
        loss = {"loss": _metrics.ratio(weights @ total, weights @ seen)} if seen.any() else {}
        return {
            "word_accuracy": 1 - _metrics.ratio(wrong, words),
            "wer": _metrics.ratio(wrong, words),
            "cer": cer,
        } | loss

    return figures


def _path(ids: Ids, frames: int, blank: int) -> list[int]:
    """A frame for each symbol, blanks between those that are the same, and after the last."""
    path: list[int] = []
    for symbol in ids:
        path += [blank, symbol] if path[-1:] == [symbol] else [symbol]
    return path + [blank] * (frames - len(path))


def _check(classes: tuple[str, ...], pieces: int | None) -> None:
    if not classes or len(set(classes)) < len(classes) or "" in classes:
        what = f"{len(classes)} symbols, {len(set(classes) - {''})} of them different: no vocabulary of its own"
        raise DataError(what, "give samples with transcripts")
    if pieces is not None:
        _checks.count("pieces", pieces)
