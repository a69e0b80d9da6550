"""Probes against scikit-learn, fitted to the same standardised samples in the same order.

Where a tolerance is 1e-6, the arithmetic differs only in the order of sums. Predicted classes are equal exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.preprocessing import StandardScaler, normalize
from sklearn.svm import SVC, LinearSVC
from torch import Tensor

from graft import registry
from graft.errors import UsageError
from graft.evidence import Evidence
from graft.loo import fit_ridge
from graft.probes import _choose, _data
from graft.probes.centroid import centroid
from graft.probes.forest import _floor32, forest
from graft.probes.knn import knn
from graft.probes.logistic import logistic
from graft.probes.ridge import ridge
from graft.probes.svm_linear import svm_linear
from graft.probes.svm_rbf import svm_rbf
from graft.types import Probe

torch.set_num_threads(1)
Pair = tuple[Tensor, Tensor]


def blobs(n: int, classes: int, dim: int = 12, noise: float = 1.0, seed: int = 0) -> Pair:
    """Overlapping clouds of unequal sizes, with features of unequal scales that are not centred."""
    rng = np.random.default_rng(seed)
    targets = np.minimum(rng.integers(0, classes, n), rng.integers(0, classes, n))
    targets[:classes] = np.arange(classes)
    means = np.random.default_rng(7).normal(size=(classes, dim))
    x = (means[targets] + noise * rng.normal(size=(n, dim))) * np.linspace(0.1, 5, dim) + 3
    return torch.tensor(x, dtype=torch.float32), torch.tensor(targets)


CASES = pytest.mark.parametrize("classes", [2, 3, 5])


@pytest.fixture
def asked() -> Tensor:
    return blobs(200, 5, seed=1)[0]


def ordered(data: Pair, classes: int) -> tuple[Any, Any]:
    """Samples and targets in the probes' own order."""
    known = _data.known(*data, classes)
    return known.x, known.y


def logits_of(probe: Probe, data: Pair, classes: int, asked: Tensor) -> tuple[dict[str, Tensor], Any]:
    arrays = probe.fit(*data, classes)
    return arrays, probe.logits(arrays, asked).numpy()


def columns(decision: Any) -> Any:
    return np.stack([-decision / 2, decision / 2], 1) if decision.ndim == 1 else decision


# -------------------------------------------------------------------------------------------------------------- affine


@CASES
def test_ridge_is_scikit_learns_at_the_penalty_of_least_left_out_error(classes: int, asked: Tensor) -> None:
    data = blobs(90, classes)
    arrays, logits = logits_of(ridge(), data, classes, asked)
    x, y = ordered(data, classes)
    scaler = StandardScaler().fit(x)
    z, new = scaler.transform(x), scaler.transform(asked.double().numpy())
    lam = fit_ridge(Evidence(z, y, classes)).lam
    expected = Ridge(alpha=lam).fit(z, np.eye(classes)[y]).predict(new)
    scale = np.ptp(logits) / np.ptp(expected)  # the temperature
    assert logits == pytest.approx(expected * scale, abs=1e-6 * scale) and scale > 0
    assert (logits.argmax(1) == RidgeClassifier(alpha=lam).fit(z, y).predict(new)).all()
    assert set(arrays) == {"weight", "bias"} and arrays["weight"].shape == (classes, 12)


@CASES
def test_logistic_is_scikit_learns(classes: int, asked: Tensor) -> None:
    data = blobs(90, classes)
    _, logits = logits_of(logistic(c=0.3), data, classes, asked)
    x, y = ordered(data, classes)
    scaler = StandardScaler().fit(x)
    model = LogisticRegression(C=0.3, tol=1e-6, max_iter=1000).fit(scaler.transform(x), y)
    new = scaler.transform(asked.double().numpy())
    assert torch.tensor(logits).softmax(1).numpy() == pytest.approx(model.predict_proba(new), abs=1e-6)
    assert (logits.argmax(1) == model.predict(new)).all()


def test_logistic_finds_the_strength_that_the_noise_asks_for() -> None:
    """Close to the best of the grid on new samples, with labels that are half noise and with clean ones."""
    for noise in (0.5, 4.0):
        (x, y), (new, truth) = blobs(150, 3, noise=noise), blobs(600, 3, noise=noise, seed=5)
        losses = {}
        for c in (None, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0):
            _, logits = logits_of(logistic(c=c), (x, y), 3, new)
            losses[c] = float(torch.nn.functional.cross_entropy(torch.tensor(logits), truth))
        assert losses[None] < min(loss for c, loss in losses.items() if c) + 0.05


