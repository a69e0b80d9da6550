"""Tags of words against seqeval, scikit-learn, and hand-made places of tokens."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graft.errors import DataError, ResourceError, UsageError
from graft.spec import Spec
from graft.tasks._entities import Entity, entities
from graft.tasks.token_classification import first_tokens, token_classification
from graft.types import Batch, Dataset, Features, Info, Inputs, Predictions, Sample, Text

torch.set_num_threads(1)
TAGS = ("O", "B-loc", "B-per", "I-loc", "I-per")
ILL_FORMED = [["I-per"], ["O", "I-per", "I-per"], ["B-per", "I-loc"], ["I-per", "I-loc", "O", "I-loc"], ["B-per"] * 3,
              ["B-per", "I-per", "B-per"], ["I-loc", "B-loc", "I-loc"], ["O"], []]  # fmt: skip


def _sentences(n: int, seed: int, tags: tuple[str, ...] = TAGS) -> list[list[str]]:
    rng = random.Random(seed)
    return [[rng.choice(tags + ("O",) * 3) for _ in range(rng.randrange(1, 12))] for _ in range(n)]


def _noisy(truth: list[list[str]], seed: int = 9) -> list[list[str]]:
    rng = random.Random(seed)
    return [[rng.choice(TAGS) if rng.random() < 0.25 else tag for tag in row] for row in truth]


def _predictions(said: list[list[str]], sure: float = 0.9) -> Predictions:
    values = torch.zeros(len(said), max(map(len, said)), len(TAGS))
    for i, row in enumerate(said):
        for w, tag in enumerate(row):
            values[i, w] = (1 - sure) / (len(TAGS) - 1)
            values[i, w, TAGS.index(tag)] = sure
    return Predictions(values, TAGS)


def _dataset(labels: list[list[str] | None], texts: list[Text] | None = None) -> Dataset:
    samples = tuple(Sample(str(i), i, None if row is None else tuple(row)) for i, row in enumerate(labels))
    return Dataset("some", "text", samples, TAGS, lambda s: (texts or [])[s.source], lambda s: b"", kind="tags")


def _case(n: int = 60) -> tuple[Predictions, Tensor, list[list[str]], list[list[str]]]:
    truth = _sentences(n, 1)
    said = _noisy(truth)
    return _predictions(said), token_classification(TAGS).targets(_dataset(truth)), truth, said  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------ entities


@pytest.mark.parametrize("tags", [TAGS, ("O", "B-a", "I-a", "E-a", "S-a", "I-b", "E-b", "S-b"), ("B", "I", "B-a-b")])
def test_entities_are_seqevals(tags: tuple[str, ...]) -> None:
    from seqeval.metrics.sequence_labeling import get_entities

    for row in [*_sentences(2000, 0, tags), *ILL_FORMED]:
        expected = [(kind, start, end + 1) for kind, start, end in get_entities(row)]
        assert [tuple(one) for one in entities(row)] == expected


def test_entities_of_ill_formed_tags() -> None:
    assert entities(["O", "I-x", "I-x", "I-y", "B-y"]) == [Entity("x", 1, 3), Entity("y", 3, 4), Entity("y", 4, 5)]


def test_figures_are_seqevals() -> None:
    from seqeval import metrics

    predictions, targets, truth, said = _case()
    task = token_classification(TAGS)
    scores, report = task.score(predictions, targets), task.report(predictions, targets)
    assert scores["f1"] == pytest.approx(metrics.f1_score(truth, said))
    assert scores["precision"] == pytest.approx(metrics.precision_score(truth, said))
    assert scores["recall"] == pytest.approx(metrics.recall_score(truth, said))
    assert scores["accuracy"] == pytest.approx(metrics.accuracy_score(truth, said))
    right = np.array([a == b for x, y in zip(truth, said, strict=True) for a, b in zip(x, y, strict=True)])
    assert scores["loss"] == pytest.approx(-np.log(np.where(right, 0.9, 0.025)).mean(), rel=1e-5)
    expected = metrics.classification_report(truth, said, output_dict=True)
    for row in report["per_class"]:
        figures = expected[row["label"]]
        assert row["f1"] == pytest.approx(figures["f1-score"]) and row["support"] == figures["support"]
        assert row["precision"] == pytest.approx(figures["precision"])
    assert report["macro"]["f1"] == pytest.approx(expected["macro avg"]["f1-score"])
    assert report["words"] == sum(map(len, truth))


def test_each_is_the_linearised_f1_and_its_error_the_bootstraps() -> None:
    predictions, targets, *_ = _case(300)
    task = token_classification(TAGS)
    each, measured = task.each(predictions, targets), task.measure(predictions, targets)["f1"]
    assert float(each.mean()) == pytest.approx(measured.value, abs=1e-12)
    half = 1.96 * float(each.std()) / 300**0.5
    assert (measured.high - measured.low) / 2 == pytest.approx(half, rel=0.1)


def test_without_any_entity_everything_is_zero() -> None:
    from seqeval import metrics

    nothing = [["O", "O"], ["O"]]
    task, predictions = token_classification(TAGS), _predictions(nothing)
    targets = task.targets(_dataset(nothing))  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert task.score(predictions, targets)["f1"] == metrics.f1_score(nothing, nothing) == 0
    assert task.each(predictions, targets).tolist() == [0, 0]
    assert task.measure(predictions, targets)["accuracy"].value == 1


def test_samples_without_tags_do_not_count() -> None:
    predictions, targets, truth, _ = _case()
    task = token_classification(TAGS)
    holes = task.targets(_dataset([None if i % 2 else row for i, row in enumerate(truth)]))
    some = Predictions(predictions.values[::2], TAGS), targets[::2]
    assert task.score(predictions, holes) == task.score(*some)
    assert task.measure(predictions, holes) == task.measure(*some)
    assert float(task.each(predictions, holes).mean()) == pytest.approx(task.score(*some)["f1"])
    with pytest.raises(DataError, match="none of 60"):
        task.score(predictions, torch.full_like(targets, -100))


def test_targets_are_padded_and_unknown_tags_are_no_tags() -> None:
    labels = [["O", "B-per", "I-per"], ["B-loc"], None, ["O", "B-other"], []]
    targets = token_classification(TAGS).targets(_dataset(labels))  # type: ignore[arg-type]
    assert targets.tolist() == [[0, 2, 4], [1, -100, -100], *[[-100] * 3] * 3]


# --------------------------------------------------------------------------------------------- words and tokens


def _features(*places: list[int], dim: int = 6) -> Features:
    """The word of each token, -1 for none."""
    words = torch.tensor(places)
    tokens = torch.randn(*words.shape, dim, generator=torch.Generator().manual_seed(0))
    both = torch.stack([words, torch.where(words >= 0, words + 1, -1)], 2)
    return Features(tokens.mean(1), tokens, (), torch.ones_like(words, dtype=torch.bool), both)


def test_a_word_stands_for_its_first_token_also_where_windows_repeat_it() -> None:
    one = _features([-1, 0, 0, 1, 2, 2, -1, -1, 1, 2, 2, 4, 4, 5, -1], [-1, 0, 1, 1, -1, *[-1] * 10])
    row, at, word = first_tokens(one)
    assert row.tolist() == [0] * 5 + [1] * 2
    assert at.tolist() == [1, 3, 4, 11, 13, 1, 2] and word.tolist() == [0, 1, 2, 4, 5, 0, 1]


def test_padding_has_no_words_even_if_it_has_places() -> None:
    one = _features([-1, 0, 1, 2])
    cut = one._replace(mask=torch.tensor([[True, True, False, False]]))
    assert first_tokens(cut)[2].tolist() == [0]


def test_the_loss_is_cross_entropy_over_words_with_a_tag_and_a_token() -> None:
    """Word 1 of the first text has no token, word 3 was cut off; the second text has no tags, and more words."""
    one, task = _features([-1, 0, 0, 2, -1, -1, -1], [-1, 0, 1, 2, 3, 4, 5]), token_classification(TAGS)
    head = task.head(Info(source=Spec("toy"), modality="text", dim=6)).eval()
    targets = torch.tensor([[2, 4, 1, 3], [-100] * 4])
    loss = task.loss(head, one, Batch(Inputs(torch.empty(0)), targets, torch.arange(2)))
    logits = head(one.tokens[0, [1, 3]])  # type: ignore[index]
    assert torch.allclose(loss, F.cross_entropy(logits, torch.tensor([2, 1])))


def test_words_without_a_token_are_predicted_as_o_and_padding_is_zero() -> None:
    one, task = _features([-1, 0, 0, 2, -1], [-1, 0, -1, -1, -1]), token_classification(TAGS)
    values = task.predict(nn.Linear(6, 5), one).values
    assert values.shape == (2, 3, 5) and values[0, 1].tolist() == [1, 0, 0, 0, 0]
    assert torch.allclose(values[0, [0, 2]].sum(1), torch.ones(2)) and not values[1, 1:].any()
    nothing = task.predict(nn.Linear(6, 5), _features([-1, -1]))
    assert nothing.values.shape == (1, 0, 5)
    assert task.score(nothing, torch.tensor([[0, 2]]))["accuracy"] == 0.5  # what was cut off is an O


def test_the_head_is_layer_norm_dropout_and_linear() -> None:
    head = token_classification(TAGS, head="linear(dropout=0.3)").head(Info(Spec("toy"), "text", 6))
    assert isinstance(head, nn.Sequential) and [type(m).__name__ for m in head] == ["LayerNorm", "Dropout", "Linear"]
    assert not head[0].state_dict() and head[1].p == 0.3


# ---------------------------------------------------------------------------------------------------- the rest


def test_rows_name_entities_with_their_words() -> None:
    texts = [Text("New York is big", words=("New", "York", "is", "big")), Text("so it is")]
    said = _predictions([["B-loc", "I-loc", "O", "O"], ["O", "O", "O"]], 0.75)
    said.values[0, 1] = torch.tensor([0.2, 0.0, 0.1, 0.625, 0.075])
    rows = token_classification(TAGS).rows(said, _dataset([None, None], texts))
    named = {"entity": "loc", "text": "New York", "start": 0, "end": 2}
    assert rows == [{"label": [named], "probability": 0.625}, {"label": [], "probability": 1.0}]


def test_the_majority_is_no_entity() -> None:
    _, targets, *_ = _case()
    task = token_classification(TAGS)
    made = task.baselines(torch.zeros(60, 3), targets, torch.zeros(60, 3))["majority"]
    scores = task.score(made, targets)
    assert scores["f1"] == 0 and scores["accuracy"] == int((targets == 0).sum()) / int((targets >= 0).sum())
    with pytest.raises(DataError, match="no training sample"):
        task.baselines(torch.zeros(2, 3), torch.full((2, 4), -100), torch.zeros(1, 3))


def test_predictions_that_are_not_numbers_or_not_ours_are_refused() -> None:
    task, targets = token_classification(TAGS), torch.zeros(2, 3).long()
    with pytest.raises(ResourceError, match="diverged"):
        task.score(Predictions(torch.full((2, 3, 5), float("nan"))), targets)
    for values in (torch.zeros(3, 3, 5), torch.zeros(2, 3, 4), torch.zeros(2, 5)):
        with pytest.raises(DataError, match="do not belong"):
            task.score(Predictions(values), targets)


@pytest.mark.parametrize("classes", [(), ("O",), ("B-a", "O"), ("O", "B-a", "B-a")])
def test_tags_are_o_and_others(classes: tuple[str, ...]) -> None:
    with pytest.raises(DataError) as caught:
        token_classification(classes)
    assert "IOB2" in caught.value.hint


@pytest.mark.parametrize(("head", "hint"), [("linaer", "linear"), ("linear(dropout=2)", "< 1"), ("linear(p=1)", "")])
def test_a_wrong_head_is_said(head: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        token_classification(TAGS, head=head)
    assert hint in caught.value.hint
