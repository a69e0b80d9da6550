"""Probes of many samples, which are read block by block, against the same probes of few and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from graft import gram, registry, rows
from graft.errors import DataError, ResourceError, UsageError
from graft.probes import _choose, _data
from graft.probes.centroid import centroid
from graft.probes.knn import knn
from graft.probes.lda import GRID, lda
from graft.probes.logistic import logistic
from graft.types import Probe

torch.set_num_threads(1)
BLOCKWISE = ("centroid", "lda", "logistic", "ridge")
Pair = tuple[Tensor, Tensor]


def blobs(n: int, classes: int, dim: int = 12, noise: float = 2.0, seed: int = 0) -> Pair:
    """Overlapping clouds of unequal sizes, with features of unequal scales that are not centred."""
    rng = np.random.default_rng(seed)
    targets = np.minimum(rng.integers(0, classes, n), rng.integers(0, classes, n))
    means = np.random.default_rng(7).normal(size=(classes, dim))
    x = (means[targets] + noise * rng.normal(size=(n, dim))) * np.linspace(0.1, 5, dim) + 3
    return torch.tensor(x, dtype=torch.float32), torch.tensor(targets)


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LARGE", 0)
    monkeypatch.setattr(rows, "CELLS", 2000)


def probabilities(probe: Probe, data: Pair, classes: int, asked: Tensor) -> np.ndarray:
    return np.asarray(probe.logits(probe.fit(*data, classes), asked).softmax(1).numpy())


def scaled(data: Pair, asked: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    scaler = StandardScaler().fit(data[0].double().numpy())
    return scaler.transform(data[0].double().numpy()), data[1].numpy(), scaler.transform(asked.double().numpy())


# ----------------------------------------------------------------------------------------------------------------- lda


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("shrinkage", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("size", ["few", "many", "fewer than features"])
def test_lda_is_scikit_learns(classes: int, shrinkage: float, size: str, request: pytest.FixtureRequest) -> None:
    if size == "many":
        request.getfixturevalue("many")
    n, dim = (30, 50) if size == "fewer than features" else (300, 12)
    data, asked = blobs(n, classes, dim), blobs(100, classes, dim, seed=1)[0]
    z, y, new = scaled(data, asked)
    for solver in ("lsqr", "eigen"):
        model = LinearDiscriminantAnalysis(solver=solver, shrinkage=shrinkage).fit(z, y)
        arrays = lda(shrinkage=shrinkage).fit(*data, classes)
        mine = lda(shrinkage=shrinkage).logits(arrays, asked).numpy()
        theirs = model.decision_function(new)
        theirs = np.stack([np.zeros(100), theirs], 1) if classes == 2 else theirs
        tolerance = 1e-3 if size == "many" else 1e-7
        np.testing.assert_allclose(mine - mine[:, :1], theirs - theirs[:, :1], atol=tolerance, rtol=tolerance)
        assert (mine.argmax(1) == model.predict(new)).mean() > 0.99


def test_lda_has_scikit_learns_weights() -> None:
    data = blobs(300, 4)
    z, y, _ = scaled(data, data[0])
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1).fit(z, y)
    arrays = lda(shrinkage=0.1).fit(*data, 4)
    deviation = data[0].double().std(0, correction=0).numpy()
    np.testing.assert_allclose(arrays["weight"].numpy() * deviation, model.coef_, atol=1e-8)


def test_lda_finds_a_shrinkage_near_the_best_of_the_grid() -> None:
    for n in (60, 3000):
        data, (asked, truth) = blobs(n, 3, 30), blobs(2000, 3, 30, seed=9)
        hits = {s: (probabilities(lda(shrinkage=s), data, 3, asked).argmax(1) == truth.numpy()).mean() for s in GRID}
        mine = (probabilities(lda(), data, 3, asked).argmax(1) == truth.numpy()).mean()
        assert mine > max(hits.values()) - 0.02


def test_lda_refuses_a_shrinkage_out_of_range() -> None:
    for wrong in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(UsageError, match="shrinkage="):
            lda(shrinkage=wrong)


@pytest.mark.parametrize("deviation", [0.1, 1e-2, 3e-3, 1e-3, 1e-4, 1e-5, 0.0])
@pytest.mark.parametrize("shrinkage", [None, 0.01])
@pytest.mark.usefixtures("many")
def test_lda_of_many_samples_of_tight_classes(deviation: float, shrinkage: float | None) -> None:
    """Float32 products would round away what is within the classes."""
    rng, y = np.random.default_rng(2), np.arange(900) % 10
    x = torch.tensor(rng.normal(size=(10, 40))[y] + deviation * rng.normal(size=(900, 40)), dtype=torch.float32)
    probe, targets = lda(shrinkage=shrinkage), torch.tensor(y)
    said, exact = (probe.logits(probe.fit(data, targets, 10), x) for data in (x, x.double()))
    assert torch.equal(said.argmax(1), targets)
    assert shrinkage is None or float((said - exact).abs().max()) <= 1e-3 * float(exact.abs().max())


@pytest.mark.parametrize("n", [40, 400])
def test_a_shrinkage_that_leaves_a_singular_matrix_is_refused(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LARGE", 400)
    x, y = blobs(n, 2, 6)
    x[:, 3:] = x[:, :3]
    with pytest.raises(UsageError, match="shrinkage=1e-300 is too small") as caught:
        lda(shrinkage=1e-300).fit(x, y, 2)
    assert caught.value.hint == "leave it out"


# -------------------------------------------------------------------------------------------------------- many samples


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.usefixtures("many")
def test_logistic_of_many_goes_to_the_end_where_classes_lie_well_apart(classes: int) -> None:
    """There the loss is small, and so is all that is left of its gradient."""
    data = blobs(600, classes, noise=0.1)
    z, y, _ = scaled(data, data[0])
    model = LogisticRegression(C=100, tol=1e-9, max_iter=5000).fit(z, y)
    assert objective(logistic(c=100.0).fit(*data, classes), data, 100) <= objective_of(model, z, y, 100) * (1 + 1e-3)


@pytest.mark.parametrize("name", BLOCKWISE)
@pytest.mark.usefixtures("many")
def test_a_mean_that_is_far_away_changes_little(name: str) -> None:
    """Where float32 would keep too few digits of what varies, float64 is taken."""
    probe: Probe = registry.find("probe", name)()
    x, y = blobs(600, 3)
    far = (x.double() + 3e6 * x.double().std(0)).float()
    assert rows.standardized(far).dtype == torch.float64 and rows.standardized(x).dtype == torch.float32
    once, again = (probabilities(probe, (part, y), 3, part) for part in (far, far.double()))
    np.testing.assert_allclose(once, again, atol=1e-6)


@pytest.mark.parametrize("name", ["centroid", "knn"])
@pytest.mark.parametrize("n", [60, 600])
def test_the_scale_of_features_is_nothing_to_directions(name: str, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LARGE", 600)
    probe, (x, y) = registry.find("probe", name)(), blobs(n, 3)
    once = probabilities(probe, (x, y), 3, x)
    for scale in (1e-13, 1e-30):
        small = x.double() * scale
        again = probabilities(probe, (small, y), 3, small)
        np.testing.assert_allclose(again, once, atol=0.02)  # other samples are held out
    zeros = probe.logits(probe.fit(x, y, 3), torch.zeros(2, 12))
    assert torch.isfinite(zeros).all()


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("c", [1e-3, 0.1, 10.0])
@pytest.mark.usefixtures("many")
def test_logistic_of_many_is_scikit_learns(classes: int, c: float) -> None:
    data, asked = blobs(600, classes), blobs(200, classes, seed=1)[0]
    z, y, new = scaled(data, asked)
    model = LogisticRegression(C=c, tol=1e-8, max_iter=5000).fit(z, y)
    arrays = logistic(c=c).fit(*data, classes)
    mine = logistic(c=c).logits(arrays, asked).softmax(1).numpy()
    np.testing.assert_allclose(mine, model.predict_proba(new), atol=2e-3)
    assert objective(arrays, data, c) <= objective_of(model, z, y, c) * (1 + 1e-6)


def objective(arrays: dict[str, Tensor], data: Pair, c: float) -> float:
    """scikit-learn's, where the two classes of two share one weight."""
    x, y = data
    deviation = x.double().std(0, correction=0)
    loss = torch.nn.functional.cross_entropy(x.double() @ arrays["weight"].T + arrays["bias"], y, reduction="sum")
    weight = arrays["weight"] * deviation
    squares = (weight[1] - weight[0]).square().sum() if len(weight) == 2 else weight.square().sum()
    return float(c * loss + squares / 2)


