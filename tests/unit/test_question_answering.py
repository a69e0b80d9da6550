"""Answers against the official script of SQuAD, written down here once more, and against search by brute force."""

from __future__ import annotations

import collections
import json
import math
import re
import string

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from graft.errors import DataError, ResourceError, UsageError
from graft.spec import Spec
from graft.tasks import _answers, _spans
from graft.tasks.question_answering import question_answering
from graft.types import Answers, Batch, Dataset, Features, Info, Inputs, Predictions, Sample, Text

torch.set_num_threads(1)
CONTEXT = "The Eiffel Tower, in Paris, was finished in 1889; it is 330 m high."
EMPTY = [-1.0, -1.0, _spans.NEVER, -1.0]
INFO = Info(source=Spec("toy"), modality="text", dim=2)


# ---------------------------------------------------------------- the official script, evaluate-v2.0.py, as it stands


def normalize_answer(s: str) -> str:
    def remove_articles(text: str) -> str:
        regex = re.compile(r"\b(a|an|the)\b", re.UNICODE)
        return re.sub(regex, " ", text)

    def white_space_fix(text: str) -> str:
        return " ".join(text.split())

    def remove_punc(text: str) -> str:
        exclude = set(string.punctuation)
        return "".join(ch for ch in text if ch not in exclude)

    return white_space_fix(remove_articles(remove_punc(s.lower())))


def get_tokens(s: str) -> list[str]:
    return normalize_answer(s).split() if s else []


def compute_exact(a_gold: str, a_pred: str) -> int:
    return int(normalize_answer(a_gold) == normalize_answer(a_pred))


def compute_f1(a_gold: str, a_pred: str) -> float:
    gold_toks, pred_toks = get_tokens(a_gold), get_tokens(a_pred)
    num_same = sum((collections.Counter(gold_toks) & collections.Counter(pred_toks)).values())
    if len(gold_toks) == 0 or len(pred_toks) == 0:
        return int(gold_toks == pred_toks)
    if num_same == 0:
        return 0
    precision, recall = 1.0 * num_same / len(pred_toks), 1.0 * num_same / len(gold_toks)
    return (2 * precision * recall) / (precision + recall)


def official(said: str, texts: tuple[str, ...]) -> tuple[float, float]:
    golds = [text for text in texts if normalize_answer(text)] or [""]
    return max(compute_exact(a, said) for a in golds), max(compute_f1(a, said) for a in golds)


@pytest.mark.parametrize("text", ["The cat", "a  U.S.A.-made  thing", "an", "Theatre, the Anna!", "«Élan» the\u00a0end",
                                  "", "the-the", "A.B. and a", "don't"])  # fmt: skip
def test_answers_are_normalised_as_officially(text: str) -> None:
    assert _answers.normalise(text) == normalize_answer(text)


@pytest.mark.parametrize(
    ("said", "texts"),
    [("the Eiffel Tower", ("Eiffel Tower", "tower")), ("Eiffel", ("the Eiffel Tower",)), ("", ()), ("Paris", ()),
     ("", ("Paris",)), ("in the city of Paris", ("Paris", "city Paris")), ("the", ("Paris", "the")),
     ("no no no", ("no",)), ("x", ("the",)), ("the", ("a",)), ("1889!", ("1889",)), ("rome", ("Paris", "Oslo"))],
)  # fmt: skip
def test_figures_are_the_official_ones(said: str, texts: tuple[str, ...]) -> None:
    made = _answers.match(said, Answers(texts, (0,) * len(texts)))
    assert made == pytest.approx(official(said, texts))


# --------------------------------------------------------------------------------------------- figures of a data set


def _dataset(answers: list[Answers | None], context: str = CONTEXT) -> Dataset:
    samples = tuple(Sample(str(i), i, one) for i, one in enumerate(answers))
    return Dataset("some", "text", samples, (), lambda s: Text("what?", context), lambda s: b"", kind="answers")


def _at(*texts: str) -> Answers:
    return Answers(texts, tuple(CONTEXT.index(text) for text in texts))


def _say(*texts: str) -> Tensor:
    spans = [(CONTEXT.index(text), CONTEXT.index(text) + len(text)) for text in texts]
    return torch.tensor([[[*span, -0.5, 0] if text else [-1, -1, -0.5, 1], EMPTY]
                         for text, span in zip(texts, spans, strict=True)])  # fmt: skip


TRUTH = [_at("Paris", "in Paris"), _at("The Eiffel Tower"), Answers((), ()), _at("1889"), Answers((), ()), None]
SAID = ("in Paris", "Eiffel", "", "330 m", "330 m", "Paris")