@CASES
def test_svm_linear_is_scikit_learns_times_a_temperature(classes: int, asked: Tensor) -> None:
    data = blobs(90, classes)
    _, logits = logits_of(svm_linear(c=0.01), data, classes, asked)
    x, y = ordered(data, classes)
    scaler = StandardScaler().fit(x)
    model = LinearSVC(C=0.01, random_state=0).fit(scaler.transform(x), y)
    new = scaler.transform(asked.double().numpy())
    expected = columns(model.decision_function(new))
    scale = np.ptp(logits) / np.ptp(expected)
    assert logits == pytest.approx(expected * scale, abs=1e-6 * scale) and scale > 0
    assert (logits.argmax(1) == model.predict(new)).all()


# --------------------------------------------------------------------------------------------------------------- other


@pytest.mark.parametrize("classes", [2, 3, 9])
@pytest.mark.parametrize("c", [0.1, 5.0, None])
def test_svm_rbf_is_scikit_learns(classes: int, c: float | None, asked: Tensor) -> None:
    data = blobs(120, classes)
    arrays, logits = logits_of(svm_rbf(c=c), data, classes, asked)
    x, y = ordered(data, classes)
    scaler = StandardScaler().fit(x)
    z, new = scaler.transform(x), scaler.transform(asked.double().numpy())
    machines = [SVC(C=value, break_ties=True).fit(z, y) for value in ([c] if c else [0.1, 1.0, 10.0, 100.0])]
    expected = [columns(machine.decision_function(new)) for machine in machines]
    mine = logits / arrays["temperature"].item()
    errors = [np.abs(mine - values).max() for values in expected]
    assert min(errors) < 1e-6
    assert (logits.argmax(1) == machines[int(np.argmin(errors))].predict(new)).all()


def test_svm_rbf_of_a_class_without_samples(asked: Tensor) -> None:
    x, y = blobs(90, 3)
    _, dense = logits_of(svm_rbf(), (x, y), 3, asked)
    _, gaps = logits_of(svm_rbf(), (x, torch.tensor([0, 2, 5])[y]), 7, asked)
    assert (gaps[:, [0, 2, 5]] == dense).all() and (gaps[:, [1, 3, 4, 6]] == _data.ABSENT).all()


@CASES
def test_centroid_is_scikit_learns_of_the_transformed_features(classes: int, asked: Tensor) -> None:
    data = blobs(90, classes)
    arrays, logits = logits_of(centroid(), data, classes, asked)
    x, y = ordered(data, classes)
    z, new = (normalize(rows - x.mean(0)) for rows in (x, asked.double().numpy()))
    model = NearestCentroid().fit(z, y)
    squares = ((new[:, None] - model.centroids_) ** 2).sum(2)
    assert logits == pytest.approx(-arrays["scale"].item() * squares, abs=1e-6)
    assert (logits.argmax(1) == model.predict(new)).all()
    assert logits_of(centroid(scale=3.0), data, classes, asked)[1] == pytest.approx(-3 * squares, abs=1e-9)


@CASES
@pytest.mark.parametrize("k", [1, 7, 90])
def test_knn_is_scikit_learns(classes: int, k: int, asked: Tensor) -> None:
    data = blobs(90, classes)
    _, logits = logits_of(knn(k=k), data, classes, asked)
    model = KNeighborsClassifier(k, metric="cosine", weights=lambda distances: np.exp((1 - distances) / 0.07))
    model.fit(data[0].double().numpy(), data[1].numpy())
    expected = model.predict_proba(asked.double().numpy())
    assert torch.tensor(logits).softmax(1).numpy() == pytest.approx(expected, abs=1e-6)
    assert (logits.argmax(1) == model.predict(asked.double().numpy())).all()


