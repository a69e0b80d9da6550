"""Classification against scikit-learn, PyTorch's losses and closed forms."""

import json
import warnings

import numpy as np
import pytest
import torch
from sklearn import metrics
from sklearn.neighbors import NearestCentroid
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn
from torch.nn import functional as F

from graft.errors import DataError, ResourceError, UsageError
from graft.tasks.classification import centroid, classification, majority
from graft.types import Batch, Dataset, Features, Inputs, Predictions, Sample

torch.set_num_threads(1)
NAMES = tuple("abcdefg")


def _case(n: int = 300, classes: int = 7, seed: int = 0) -> tuple[Predictions, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    truth = torch.randint(classes, (n,), generator=rng)
    logits = torch.randn(n, classes, generator=rng) + 2 * F.one_hot(truth, classes) * (truth != 3).unsqueeze(1)
    return Predictions(logits.softmax(1), NAMES[:classes]), truth


def _exact(predictions: Predictions) -> Tensor:
    """Rows that sum to one in double precision too, or scikit-learn warns."""
    return F.normalize(predictions.values.double(), p=1, dim=1)


def _batch(targets: Tensor) -> Batch:
    return Batch(Inputs(torch.empty(0)), targets, torch.arange(len(targets)))


def _dataset(*labels: str | None) -> Dataset:
    samples = tuple(Sample(str(i), i, label) for i, label in enumerate(labels))
    return Dataset("two", "image", samples, ("x", "y"), lambda s: None, lambda s: b"")


def _loss(task, logits: Tensor, targets: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
    return task.loss(nn.Identity(), Features(logits), _batch(targets))  # type: ignore[no-any-return]


# ------------------------------------------------------------------------------------------------------- figures


@pytest.mark.parametrize("subset", [range(7), (0, 2, 3)], ids=["every class", "classes missing from the truth"])
def test_figures_are_scikit_learns(subset: range | tuple[int, ...]) -> None:
    predictions, truth = _case()
    kept = torch.isin(truth, torch.tensor(list(subset)))
    predictions, truth = Predictions(predictions.values[kept], NAMES), truth[kept]
    task, guess = classification(NAMES), predictions.values.argmax(1)
    scores, report = task.score(predictions, truth), task.report(predictions, truth)
    assert scores["accuracy"] == pytest.approx(metrics.accuracy_score(truth, guess))
    assert scores["loss"] == pytest.approx(metrics.log_loss(truth, _exact(predictions), labels=range(7)), abs=1e-6)
    five = metrics.top_k_accuracy_score(truth, predictions.values, k=5, labels=range(7))
    assert scores["top5"] == pytest.approx(five)
    assert report["confusion"] == metrics.confusion_matrix(truth, guess, labels=range(7)).tolist()
    each = metrics.precision_recall_fscore_support(truth, guess, labels=range(7), zero_division=0)
    for row, *expected in zip(report["per_class"], *each, strict=True):
        assert [row["precision"], row["recall"], row["f1"], row["support"]] == pytest.approx(expected)
    for average in ("macro", "weighted"):
        expected = metrics.precision_recall_fscore_support(truth, guess, average=average, zero_division=0)[:3]
        assert list(report[average].values()) == pytest.approx(expected)
    json.dumps(report, allow_nan=False)


def test_recall_macro_is_balanced_accuracy() -> None:
    predictions, truth = _case()
    expected = metrics.balanced_accuracy_score(truth, predictions.values.argmax(1))
    assert classification(NAMES).measure(predictions, truth)["recall_macro"].value == pytest.approx(expected)


def test_measures_are_scores_with_intervals() -> None:
    predictions, truth = _case()
    task = classification(NAMES)
    scores, measures = task.score(predictions, truth), task.measure(predictions, truth)
    assert {name: measures[name].value for name in scores} == pytest.approx(scores)
    assert all(m.low < m.value < m.high and m.method for m in measures.values())
    assert set(measures) == {*scores, "precision_macro", "recall_macro", "f1_weighted"}
    assert measures["accuracy"].method == measures["top5"].method == "wilson"
    assert measures["loss"].method == "bootstrap" and measures == task.measure(predictions, truth)


def test_macro_f1s_interval_is_the_bootstrap_with_scikit_learn() -> None:
    predictions, truth = _case(n=120, classes=4)
    guess, rng = predictions.values.argmax(1).numpy(), np.random.default_rng(1)
    rows = [rng.integers(0, 120, 120) for _ in range(600)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        drawn = [metrics.f1_score(truth.numpy()[r], guess[r], average="macro") for r in rows]
    metric = classification(NAMES[:4]).measure(predictions, truth)["f1_macro"]
    assert metric[1:3] == pytest.approx(np.quantile(drawn, (0.025, 0.975)), abs=0.02)


def test_an_f1s_interval_holds_the_true_f1() -> None:
    """100 data sets of 60 samples from a known confusion: the interval covers in about 95 of them."""
    chances = np.array([[0.4, 0.1], [0.05, 0.45]])
    true = 2 * 0.4 / (2 * 0.4 + 0.15)
    rng, held = np.random.default_rng(3), 0
    for _ in range(100):
        cells = rng.choice(4, 60, p=chances.ravel())
        values = F.one_hot(torch.tensor(cells % 2), 2).float()
        low, high = classification(("x", "y")).report(Predictions(values, ("x", "y")), torch.tensor(cells // 2))[
            "per_class"][0]["f1_interval"]  # fmt: skip
        held += low <= true <= high
    assert held >= 87


def test_five_classes_have_no_top5_and_pairs_are_named() -> None:
    predictions, truth = _case(classes=5)
    task = classification(NAMES[:5])
    assert "top5" not in task.score(predictions, truth) | task.measure(predictions, truth)
    worst = task.report(predictions, truth)["most_confused"][0]
    matrix = metrics.confusion_matrix(truth, predictions.values.argmax(1))
    np.fill_diagonal(matrix, 0)
    assert worst["count"] == matrix.max() and worst["actual"] == "d"


def test_a_constant_prediction_has_five_classes_of_seven_in_its_top5() -> None:
    values = torch.full((70, 7), 1 / 7)
    assert classification(NAMES).score(Predictions(values, NAMES), torch.arange(70) % 7)["top5"] == pytest.approx(5 / 7)


def test_samples_without_a_label_do_not_count() -> None:
    predictions, truth = _case()
    task, some = classification(NAMES), torch.arange(300) % 3 == 0
    labelled = Predictions(predictions.values[some], NAMES), truth[some]
    holes = torch.where(some, truth, -1)
    assert task.score(predictions, holes) == task.score(*labelled)
    assert task.measure(predictions, holes) == task.measure(*labelled)
    assert task.report(predictions, holes) == task.report(*labelled)
    with pytest.raises(DataError, match="none of 300"):
        task.score(predictions, torch.full((300,), -1))


def test_one_sure_mistake_is_not_an_infinite_loss() -> None:
    task = classification(("x", "y"))
    assert 15 < task.score(Predictions(torch.tensor([[1.0, 0.0]]), ("x", "y")), torch.tensor([1]))["loss"] < 17


def test_predictions_that_are_not_numbers_or_not_ours_are_refused() -> None:
    task, truth = classification(("x", "y")), torch.tensor([0, 1])
    with pytest.raises(ResourceError, match="diverged"):
        task.score(Predictions(torch.full((2, 2), float("nan"))), truth)
    for values in (torch.ones(3, 2), torch.ones(2, 3)):
        with pytest.raises(DataError, match="do not belong"):
            task.score(Predictions(values), truth)
    with pytest.raises(DataError, match="do not belong"):
        task.score(Predictions(torch.ones(2, 2)), torch.tensor([0, 2]))


def test_rows_name_the_most_probable_class() -> None:
    values = torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    rows = classification(("x", "y")).rows(Predictions(values, ("x", "y")), _dataset("x", "y"))
    assert rows == [{"label": "y", "probability": 0.75}, {"label": "x", "probability": 1.0}]


def test_targets_are_indices_and_minus_one_without_a_label() -> None:
    assert classification(("x", "y")).targets(_dataset("y", None, "x", "other")).tolist() == [1, -1, 0, -1]


# -------------------------------------------------------------------------------------------------------- losses


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, (1.0, 0.5, 3.0, 0.0)])
def test_cross_entropy_is_pytorchs(smoothing: float, weights: tuple[float, ...] | None) -> None:
    logits, targets = torch.randn(32, 4), torch.randint(4, (32,))
    task = classification(NAMES[:4], label_smoothing=smoothing, class_weights=weights)
    expected = F.cross_entropy(logits, targets, torch.tensor(weights) if weights else None, label_smoothing=smoothing)
    assert torch.allclose(_loss(task, logits, targets), expected)


def test_cross_entropy_of_mixed_targets_is_pytorchs() -> None:
    logits, targets = torch.randn(32, 4), torch.rand(32, 4).softmax(1)
    for smoothing in (0.0, 0.2):
        task = classification(NAMES[:4], label_smoothing=smoothing)
        expected = F.cross_entropy(logits, targets, label_smoothing=smoothing)
        assert torch.allclose(_loss(task, logits, targets), expected)


def test_binary_and_mse_are_pytorchs() -> None:
    logits, targets = torch.randn(32, 4), torch.randint(4, (32,))
    one_hot = F.one_hot(targets, 4).float()
    binary, mse = (classification(NAMES[:4], loss=name) for name in ("binary", "mse"))
    assert torch.allclose(_loss(binary, logits, targets), F.binary_cross_entropy_with_logits(logits, one_hot))
    assert torch.allclose(_loss(mse, logits, targets), F.mse_loss(logits.softmax(1), one_hot))


@pytest.mark.parametrize("loss", ["cross_entropy", "binary", "mse"])
def test_weights_count_a_sample_as_often(loss: str) -> None:
    """A class of weight 3 is as if each of its samples were there three times."""
    logits, targets = torch.randn(20, 2), torch.randint(2, (20,))
    again = torch.arange(20).repeat_interleave(torch.where(targets == 1, 3, 1))
    weighted = _loss(classification(("x", "y"), loss=loss, class_weights=(1, 3)), logits, targets)
    assert torch.allclose(weighted, _loss(classification(("x", "y"), loss=loss), logits[again], targets[again]))


def test_balanced_weights_are_scikit_learns() -> None:
    labels = [0] * 50 + [1] * 5 + [2] * 20
    task = classification(NAMES[:3], class_weights="balanced", counts=(50, 5, 20))
    assert task.weights == pytest.approx(compute_class_weight("balanced", classes=np.arange(3), y=labels))  # type: ignore[attr-defined]


def test_binary_probabilities_are_sigmoids_that_sum_to_one() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5], [-200.0, -201.0, -210.0]])
    values = classification(NAMES[:3], loss="binary").predict(nn.Identity(), Features(logits)).values
    assert torch.allclose(values[0], logits[0].sigmoid() / logits[0].sigmoid().sum())
    assert torch.allclose(values.sum(1), torch.ones(2)) and values[1].argmax() == 0  # plain sigmoids would be 0 / 0