def test_scores_each_measure_and_report() -> None:
    task, dataset, predictions = question_answering(), _dataset(TRUTH), Predictions(_say(*SAID))
    gold = task.targets(dataset)
    expected = np.array([official(s, one.texts) for s, one in zip(SAID, TRUTH, strict=True) if one is not None])
    assert list(task.score(predictions, gold).values()) == pytest.approx(expected.mean(0))
    assert task.each(predictions, gold).tolist() == pytest.approx([*expected[:, 1], expected[:, 1].mean()])
    measures, report = task.measure(predictions, gold), task.report(predictions, gold)
    assert (measures["exact"].method, measures["f1"].method) == ("wilson", "bootstrap")
    assert measures["f1"].value == pytest.approx(expected[:, 1].mean())
    assert report["answerable"] == {"samples": 3, "exact": pytest.approx(1 / 3), "f1": pytest.approx(5 / 9)}
    assert report["unanswerable"] == {"samples": 2, "exact": 0.5, "f1": 0.5}
    assert {name: row["samples"] for name, row in report["by_length"].items()} == {
        "1": 2, "2": 1, "3 to 5": 0, "6 or more": 0}  # fmt: skip
    json.dumps(report, allow_nan=False)


def test_yes_and_no_are_words() -> None:
    task, yes = question_answering(yes_no=True), Answers(("yes",), (-1,))
    gold = task.targets(_dataset([yes, yes]))
    said = Predictions(torch.tensor([[[-1.0, -1, -0.1, 2]], [[-1.0, -1, -0.1, 3]]]))
    assert task.each(said, gold).tolist() == [1, 0] and gold.kinds().tolist() == [2, 2]
    assert [row["label"] for row in task.rows(said, _dataset([yes, yes]))] == ["yes", "no"]


def test_gold_has_places_and_can_be_picked() -> None:
    gold = question_answering().targets(_dataset(TRUTH))
    start = CONTEXT.index("Paris")
    assert gold.spans.shape == (6, 2, 2) and gold.spans[0].tolist() == [[start, start + 5], [start - 3, start + 5]]
    assert (gold.spans[[2, 4, 5]] == -1).all() and gold.kinds().tolist() == [0, 0, 1, 0, 1, -1]
    few = gold[torch.tensor([3, 0])]
    assert few.answers == (TRUTH[3], TRUTH[0]) and len(few) == 2 and torch.equal(few.spans[1], gold.spans[0])
    assert gold[gold.kinds() == 1].answers == (TRUTH[2], TRUTH[4]) and few.to("cpu").contexts == few.contexts


def test_rows_have_the_best_answer_and_the_others() -> None:
    values = _say("Paris")
    values[0, 1] = torch.tensor([-1, -1, -2.0, 1])
    row = question_answering().rows(Predictions(values), _dataset([None]))[0]
    assert row["label"] == "Paris" and row["probability"] == pytest.approx(math.exp(-0.5))
    assert [one["text"] for one in row["answers"]] == ["Paris", ""] and row["answers"][1]["start"] == -1
    assert len(question_answering().rows(Predictions(_say("Paris")), _dataset([None]))[0]["answers"]) == 1


def test_to_say_nothing_is_a_baseline_where_most_questions_have_no_answer() -> None:
    task, none = question_answering(), Answers((), ())
    features = torch.zeros(3, 2)
    assert task.baselines(features, task.targets(_dataset([none, _at("Paris"), None])), features) == {}
    made = task.baselines(features, task.targets(_dataset([none, none, _at("Paris")])), features)["null"]
    assert task.each(made, task.targets(_dataset([none, _at("Paris"), none]))).tolist() == [1, 0, 1]
    assert made.values.shape == (3, 5, 4) and made.values[0, 0, 2] == pytest.approx(math.log(2 / 3))


# -------------------------------------------------------------------------------------------- tokens: loss and search


