"""Answers to questions: the part of a passage that says it, no answer at all, or yes and no (Devlin et al. 2019)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from graft.intervals import Array, wilson
from graft.tasks import _answers, _bootstrap, _checks, _metrics, _spans, _token_head
from graft.tasks._answers import NO, NOTHING, NULL, SPAN, YES, Gold, Match
from graft.types import Answers, Batch, Dataset, Features, Info, Json, Metric, Predictions, Task, Text

WORDS = {YES: "yes", NO: "no"}
LENGTHS = ((1, 1), (2, 2), (3, 5), (6, None))  # of answers in words, as the report groups them


def question_answering(
    classes: tuple[str, ...] = (),
    *,
    head: str = "linear",
    n_best: int = 5,
    max_answer: int = 30,
    yes_no: bool = False,
) -> Task:
    """The task of finding answers; there are no `classes`.

    head: "linear" or "linear(dropout=0.1)". n_best: how many answers a prediction holds. max_answer: most tokens of an
    answer. yes_no: whether "yes" and "no" are answers of their own. Raises UsageError for what cannot work.
    """
    with torch.device("meta"):
        _token_head.build(head, 1, 2)  # a wrong head is refused now, not after the features are computed
    n_best, max_answer = _checks.count("n_best", n_best), _checks.count("max_answer", max_answer)
    return QuestionAnswering(head, n_best, max_answer, bool(yes_no))


@final
@dataclass
class QuestionAnswering:
    """Made by `question_answering`. Predictions (N, n_best, 4) are answers, best first: characters [start, end) of the
    passage, log-probability, and what it is (0 span, 1 no answer, 2 yes, 3 no, -1 an empty place)."""

    head_spec: str
    n_best: int
    max_answer: int
    yes_no: bool
    classes: tuple[str, ...] = ()
    kind: str = "answers"
    metric: str = "f1"
    needs: str = "tokens"
    view: None = None

    def targets(self, dataset: Dataset) -> Gold:
        """Passages, good answers and their places."""
        answers = [s.label if isinstance(s.label, Answers) else None for s in dataset.samples]
        return _answers.gold([_context(dataset.load(s)) for s in dataset.samples], answers)

    def head(self, info: Info) -> nn.Module:
        return _spans.AnswerHead(self.head_spec, info.dim, self.yes_no)

    def loss(self, head: nn.Module, features: Features, batch: Batch) -> Tensor:
        """Cross-entropy of start plus that of end, over the passage and "no answer", for the first good answer.

        Where several windows show the answer, their probabilities are added. What cannot be found in the sequence is
        left out of the mean. With `yes_no`, the cross-entropy of span, yes and no is added.
        """
        assert isinstance(head, _spans.AnswerHead)
        made = _spans.logs(head, features)
        at_start, at_end = _spans.correct(batch.targets, features)
        there = at_start.any(1)
        pairs = ((made.starts, at_start), (made.ends, at_end))
        losses = sum((_spans.marginal(x[there], right[there]) for x, right in pairs), made.starts.new_zeros(()))
        loss = losses.sum() / there.sum().clamp(min=1)
        return loss if made.kinds is None else loss + _kind_loss(made.kinds, batch.targets.kinds())

    def predict(self, head: nn.Module, features: Features) -> Predictions:
        """(B, n_best, 4) answers, float32."""
        assert isinstance(head, _spans.AnswerHead)
        return Predictions(_spans.best(_spans.logs(head, features), features, self.n_best, self.max_answer))

    def score(self, predictions: Predictions, targets: Gold) -> dict[str, float]:
        """Exact match and F1 of words as the official script of SQuAD counts them; higher `f1` selects."""
        found, _ = self._labelled(predictions, targets)
        return {name: float(column.mean()) for name, column in _columns(found).items()}

    def each(self, predictions: Predictions, targets: Gold) -> Tensor:
        """(N,) F1 of each question; one without a known answer adds the mean."""
        found, kept = self._labelled(predictions, targets)
        return _metrics.over_all(_columns(found)["f1"], kept)

    def measure(self, predictions: Predictions, targets: Gold) -> dict[str, Metric]:
        """Figures with 95 % intervals: Wilson's for exact matches, the bootstrap over questions for F1."""
        found, _ = self._labelled(predictions, targets)
        columns, n = _columns(found), len(found)
        f1 = _bootstrap.bootstrap(lambda w: {"f1": w @ columns["f1"] / n}, {"f1": float(columns["f1"].mean())}, n)
        return {"exact": wilson(int(columns["exact"].sum()), n), **f1}

    def report(self, predictions: Predictions, targets: Gold) -> Json:
        """Exact match and F1 of questions with and without an answer, and by the length of the answer in words."""
        found, kept = self._labelled(predictions, targets)
        known = [answers for answers in targets.answers if answers is not None]
        lengths = np.array([_length(answers) for answers in known])
        groups = {_name(low, high): (lengths >= low) & (lengths <= (high or math.inf)) for low, high in LENGTHS}
        return {
            "samples": len(found),
            "answerable": _summary(found, lengths > 0),
            "unanswerable": _summary(found, lengths == 0),
            "by_length": {name: _summary(found, rows) for name, rows in groups.items()},
        }

    def rows(self, predictions: Predictions, dataset: Dataset) -> list[Json]:
        """One row for each sample of the data set: the best answer, its probability, and the others."""
        made = []
        for values, sample in zip(predictions.values.tolist(), dataset.samples, strict=True):
            context = _context(dataset.load(sample))
            answers = [_answer(value, context) for value in values if int(value[3]) != NOTHING]
            first = answers[0] if answers else {"text": "", "probability": 0.0}
            made.append({"label": first["text"], "probability": first["probability"], "answers": answers})
        return made

    def baselines(self, train: Tensor, train_targets: Gold, features: Tensor) -> dict[str, Predictions]:
        """`null`, where most training questions have no answer: to say so to each of features (M, ...)."""
        kinds = train_targets.kinds()
        known = int((kinds != NOTHING).sum())
        share = int((kinds == NULL).sum()) / max(1, known)
        if share <= 0.5:
            return {}
        values = torch.tensor([-1, -1, _spans.NEVER, NOTHING]).repeat(len(features), self.n_best, 1)
        values[:, 0] = torch.tensor([-1, -1, math.log(share), NULL])
        return {"null": Predictions(values)}

    def _labelled(self, predictions: Predictions, targets: Gold) -> tuple[list[Match], NDArray[np.bool_]]:
        """How well the M questions with known answers are answered, and which of the N these are."""
        values = predictions.values
        fits = values.ndim == 3 and len(values) == len(targets) and values.shape[2] == 4 and values.shape[1] > 0
        _checks.belong(fits, values, len(targets), "one answer")
        kept = np.array([answers is not None for answers in targets.answers], dtype=bool)
        _checks.some(kept)
        said = _checks.array(values)[:, 0].tolist()
        rows = zip(said, targets.contexts, targets.answers, strict=True)
        return [_answers.match(_text(v, context), good) for v, context, good in rows if good is not None], kept