def test_knn_chooses_the_k_of_best_left_out_accuracy() -> None:
    """By a loop that leaves out one sample after the other."""
    x, y = blobs(70, 3, noise=2.0)
    hits = {}
    for k in (1, 3, 5, 10, 20, 50):
        right = 0
        for i in range(len(x)):
            rest = torch.arange(len(x)) != i
            right += int(logits_of(knn(k=k), (x[rest], y[rest]), 3, x[i : i + 1])[1].argmax() == y[i])
        hits[k] = right
    chosen = int(knn().fit(x, y, 3)["k"])
    assert hits[chosen] == max(hits.values()) > min(hits.values())


def test_knn_asks_for_no_more_neighbours_than_there_are() -> None:
    x, y = blobs(6, 2)
    assert int(knn(k=50).fit(x, y, 2)["k"]) == 6


@CASES
def test_forest_is_scikit_learns(classes: int, asked: Tensor) -> None:
    data = blobs(90, classes, noise=2.0)
    rounded = (data[0].round(decimals=1), data[1])  # samples that are alike make leaves of several classes
    _, logits = logits_of(forest(trees=50), rounded, classes, asked)
    x, y = ordered(rounded, classes)
    model = RandomForestClassifier(50, random_state=0).fit(x, y)
    expected = model.predict_proba(asked.numpy())
    assert torch.tensor(logits).softmax(1).numpy() == pytest.approx(expected, abs=1e-6)
    assert (logits.argmax(1) == model.predict(asked.numpy())).all()


def test_forest_asks_at_the_thresholds_themselves_as_scikit_learn_does() -> None:
    """Features of few values, and samples exactly at and next to the thresholds."""
    x, y = blobs(60, 3)
    x = (x * 3).round() / 3
    probe = forest(trees=20)
    arrays = probe.fit(x, y, 3)
    model = RandomForestClassifier(20, random_state=0).fit(*ordered((x, y), 3))
    thresholds = torch.cat([torch.tensor(tree.tree_.threshold) for tree in model.estimators_])[:400].float()
    at = torch.stack([thresholds.nextafter(torch.tensor(end)) for end in (-torch.inf, torch.inf)] + [thresholds])
    near = at.reshape(-1, 1).expand(-1, 12).contiguous()
    mine = probe.logits(arrays, near).softmax(1).numpy()
    assert mine == pytest.approx(model.predict_proba(near.numpy()), abs=1e-6)


def test_a_threshold_as_float32_answers_as_it_did() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=2000).astype(np.float32)
    exact = x.astype(np.float64) + rng.choice([-1e-12, 0, 1e-12], 2000)
    assert ((x <= _floor32(exact)) == (x <= exact)).all() and (_floor32(exact) <= exact).all()


# ----------------------------------------------------------------------------------------------------------- its parts


def test_folds_take_of_every_class_and_leave_every_class() -> None:
    y = np.array([0] * 7 + [1] * 2 + [2] + [3] * 12)
    fold = _choose.folds(y)
    assert fold[y == 2].tolist() == [-1] and (fold[y != 2] >= 0).all()
    for number in range(_choose.FOLDS):
        assert set(y[fold != number]) == {0, 1, 2, 3}
        assert 0 <= (y[fold == number] == 3).sum() - 12 // _choose.FOLDS <= 1


def test_the_temperature_is_found_and_is_finite_where_all_is_right() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 4)) * 2
    y = (logits + rng.gumbel(size=logits.shape)).argmax(1)  # samples of the softmax of these logits
    assert _choose.temperature(logits / 7, y) == pytest.approx(7, rel=0.05)
    sure = np.eye(3)[np.arange(30) % 3]
    assert 3 < _choose.temperature(sure, np.arange(30) % 3) < 10


def test_samples_have_one_order_wherever_they_come_from() -> None:
    x, y = blobs(40, 3)
    x[3], y[3] = x[5], (y[5] + 1) % 3  # alike, but of another class
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    once, again = _data.known(x, y, 3), _data.known(x[order], y[order], 3)
    assert (once.x == again.x).all() and (once.y == again.y).all()
    signed = _data.known(torch.where(x == 0, -0.0, x), y, 3)
    assert (once.x == signed.x).all()


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [("logistic", "c", 0.0), ("svm_linear", "c", -1.0), ("svm_rbf", "c", float("inf")), ("centroid", "scale", 0.0),
     ("knn", "k", 0), ("forest", "trees", 0)],
)  # fmt: skip
def test_an_option_out_of_its_range_is_refused(name: str, option: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"{option}=") as caught:
        registry.find("probe", name)(**{option: value})
    assert caught.value.hint