def test_half_precision_features_give_float32_losses() -> None:
    head, features = nn.Linear(6, 3), Features(torch.randn(8, 6))
    with torch.autocast("cpu", torch.bfloat16):
        for loss in ("cross_entropy", "binary", "mse"):
            task = classification(NAMES[:3], loss=loss, class_weights=(1.0, 1.001, 1.0))
            assert task.loss(head, features, _batch(torch.zeros(8).long())).dtype is torch.float32
            assert task.predict(head, features).values.dtype is torch.float32


# ----------------------------------------------------------------------------------------------------- baselines


def test_majority_is_the_training_frequencies() -> None:
    values = majority(torch.tensor([0, 1, 1, 1]), 5, ("x", "y", "z")).values
    assert torch.equal(values, torch.tensor([[0.25, 0.75, 0.0]]).expand(5, 3))


def test_centroid_is_simpleshot_with_scikit_learns_nearest_centroid() -> None:
    torch.manual_seed(0)
    train, targets, asked = torch.randn(60, 10) + 5, torch.randint(4, (60,)), torch.randn(40, 10) + 5
    predictions = centroid(train, targets, asked, NAMES[:5])
    shrunk = [F.normalize(x - train.mean(0), dim=1).numpy() for x in (train, asked)]
    reference = NearestCentroid().fit(shrunk[0], targets.numpy())
    assert predictions.values.argmax(1).tolist() == reference.predict(shrunk[1]).tolist()
    distances = ((shrunk[1][:, None] - reference.centroids_) ** 2).sum(-1)
    assert torch.allclose(predictions.values[:, :4], torch.tensor(-distances).float().softmax(1), atol=1e-5)
    assert (predictions.values[:, 4] == 0).all()  # a class that was never seen