def _context(text: Text) -> str:
    return text.text if text.pair is None else text.pair


def _text(value: list[float], context: str) -> str:
    start, end, _, kind = (int(v) for v in value)
    return context[start:end] if kind == SPAN else WORDS.get(kind, "")


def _answer(value: list[float], context: str) -> Json:
    start, end, score, _ = value
    return {"text": _text(value, context), "probability": min(1.0, math.exp(score)), "start": int(start),
            "end": int(end)}  # fmt: skip


def _kind_loss(kinds: Tensor, truth: Tensor) -> Tensor:
    """Log-probabilities of span, yes, no (B, 3): no answer is a matter of the span. The mean over what is known."""
    known = truth != NOTHING
    column = (truth - 1).clamp(min=0)  # SPAN and NULL, YES, NO
    picked = kinds.gather(1, column.unsqueeze(1)).squeeze(1)
    return -(picked * known).sum() / known.sum().clamp(min=1)


def _columns(found: list[Match]) -> dict[str, Array]:
    exact, f1 = np.array(found, dtype=np.float64).T
    return {"exact": exact, "f1": f1}


def _summary(found: list[Match], rows: NDArray[np.bool_]) -> Json:
    picked = [one for one, wanted in zip(found, rows, strict=True) if wanted]
    means = {name: float(column.mean()) for name, column in _columns(picked).items()} if picked else {}
    return {"samples": len(picked), **means}


def _length(answers: Answers) -> int:
    """Words of the first good answer, 0 where there is none."""
    return max(1, len(_answers.normalise(answers.texts[0]).split())) if answers.texts else 0


def _name(low: int, high: int | None) -> str:
    return f"{low} or more" if high is None else str(low) if low == high else f"{low} to {high}"