class Fixed(nn.Module):
    """A head that says given logits (B, T, 2), whatever the tokens."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.logits


def _head(logits: Tensor, kinds: Tensor | None = None) -> _spans.AnswerHead:
    head = _spans.AnswerHead("linear", 2, kinds is not None)
    head.span = Fixed(logits)  # type: ignore[assignment]
    head.kind = None if kinds is None else Fixed(kinds)  # type: ignore[assignment]
    return head


def _features(*places: list[tuple[int, int] | None]) -> Features:
    where = torch.tensor([[one or (-1, -1) for one in row] for row in places])
    size = where.shape[:2]
    return Features(torch.zeros(size[0], 2), torch.zeros(*size, 2), (), torch.ones(size, dtype=torch.bool), where)


def _gold(*answers: Answers | None, context: str = "aa bb cc dd ee ff") -> _answers.Gold:
    return _answers.gold([context] * len(answers), answers)


def _loss(task, head: nn.Module, features: Features, gold: _answers.Gold) -> Tensor:  # type: ignore[no-untyped-def]
    return task.loss(head, features, Batch(Inputs(torch.empty(0)), gold, torch.arange(len(gold))))  # type: ignore[no-any-return]


# [CLS] question [SEP] aa bb cc [SEP] | [CLS] question [SEP] bb cc dd [SEP] | padding
TWO = [None, None, None, (0, 2), (3, 5), (6, 8), None, None, None, None, (3, 5), (6, 8), (9, 11), None, None]
PASSAGE = [3, 4, 5, 10, 11, 12]


def test_the_loss_is_the_marginal_likelihood_of_all_copies() -> None:
    features, logits = _features(TWO, TWO, TWO, TWO, TWO), torch.randn(5, 15, 2)
    answers = (Answers(("bb cc", "aa"), (3, 0)), Answers((), ()), Answers(("dd",), (9,)), None, Answers(("ee",), (12,)))
    loss = _loss(question_answering(), _head(logits), features, _gold(*answers))
    p = logits[:, [0, *PASSAGE]].softmax(1)  # at 0 the null, at 1 + k the passage's k-th token
    expected = [-(p[0, [2, 4], 0].sum().log() + p[0, [3, 5], 1].sum().log()),
                -(p[1, 0, 0].log() + p[1, 0, 1].log()), -(p[2, 6, 0].log() + p[2, 6, 1].log())]  # fmt: skip
    assert torch.allclose(loss, torch.stack(expected).mean())  # what is not known or was cut off is left out


@pytest.mark.parametrize(
    ("answer", "start", "end"), [("b", [4, 10], [4, 10]), ("a b", [3], [4, 10]), (" cc", [5, 11], [5, 11])]
)
def test_an_answer_inside_tokens_is_at_the_tokens_that_it_touches(
    answer: str, start: list[int], end: list[int]
) -> None:
    text = "aa bb cc dd ee ff"
    gold = _gold(Answers((answer,), (text.index(answer),)))
    at_start, at_end = _spans.correct(gold, _features(TWO))
    assert at_start[0].nonzero().flatten().tolist() == start and at_end[0].nonzero().flatten().tolist() == end


def test_an_answer_of_which_the_end_was_cut_off_is_left_out() -> None:
    at_start, at_end = _spans.correct(_gold(Answers(("dd ee",), (9,))), _features(TWO))
    assert not at_start.any() and not at_end.any()


def test_nothing_to_learn_from_moves_nothing() -> None:
    head = question_answering(yes_no=True).head(INFO)
    features = _features(TWO, TWO)
    loss = _loss(question_answering(yes_no=True), head, features, _gold(None, None))
    loss.backward()
    assert loss == 0 and all(p.grad is None or not p.grad.any() for p in head.parameters())
    assert not any(p.grad is not None and p.grad.isnan().any() for p in head.parameters())


def test_gradients_are_finite_although_positions_are_shut_out() -> None:
    head = _head(torch.randn(2, 15, 2))
    _loss(question_answering(), head, _features(TWO, TWO), _gold(Answers(("bb",), (3,)), Answers((), ()))).backward()
    grad = head.span.logits.grad  # type: ignore[union-attr]
    assert grad.isfinite().all() and grad[:, [0, *PASSAGE]].all() and not grad[:, [1, 2, 6, 7, 8, 9, 13, 14]].any()


def test_the_best_answers_are_those_of_brute_force() -> None:
    """All pairs of tokens of the passage, of equal characters the better one, and no answer."""
    task = question_answering(n_best=6, max_answer=2)
    for seed in range(20):
        logits = 2 * torch.randn(1, 15, 2, generator=torch.Generator().manual_seed(seed))
        p = torch.full((15, 2), -math.inf)
        p[[0, *PASSAGE]] = logits[0, [0, *PASSAGE]].log_softmax(0)
        found = {(-1, -1): (float(p[0, 0] + p[0, 1]), 1)}
        for i in PASSAGE:
            for j in (j for j in (i, i + 1) if j in PASSAGE):
                span, score = (TWO[i][0], TWO[j][1]), float(p[i, 0] + p[j, 1])  # type: ignore[index]
                found[span] = max(found.get(span, (-math.inf, 0)), (score, 0))
        expected = sorted(([*span, *rest] for span, rest in found.items()), key=lambda row: -row[2])[:6]
        values = task.predict(_head(logits), _features(TWO)).values[0]
        assert torch.allclose(values, torch.tensor(expected), atol=1e-5)


def test_an_answer_never_ends_before_it_starts_nor_is_too_long() -> None:
    logits = torch.zeros(1, 15, 2)
    logits[0, 12, 0] = logits[0, 3, 1] = 20  # the likeliest start is behind the likeliest end
    values = question_answering(n_best=40, max_answer=3).predict(_head(logits), _features(TWO)).values[0]
    real = values[values[:, 3] == 0]
    assert (real[:, 1] > real[:, 0]).all() and (real[:, 1] - real[:, 0] <= 8).all()
    assert len({tuple(row[:2].tolist()) for row in real}) == len(real) == 9
    assert (values[10:] == torch.tensor(EMPTY)).all()  # nine spans and no answer


def test_windows_are_not_joined_by_an_answer_that_runs_backwards() -> None:
    """The second window begins before the end of the first, and close by."""
    close = [None, (0, 2), (3, 5), (6, 8), (3, 5), (6, 8), (9, 11)]
    logits = torch.zeros(1, 7, 2)
    logits[0, 3, 0] = logits[0, 4, 1] = 9
    values = question_answering().predict(_head(logits), _features(close)).values[0]
    assert (values[values[:, 3] == 0][:, 1] > values[values[:, 3] == 0][:, 0]).all()


def test_without_a_passage_there_is_no_answer() -> None:
    values = question_answering().predict(_head(torch.randn(1, 2, 2)), _features([None, None])).values
    assert values[0, 0].tolist() == [-1, -1, 0, 1] and (values[0, 1:] == torch.tensor(EMPTY)).all()


def test_yes_and_no_compete_with_spans() -> None:
    logits, kinds = torch.randn(1, 15, 2), torch.tensor([[0.0, 3.0, 1.0]])
    task, p = question_answering(yes_no=True, n_best=50), kinds.log_softmax(1)[0]
    values = task.predict(_head(logits, kinds), _features(TWO)).values[0]
    scores = {kind: values[values[:, 3] == kind][:, 2] for kind in (0, 1, 2, 3)}
    assert torch.allclose(torch.cat([scores[2], scores[3]]), p[1:])
    plain = question_answering(n_best=50).predict(_head(logits), _features(TWO)).values[0]
    assert torch.allclose(scores[0], plain[plain[:, 3] == 0][:, 2] + p[0])
    assert (values[:-1, 2] >= values[1:, 2]).all() and values[0, 3] == 2


def test_the_loss_of_yes_and_no_is_cross_entropy() -> None:
    logits, kinds = torch.randn(4, 15, 2), torch.randn(4, 3)
    answers = (Answers(("bb",), (3,)), Answers(("No",), (-1,)), Answers((), ()), Answers(("yes",), (-1,)))
    gold, features = _gold(*answers), _features(TWO, TWO, TWO, TWO)
    both = _loss(question_answering(yes_no=True), _head(logits, kinds), features, gold)
    spans = _loss(question_answering(), _head(logits), features, gold)
    assert torch.allclose(both - spans, nn.functional.cross_entropy(kinds, torch.tensor([0, 2, 0, 1])))


def test_predictions_that_are_not_numbers_or_not_ours_are_refused() -> None:
    task = question_answering()
    gold = task.targets(_dataset([_at("Paris"), None]))
    with pytest.raises(ResourceError, match="diverged"):
        task.score(Predictions(torch.full((2, 5, 4), float("nan"))), gold)
    for values in (torch.zeros(3, 5, 4), torch.zeros(2, 5, 3), torch.zeros(2, 4)):
        with pytest.raises(DataError, match="do not belong"):
            task.score(Predictions(values), gold)
    with pytest.raises(DataError, match="none of 1"):
        task.score(Predictions(torch.zeros(1, 5, 4)), task.targets(_dataset([None])))


@pytest.mark.parametrize(("options", "hint"), [({"n_best": 0}, "n_best=1"), ({"max_answer": 2.5}, "max_answer=1"),
                                               ({"head": "mlp"}, "linear")])  # fmt: skip
def test_what_is_wrong_is_said(options: dict, hint: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(UsageError) as caught:
        question_answering(**options)
    assert hint in caught.value.hint