def test_baselines_leave_out_unlabelled_samples() -> None:
    train, targets, asked = torch.randn(12, 3), torch.arange(12) % 2, torch.randn(4, 3)
    task, more = classification(("x", "y")), (torch.cat([train, train[:1] + 99]), torch.cat([targets, targets[:1] - 1]))
    for name, made in task.baselines(train, targets, asked).items():
        assert torch.equal(made.values, task.baselines(*more, asked)[name].values)
    with pytest.raises(DataError, match="label"):
        task.baselines(train, torch.full((12,), -1), asked)


# ------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "hint"),
    [({"loss": "cross_entrpy"}, "cross_entropy"), ({"head": "linaer"}, "linear"), ({"label_smoothing": 1.0}, "< 1"),
     ({"class_weights": "balancd"}, "balanced"), ({"class_weights": "balanced"}, "counts"),
     ({"class_weights": "balanced", "counts": (1, 2, 3)}, "counts"), ({"class_weights": (1.0,)}, "each class"),
     ({"class_weights": (1.0, -1.0)}, "each class"), ({"class_weights": (0.0, float("nan"))}, "each class"),
     ({"class_weights": (0, 0)}, "each class")],
)  # fmt: skip
def test_what_is_wrong_is_said(options: dict, hint: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(UsageError) as caught:
        classification(("x", "y"), **options)
    assert hint in caught.value.hint


@pytest.mark.parametrize("classes", [(), ("x",), ("x", "x")])
def test_classes_must_differ(classes: tuple[str, ...]) -> None:
    with pytest.raises(DataError):
        classification(classes)
