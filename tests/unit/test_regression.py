"""Regression against scikit-learn, scipy and PyTorch's losses."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics
from torch import Tensor
from torch.nn import functional as F

from graft.errors import DataError, ResourceError, UsageError
from graft.spec import Spec
from graft.tasks import _bootstrap
from graft.tasks.regression import _figures, regression
from graft.types import Batch, Dataset, Features, Info, Inputs, Predictions, Sample

torch.set_num_threads(1)
INFO = Info(source=Spec("toy"), modality="text", dim=4)


def _case(n: int = 150, seed: int = 0) -> tuple[Predictions, Tensor]:
    """With ties, as ratings have them, far from zero."""
    rng = torch.Generator().manual_seed(seed)
    truth = 1000 + torch.randint(0, 20, (n,), generator=rng).float()
    return Predictions((truth + 5 * torch.randn(n, generator=rng)).round().unsqueeze(1)), truth


def _batch(targets: Tensor) -> Batch:
    return Batch(Inputs(torch.empty(0)), targets, torch.arange(len(targets)))


def _dataset(*labels: object) -> Dataset:
    samples = tuple(Sample(str(i), i, label) for i, label in enumerate(labels))
    return Dataset("some", "text", samples, (), lambda s: None, lambda s: b"", kind="number")


def test_figures_are_those_of_the_libraries() -> None:
    predictions, truth = _case()
    said, true = predictions.values[:, 0].double().numpy(), truth.double().numpy()
    scores = regression(scale=(1010.0, 4.0)).score(predictions, truth)
    assert scores["r2"] == pytest.approx(metrics.r2_score(true, said))
    assert scores["pearson"] == pytest.approx(np.corrcoef(true, said)[0, 1])
    assert scores["spearman"] == pytest.approx(stats.spearmanr(true, said).statistic)
    assert scores["mse"] == pytest.approx(metrics.mean_squared_error(true, said))
    assert scores["mae"] == pytest.approx(metrics.mean_absolute_error(true, said))
    assert scores["loss"] == pytest.approx(scores["mse"] / 16)


def test_intervals_are_the_bootstrap_with_the_libraries() -> None:
    """The very draws: each weight says how often a sample is there, and ranks are made anew."""
    predictions, truth = _case(n=60)
    said, true = predictions.values[:, 0].double().numpy(), truth.double().numpy()
    weights = next(_bootstrap._weights(60, 40))
    drawn = _figures(said, true, 1.0)(weights)
    for i, counts in enumerate(weights.astype(int)):
        f, y = said.repeat(counts), true.repeat(counts)
        assert drawn["r2"][i] == pytest.approx(metrics.r2_score(y, f))
        assert drawn["pearson"][i] == pytest.approx(stats.pearsonr(f, y).statistic)
        assert drawn["spearman"][i] == pytest.approx(stats.spearmanr(f, y).statistic)
        assert drawn["mae"][i] == pytest.approx(metrics.mean_absolute_error(y, f))
    measures = regression().measure(predictions, truth)
    assert {name: m.value for name, m in measures.items()} == regression().score(predictions, truth)
    assert all(m.low < m.value < m.high and m.method == "bootstrap" for m in measures.values())


def test_the_plain_weights_give_the_scores() -> None:
    predictions, truth = _case()
    said, true = predictions.values[:, 0].double().numpy(), truth.double().numpy()
    assert _bootstrap.plain(_figures(said, true, 1.0), 150) == pytest.approx(regression().score(predictions, truth))


def test_what_each_adds_is_in_the_mean_r2() -> None:
    predictions, truth = _case()
    each = regression().each(predictions, truth)
    assert float(each.mean()) == pytest.approx(metrics.r2_score(truth.double(), predictions.values[:, 0].double()))
    holes = torch.where(torch.arange(150) < 50, truth, math.nan)
    some = Predictions(predictions.values[:50]), truth[:50]
    assert float(regression().each(predictions, holes).mean()) == pytest.approx(regression().score(*some)["r2"])
    assert regression().measure(predictions, holes) == regression().measure(*some)


@pytest.mark.parametrize(("name", "loss"), [("mse", F.mse_loss), ("mae", F.l1_loss), ("huber", F.huber_loss)])
def test_the_loss_is_pytorchs_in_standard_units(name: str, loss) -> None:  # type: ignore[no-untyped-def]
    task, x, truth = regression(loss=name, scale=(100.0, 20.0)), torch.randn(9, 4), 100 + 20 * torch.randn(9)
    head = task.head(INFO)
    assert torch.allclose(task.loss(head, Features(x), _batch(truth)), loss(head(x), (truth - 100) / 20))
    assert torch.allclose(task.predict(head, Features(x)).values[:, 0], 100 + 20 * head(x))
    truth[3] = math.nan
    kept = torch.arange(9) != 3
    assert torch.allclose(task.loss(head, Features(x), _batch(truth)), loss(head(x[kept]), (truth[kept] - 100) / 20))


def test_the_scale_is_saved_with_the_weights_and_not_learned() -> None:
    head = regression(scale=(100.0, 20.0)).head(INFO)
    other = regression().head(INFO)
    assert not [name for name, _ in other.named_parameters() if "centre" in name or "spread" in name]
    x, truth = Features(torch.randn(5, 4)), 100 + torch.arange(5.0)
    regression().loss(other.train(), x, _batch(truth))
    assert (other.centre, other.spread) == (0, 1)  # training sets nothing
    other.load_state_dict(head.state_dict())
    assert torch.equal(regression().predict(other, x).values, regression().predict(head, x).values)


@pytest.mark.parametrize("said", [[0.1, 0.1, 0.1], [1.0, 2.0, 4.0]])
@pytest.mark.parametrize("true", [[0.1, 0.1, 0.1], [1.0, 2.0, 3.0]])
def test_what_never_varies_is_zero_and_not_nan(said: list[float], true: list[float]) -> None:
    predictions, truth = Predictions(torch.tensor(said).unsqueeze(1)), torch.tensor(true)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores, measures = regression().score(predictions, truth), regression().measure(predictions, truth)
    assert all(math.isfinite(value) for value in scores.values())
    assert all(math.isfinite(m.low) and m.low <= m.value <= m.high for m in measures.values())
    if true[0] == true[1]:
        assert scores["r2"] == scores["pearson"] == scores["spearman"] == 0
        assert regression().each(predictions, truth).tolist() == [0, 0, 0]
    if said[0] == said[1]:
        assert scores["pearson"] == scores["spearman"] == 0


def test_one_sample_has_figures() -> None:
    assert regression().score(Predictions(torch.tensor([[2.0]])), torch.tensor([3.0]))["mae"] == 1


def test_targets_rows_and_the_mean() -> None:
    task = regression()
    targets = task.targets(_dataset(1.5, None, 2, "much", math.nan))
    assert targets.dtype is torch.float32 and targets[[0, 2]].tolist() == [1.5, 2]
    assert targets.isnan().tolist() == [False, True, False, True, True]
    assert task.rows(Predictions(torch.tensor([[1.5], [2.0]])), _dataset(1.0, 2.0)) == [{"label": 1.5}, {"label": 2.0}]
    made = task.baselines(torch.zeros(5, 3), targets, torch.zeros(2, 3))
    assert made["mean"].values.tolist() == [[1.75], [1.75]]
    with pytest.raises(DataError, match="no training sample"):
        task.baselines(torch.zeros(1, 3), targets[1:2], torch.zeros(2, 3))


def test_the_report_has_quantiles_of_errors() -> None:
    predictions, truth = _case()
    report, errors = regression().report(predictions, truth), (predictions.values[:, 0] - truth).numpy()
    assert report["error"]["quantiles"]["0.05"] == pytest.approx(np.quantile(errors, 0.05), rel=1e-5)
    assert report["absolute_error"]["quantiles"]["0.5"] == pytest.approx(np.median(np.abs(errors)), rel=1e-5)
    assert report["samples"] == 150 and report["figures"] == regression().score(predictions, truth)


def test_predictions_that_are_not_numbers_or_not_ours_are_refused() -> None:
    with pytest.raises(ResourceError, match="diverged"):
        regression().score(Predictions(torch.full((2, 1), math.inf)), torch.zeros(2))
    with pytest.raises(DataError, match="do not belong"):
        regression().score(Predictions(torch.zeros(2)), torch.zeros(2))
    with pytest.raises(DataError, match="none of 2"):
        regression().score(Predictions(torch.zeros(2, 1)), torch.full((2,), math.nan))


@pytest.mark.parametrize(
    ("options", "hint"),
    [({"loss": "mean"}, "mae"), ({"head": "linaer"}, "linear"), ({"scale": (1.0, -1.0)}, "deviation >= 0"),
     ({"scale": (math.nan, 1.0)}, "deviation"), ({"scale": 3.0}, "deviation")],
)  # fmt: skip
def test_what_is_wrong_is_said(options: dict, hint: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(UsageError) as caught:
        regression(**options)
    assert hint in caught.value.hint


def test_targets_that_never_vary_are_only_centred() -> None:
    assert regression(scale=(5.0, 0.0)).head(INFO).spread == 1
