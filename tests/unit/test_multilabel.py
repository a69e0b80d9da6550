"""Several labels against scikit-learn, PyTorch's loss and closed forms."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import Tensor, nn
from torch.nn import functional as F

from graft.errors import DataError, ResourceError, UsageError
from graft.tasks.multilabel import multilabel
from graft.types import Batch, Dataset, Features, Inputs, Predictions, Sample

torch.set_num_threads(1)
NAMES = ("a", "b", "c", "d", "never")


def _case(n: int = 200, seed: int = 0) -> tuple[Predictions, Tensor]:
    """Some samples without any label, and a label that occurs neither in the truth nor in the guesses."""
    rng = torch.Generator().manual_seed(seed)
    truth = (torch.rand(n, 5, generator=rng) < torch.tensor([0.4, 0.2, 0.1, 0.05, 0.0])).float()
    logits = 1.5 * torch.randn(n, 5, generator=rng) + 3 * truth - 2
    logits[:, 4] = -5
    return Predictions(logits.sigmoid(), NAMES), truth


def _dataset(*labels: tuple[str, ...] | str | None) -> Dataset:
    samples = tuple(Sample(str(i), i, label) for i, label in enumerate(labels))
    return Dataset("some", "text", samples, NAMES, lambda s: None, lambda s: b"", kind="labels")


def _loss(task, logits: Tensor, targets: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
    batch = Batch(Inputs(torch.empty(0)), targets, torch.arange(len(targets)))
    return task.loss(nn.Identity(), Features(logits), batch)  # type: ignore[no-any-return]


@pytest.mark.parametrize("threshold", [0.5, 0.2])
def test_figures_are_scikit_learns(threshold: float) -> None:
    predictions, truth = _case()
    task, guess = multilabel(NAMES, threshold=threshold), (predictions.values > threshold).float()
    scores, report = task.score(predictions, truth), task.report(predictions, truth)
    assert scores["f1_micro"] == pytest.approx(metrics.f1_score(truth, guess, average="micro"))
    assert scores["f1_macro"] == pytest.approx(metrics.f1_score(truth[:, :4], guess[:, :4], average="macro"))
    expected = metrics.f1_score(truth, guess, average="samples", zero_division=1.0)
    assert scores["f1_samples"] == pytest.approx(expected) and ((truth.sum(1) == 0) & (guess.sum(1) == 0)).any()
    assert scores["subset_accuracy"] == pytest.approx(metrics.accuracy_score(truth, guess))
    assert scores["loss"] == pytest.approx(float(F.binary_cross_entropy(predictions.values, truth)), rel=1e-5)
    each = metrics.precision_recall_fscore_support(truth, guess, zero_division=0)
    for row, *numbers in zip(report["per_class"], *each, strict=True):
        assert [row["precision"], row["recall"], row["f1"], row["support"]] == pytest.approx(numbers)
    weighted = metrics.precision_recall_fscore_support(truth, guess, average="weighted", zero_division=0)[:3]
    assert list(report["weighted"].values()) == pytest.approx(weighted)
    json.dumps(report, allow_nan=False)


def test_the_standard_error_of_each_is_that_of_micro_f1() -> None:
    """The deviation of micro F1 over 2000 data sets of 200 samples, and what `each` of one data set says."""
    task, drawn = multilabel(NAMES), []
    predictions, truth = _case(n=400_000)
    guess = predictions.values > 0.5
    for rows in torch.arange(400_000).split(200):
        hits, total = (truth[rows] * guess[rows]).sum(), truth[rows].sum() + guess[rows].sum()
        drawn.append(float(2 * hits / total))
    each = task.each(*_case())
    assert float(each.std() / 200**0.5) == pytest.approx(np.std(drawn), rel=0.15)
    assert float(each.mean()) == pytest.approx(task.score(*_case())["f1_micro"], abs=1e-12)


def test_intervals_are_the_bootstrap_with_scikit_learn() -> None:
    predictions, truth = _case(n=120)
    guess, rng = (predictions.values > 0.5).numpy(), np.random.default_rng(1)
    rows = [rng.integers(0, 120, 120) for _ in range(500)]
    measures = multilabel(NAMES).measure(predictions, truth)
    for figure, average in (("f1_micro", "micro"), ("f1_samples", "samples")):
        drawn = [metrics.f1_score(truth.numpy()[r], guess[r], average=average, zero_division=1.0) for r in rows]
        assert measures[figure][1:3] == pytest.approx(np.quantile(drawn, (0.025, 0.975)), abs=0.02)
    assert measures["subset_accuracy"].method == "wilson" and measures["f1_macro"].method == "bootstrap"


def test_the_loss_is_pytorchs() -> None:
    logits, truth = torch.randn(32, 5), _case(32)[1]
    assert torch.allclose(_loss(multilabel(NAMES), logits, truth), F.binary_cross_entropy_with_logits(logits, truth))
    task = multilabel(NAMES, class_weights="balanced", counts=(40, 20, 10, 10, 0))
    weights = torch.tensor([80 / 5 / 40, 80 / 5 / 20, 1.6, 1.6, 1.0])
    expected = F.binary_cross_entropy_with_logits(logits, truth, pos_weight=weights)
    assert torch.allclose(_loss(task, logits, truth), expected)


def test_targets_are_columns_of_classes_and_unknown_rows_are_minus_one() -> None:
    targets = multilabel(NAMES).targets(_dataset(("a", "d"), (), None, ("a", "other"), "a"))
    assert targets.tolist() == [[1, 0, 0, 1, 0], [0] * 5, [-1] * 5, [-1] * 5, [-1] * 5]


def test_unlabelled_samples_do_not_count() -> None:
    predictions, truth = _case()
    task, some = multilabel(NAMES), torch.arange(200) % 3 == 0
    labelled = Predictions(predictions.values[some], NAMES), truth[some]
    holes = torch.where(some.unsqueeze(1), truth, -1.0)
    assert task.score(predictions, holes) == task.score(*labelled)
    assert task.measure(predictions, holes) == task.measure(*labelled)
    assert float(task.each(predictions, holes).mean()) == pytest.approx(task.score(*labelled)["f1_micro"])
    with pytest.raises(DataError, match="none of 200"):
        task.score(predictions, torch.full((200, 5), -1.0))


def test_nothing_to_find_and_nothing_found() -> None:
    task, none = multilabel(("a", "b")), torch.zeros(3, 2)
    scores = task.score(Predictions(none), none)
    assert (scores["f1_micro"], scores["f1_macro"], scores["f1_samples"], scores["subset_accuracy"]) == (0, 0, 1, 1)
    assert task.each(Predictions(none), none).tolist() == [0, 0, 0]


def test_one_label_is_enough_and_rows_name_what_is_above_the_threshold() -> None:
    predictions = Predictions(torch.tensor([[0.75], [0.5]]))
    rows = multilabel(("a",)).rows(predictions, _dataset(None, None))
    assert rows == [{"label": ["a"], "probability": {"a": 0.75}}, {"label": [], "probability": {}}]
    assert multilabel(("a",)).score(predictions, torch.tensor([[1.0], [0.0]]))["f1_micro"] == 1


def test_majority_says_what_most_samples_have() -> None:
    train = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0], [-1.0, -1.0]])
    made = multilabel(("a", "b")).baselines(torch.zeros(4, 3), train, torch.zeros(2, 3))["majority"]
    assert torch.allclose(made.values, torch.tensor([[1.0, 1 / 3]] * 2))
    with pytest.raises(DataError, match="no training sample"):
        multilabel(("a", "b")).baselines(torch.zeros(1, 3), train[3:], torch.zeros(2, 3))


def test_predictions_that_are_not_numbers_or_not_ours_are_refused() -> None:
    task, truth = multilabel(("a", "b")), torch.zeros(2, 2)
    with pytest.raises(ResourceError, match="diverged"):
        task.score(Predictions(torch.full((2, 2), float("nan"))), truth)
    for values in (torch.ones(3, 2), torch.ones(2, 3)):
        with pytest.raises(DataError, match="do not belong"):
            task.score(Predictions(values), truth)


@pytest.mark.parametrize(
    ("options", "hint"),
    [({"threshold": 1.0}, "< 1"), ({"threshold": "a"}, "< 1"), ({"head": "linaer"}, "linear"),
     ({"class_weights": "balancd"}, "balanced"), ({"class_weights": "balanced"}, "counts"),
     ({"class_weights": "balanced", "counts": (1, 2, 3)}, "counts")],
)  # fmt: skip
def test_what_is_wrong_is_said(options: dict, hint: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(UsageError) as caught:
        multilabel(("x", "y"), **options)
    assert hint in caught.value.hint


@pytest.mark.parametrize("classes", [(), ("x", "x")])
def test_labels_must_differ(classes: tuple[str, ...]) -> None:
    with pytest.raises(DataError):
        multilabel(classes)