def objective_of(model: LogisticRegression, z: np.ndarray, y: np.ndarray, c: float) -> float:
    loss = -np.log(model.predict_proba(z)[np.arange(len(y)), y]).sum()
    return float(c * loss + np.square(model.coef_).sum() / 2)


@pytest.mark.parametrize("name", BLOCKWISE)
def test_many_samples_come_to_what_few_come_to(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strengths are chosen on other samples, so probabilities are close and accuracies equal."""
    probe: Probe = registry.find("probe", name)()
    data, (asked, truth) = blobs(1500, 4), blobs(3000, 4, seed=3)
    few = probabilities(probe, data, 4, asked)
    monkeypatch.setattr(rows, "LARGE", 0)
    blocks = probabilities(probe, data, 4, asked)
    assert np.abs(few - blocks).mean() < 0.02
    hits, more = ((p.argmax(1) == truth.numpy()).mean() for p in (few, blocks))
    assert abs(hits - more) < 0.01


@pytest.mark.parametrize("name", BLOCKWISE)
@pytest.mark.usefixtures("many")
def test_the_order_of_many_samples_changes_nothing_but_rounding(name: str) -> None:
    probe: Probe = registry.find("probe", name)()
    (x, y), asked = blobs(700, 3), blobs(50, 3, seed=2)[0]
    order = torch.randperm(700, generator=torch.Generator().manual_seed(0))
    once, again = probabilities(probe, (x, y), 3, asked), probabilities(probe, (x[order], y[order]), 3, asked)
    np.testing.assert_allclose(once, again, atol=2e-3)


@pytest.mark.parametrize("name", BLOCKWISE)
@pytest.mark.usefixtures("many")
def test_many_samples_of_half_precision_gaps_and_rare_classes(name: str) -> None:
    probe: Probe = registry.find("probe", name)()
    x, y = blobs(400, 3)
    y = torch.tensor([0, 2, 5])[y]
    y[7] = 6  # the only one of its class
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        said = probe.logits(probe.fit(x.to(dtype), y, 8), x.to(dtype))
        assert torch.isfinite(said).all() and said[:, [1, 3, 4, 7]].max() <= _data.ABSENT
        assert (said.argmax(1) == y).double().mean() > 0.5


@pytest.mark.parametrize("name", BLOCKWISE)
@pytest.mark.usefixtures("many")
def test_as_many_classes_as_can_be_held_out_of_none(name: str) -> None:
    probe: Probe = registry.find("probe", name)()
    x = blobs(40, 2, 6)[0]
    said = probe.logits(probe.fit(x, torch.arange(40), 40), x)
    assert torch.isfinite(said).all()


@pytest.mark.usefixtures("many")
def test_a_sample_of_many_that_is_not_finite_is_named() -> None:
    x, y = blobs(400, 3)
    x[123, 4] = torch.nan
    for name in BLOCKWISE:
        with pytest.raises(DataError, match="sample 123 "):
            registry.find("probe", name)().fit(x, y, 3)


def test_probes_share_the_matrix_of_one_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LARGE", 0)
    x, y = blobs(400, 3)
    made: list[int] = []
    monkeypatch.setattr(gram, "standardized", lambda features: made.append(1) or rows.standardized(features))
    for name in ("lda", "ridge", "logistic"):
        registry.find("probe", name)().fit(x, y, 3)
    assert len(made) == 1


def test_what_cannot_be_held_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_data, "LEAST", 0)
    monkeypatch.setenv("GRAFT_MEMORY", "0.00001")  # 10,737 bytes
    x, y = blobs(200, 3)
    with pytest.raises(ResourceError, match=r"\(200, 12\) take this probe .* GB, and rows may take") as caught:
        registry.find("probe", "knn")().fit(x, y, 3)
    assert "ridge" in caught.value.hint
    with pytest.raises(ResourceError) as caught:
        registry.find("probe", "ridge")().fit(x[:20].repeat(1, 10), y[:20], 3)
    assert "GRAFT_MEMORY=1" in caught.value.hint and "ridge" not in caught.value.hint
    knn().fit(x[:100], y[:100], 3)


def test_those_drawn_are_of_all_classes_whatever_their_order() -> None:
    x, y = blobs(1000, 4)
    labels = y.numpy()
    few = _choose.drawn(x, labels, 500)
    assert len(set(few)) == 500 and (np.diff(labels[few]) >= 0).all()
    share = np.bincount(labels[few]) / np.bincount(labels)
    assert share == pytest.approx(0.5, abs=0.05)
    order = np.random.default_rng(0).permutation(1000)
    assert (order[_choose.drawn(x[order], labels[order], 500)] == few).all()


@pytest.mark.parametrize("name", BLOCKWISE)
@pytest.mark.usefixtures("many")
def test_one_fold_of_very_many_is_enough(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    probe: Probe = registry.find("probe", name)()
    data, asked = blobs(3000, 4), blobs(500, 4, seed=3)[0]
    five = probabilities(probe, data, 4, asked)
    monkeypatch.setattr(_choose, "ENOUGH", 1000)
    assert np.abs(probabilities(probe, data, 4, asked) - five).mean() < 0.02


def test_a_given_scale_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LARGE", 0)
    data = blobs(300, 3)
    assert centroid(scale=3.0).fit(*data, 3)["scale"].item() == 3.0
