"""Rankers against brute force: refits, dense Gaussians, naive loops and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import multivariate_normal
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import Ridge

from graft.errors import DataError, UsageError
from graft.evidence import Array, Evidence, Labels, Score, accuracy
from graft.loo import GRID, fit_ridge, loo_predictions
from graft.ranking.gbc import gbc
from graft.ranking.hscore import hscore
from graft.ranking.knn import knn
from graft.ranking.leep import leep
from graft.ranking.logme import LOG_T, logme
from graft.ranking.loo_ridge import loo_ridge
from graft.ranking.nleep import nleep
from graft.ranking.static import static

SHAPES = [(20, 50), (24, 24), (40, 7)]  # N < D, N = D, N > D


def made(n: int, d: int, classes: int = 3, rank: int | None = None, pull: float = 0.8, seed: int = 0) -> Evidence:
    """Gaussian classes with a mean far from 0; `rank` directions at most vary within them."""
    rng = np.random.default_rng(seed)
    targets = rng.permutation(np.arange(n) % classes)
    latent = rng.normal(size=(n, d)) + pull * rng.normal(size=(classes, d))[targets]
    if rank is not None:
        latent = latent[:, :rank] @ rng.normal(size=(rank, d))
    return Evidence(latent + rng.normal(size=d) * 3, targets, classes)


def one_hot(evidence: Evidence) -> Array:
    return np.eye(evidence.classes)[evidence.targets]


# ------------------------------------------------------------------------------------------------------------- evidence


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_spectrum_is_the_singular_value_decomposition(n: int, d: int) -> None:
    evidence = made(n, d)
    u, w = np.concatenate([block.numpy() for _, block in evidence.spectrum.left()]), evidence.spectrum.w
    left, s, _ = np.linalg.svd(evidence.features - evidence.spectrum.rows.mean, full_matrices=False)
    k = min(n - 1, d)
    assert u.shape == (n, k) and w == pytest.approx(s[:k] ** 2)
    np.testing.assert_allclose(np.abs((left[:, :k] * u).sum(0)), 1, atol=1e-9)
    np.testing.assert_allclose(u.sum(0), 0, atol=1e-9)


def test_spectrum_keeps_only_directions_that_vary() -> None:
    assert len(made(40, 30, rank=4).spectrum.w) == 4
    constant = Evidence(np.full((9, 5), 0.1) * np.arange(1, 6), np.arange(9) % 3, 3)
    assert len(constant.spectrum.w) == 0


@pytest.mark.parametrize("where", [3, 7])
def test_a_feature_that_is_not_finite_is_named_by_its_row(where: int) -> None:
    features = np.ones((9, 2))
    features[where:, 1] = np.nan
    with pytest.raises(DataError, match=f"row {where} "):
        Evidence(features, np.arange(9) % 3, 3)


def test_evidence_refuses_what_does_not_fit_together() -> None:
    x, y = np.ones((4, 2)), np.array([0, 1, 0, 1])
    for features, targets, classes, source in (
        (x, y[:3], 2, None),
        (x[:, 0], y, 2, None),
        (x[:0], y[:0], 2, None),
        (x, y, 1, None),
        (x, y - 1, 2, None),
        (x, y * 0, 2, None),
        (x[:1], y[:1], 2, None),
        (x, y, 2, x[:3]),
    ):
        with pytest.raises(DataError) as caught:
            Evidence(features, targets, classes, source)
        assert caught.value.hint


def test_half_precision_features_are_computed_in_double() -> None:
    evidence = made(30, 8)
    assert Evidence(evidence.features.astype(np.float16), evidence.targets, 3).features.dtype == np.float64


def test_accuracy_has_the_binomial_standard_error() -> None:
    score = accuracy(np.array([True, False, True, True]))
    assert score[:2] == pytest.approx((0.75, (0.75 * 0.25 / 4) ** 0.5))
    assert score.each is not None and score.each.tolist() == [1, 0, 1, 1]


# ------------------------------------------------------------------------------------------------------------ loo ridge


def refitted(evidence: Evidence, lam: float) -> Array:
    """(N, C) what scikit-learn's ridge says of each sample, fitted without it."""
    x, y = evidence.features, one_hot(evidence)
    rows = np.arange(len(x))
    return np.stack([Ridge(lam, solver="svd").fit(x[rows != i], y[rows != i]).predict(x[i : i + 1])[0] for i in rows])


@pytest.mark.parametrize(("n", "d"), SHAPES)
@pytest.mark.parametrize("lam", [0.03, 5.0, 1e3])
def test_leave_one_out_equals_refits(n: int, d: int, lam: float) -> None:
    evidence = made(n, d)
    np.testing.assert_allclose(fit_ridge(evidence, [lam]).scores, refitted(evidence, lam), atol=1e-8)


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_the_penalty_is_the_best_of_the_grid_by_refits(n: int, d: int) -> None:
    evidence = made(n, d, pull=0.5)
    lambdas = GRID[::3] * evidence.spectrum.w.mean()
    tried = {lam: refitted(evidence, lam) for lam in lambdas}
    hits = {lam: (scores.argmax(1) == evidence.targets).mean() for lam, scores in tried.items()}
    error = {lam: -np.square(scores - one_hot(evidence)).sum() for lam, scores in tried.items()}
    best = max(lambdas, key=lambda lam: (hits[lam], error[lam]))
    assert loo_predictions(evidence, lambdas)[0] == best
    assert loo_ridge(evidence).value >= hits[best]


@pytest.mark.parametrize(("n", "d", "rank"), [(*shape, None) for shape in SHAPES] + [(30, 40, 5)])
def test_weights_are_those_of_scikit_learn(n: int, d: int, rank: int | None) -> None:
    evidence = made(n, d, rank=rank)
    fit = fit_ridge(evidence)
    reference = Ridge(fit.lam, solver="svd").fit(evidence.features, one_hot(evidence))
    np.testing.assert_allclose(fit.weight.T, reference.coef_, atol=1e-9)
    np.testing.assert_allclose(fit.bias, reference.intercept_, atol=1e-9)


def test_penalties_must_be_positive() -> None:
    for wrong in ([], [0.0], [-1.0], [float("nan")]):
        with pytest.raises(UsageError):
            fit_ridge(made(12, 3), wrong)


def test_noise_gets_no_credit_for_its_width() -> None:
    """Balanced random labels: features of 400 columns fit 60 samples perfectly, and foretell nothing."""
    evidence = made(60, 400, pull=0.0)
    assert loo_ridge(evidence).value < 1 / 3 + 3 * (2 / 9 / 60) ** 0.5


# ---------------------------------------------------------------------------------------------------------------- logme


def brute_log_evidence(evidence: Evidence) -> float:
    """The N - 1 contrasts of each class as one dense Gaussian, maximised over t by the grid and scipy."""
    n = len(evidence.targets)
    contrasts = np.linalg.svd(np.eye(n) - 1 / n)[0][:, : n - 1]
    x = contrasts.T @ evidence.features
    scale = evidence.spectrum.w.mean()

    def minus(log_t: float, y: Array) -> float:
        covariance = np.eye(n - 1) + x @ x.T / (scale * np.exp(log_t))
        noise = y @ np.linalg.solve(covariance, y) / (n - 1)
        return -float(multivariate_normal(cov=covariance * noise, allow_singular=True).logpdf(y))

    def best(y: Array) -> float:
        start = LOG_T[np.argmin([minus(log_t, y) for log_t in LOG_T])]
        bounds = (max(start - 0.5, LOG_T[0]), min(start + 0.5, LOG_T[-1]))
        return -minimize_scalar(minus, bounds=bounds, args=(y,), method="bounded", options={"xatol": 1e-9}).fun

    return float(np.mean([best(contrasts.T @ column) for column in one_hot(evidence).T])) / n


@pytest.mark.parametrize(("n", "d", "rank"), [(*shape, None) for shape in SHAPES] + [(24, 40, 3), (40, 12, 3)])
@pytest.mark.parametrize("pull", [0.0, 0.8])
def test_logme_is_the_gaussian_log_evidence(n: int, d: int, rank: int | None, pull: float) -> None:
    evidence = made(n, d, rank=rank, pull=pull)
    assert logme(evidence).value == pytest.approx(brute_log_evidence(evidence), abs=1e-6)


def reference_logme(x: Array, targets: Labels, classes: int) -> float:
    """The authors' fixed point: D / 2 log(alpha), but a determinant of k = min(N, D) directions only."""
    (n, d), k = x.shape, min(x.shape)
    u, s, vh = np.linalg.svd(x, full_matrices=False)
    sigma, values = s**2, []
    for y in np.eye(classes)[targets].T:
        z2, alpha, beta = (u.T @ y) ** 2, 1.0, 1.0
        rest = max((y**2).sum() - z2.sum(), 0.0)
        for _ in range(11):
            t = alpha / beta
            m2, gamma = (sigma * z2 / (t + sigma) ** 2).sum(), (sigma / (sigma + t)).sum()
            residual = (z2 / (1 + sigma / t) ** 2).sum() + rest
            alpha, beta = gamma / (m2 + 1e-5), (n - gamma) / (residual + 1e-5)
        value = d / 2 * np.log(alpha) + n / 2 * np.log(beta) - 0.5 * np.log(alpha + beta * sigma[:k]).sum()
        values.append((value - beta / 2 * residual - alpha / 2 * m2 - n / 2 * np.log(2 * np.pi)) / n)
    return float(np.mean(values))


def test_logme_has_not_the_fault_of_the_reference_code_for_few_samples() -> None:
    """Labels at random, N = 100, D = 1280: the missing term makes the authors' value grow with the width."""
    rng = np.random.default_rng(0)
    x, targets = rng.normal(size=(100, 1280)), np.arange(100) % 10
    assert reference_logme(x, targets, 10) > 10
    assert logme(Evidence(x, targets, 10)).value == pytest.approx(-0.2, abs=0.05)
    assert logme(Evidence(x[:, :320], targets, 10)).value == pytest.approx(-0.2, abs=0.05)


def test_logme_without_features_is_the_evidence_of_the_frequencies() -> None:
    evidence = Evidence(np.ones((10, 3)), np.arange(10) % 2, 2)
    expected = -0.5 * 9 / 10 * (np.log(2 * np.pi * 2.5 / 9) + 1)
    assert logme(evidence).value == pytest.approx(expected, abs=1e-12)


# -------------------------------------------------------------------------------------------------------- h-score, gbc


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_hscore_is_the_dense_formula_with_scikit_learns_ledoit_wolf(n: int, d: int) -> None:
    evidence = made(n, d)
    shrunk = LedoitWolf().fit(evidence.features)
    centred = evidence.features - evidence.features.mean(0)
    means = np.stack([centred[evidence.targets == c].mean(0) for c in range(3)])[evidence.targets]
    dense = np.trace(np.linalg.solve(shrunk.covariance_, means.T @ means / n))
    assert hscore(evidence).value == pytest.approx((1 - shrunk.shrinkage_) * dense / 2, rel=1e-9)


def test_gbc_is_the_naive_double_loop() -> None:
    evidence = made(30, 5, pull=1.0)
    _, _, axes = np.linalg.svd(evidence.features - evidence.features.mean(0), full_matrices=False)
    parts = [(evidence.features @ axes.T)[evidence.targets == c] for c in range(3)]
    total = 0.0
    for i, a in enumerate(parts):
        for j, b in enumerate(parts):
            va, vb = a.var(0, ddof=1), b.var(0, ddof=1)
            middle = (va + vb) / 2
            squares = np.square(a.mean(0) - b.mean(0))
            distance = (squares / middle).sum() / 8 + np.log(middle / np.sqrt(va * vb)).sum() / 2
            total += np.exp(-distance) * (i != j)
    assert gbc(evidence).value == pytest.approx(-total / 6, rel=1e-9)


def test_gbc_gives_a_class_of_one_sample_the_pooled_variance() -> None:
    evidence = Evidence(np.array([[0.0], [2.0], [9.0]]), np.array([0, 0, 1]), 2)
    assert gbc(evidence).value == pytest.approx(-np.exp(-64 / (8 * 2)), rel=1e-9)
    with pytest.raises(DataError, match="two samples"):
        gbc(Evidence(np.eye(3), np.arange(3), 3))


# ----------------------------------------------------------------------------------------------------- knn, leep, nleep


def naive_knn(evidence: Evidence, k: int) -> float:
    x = evidence.features / np.linalg.norm(evidence.features, axis=1, keepdims=True)
    right = 0
    for i, target in enumerate(evidence.targets):
        others = sorted((float(-x[i] @ x[j]), j) for j in range(len(x)) if j != i)[:k]
        votes = np.zeros(evidence.classes)
        for minus_similarity, j in others:
            votes[evidence.targets[j]] += np.exp(-minus_similarity / 0.07)
        right += votes.argmax() == target
    return right / len(x)


@pytest.mark.parametrize(("n", "d"), SHAPES)
@pytest.mark.parametrize("k", [1, 5, 1000])
def test_knn_is_the_naive_loop(n: int, d: int, k: int) -> None:
    evidence = made(n, d)
    assert knn(evidence, k=k).value == pytest.approx(naive_knn(evidence, k), abs=1e-12)


def test_knn_by_blocks_is_knn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = made(60, 10)
    at_once = knn(evidence)
    monkeypatch.setattr("graft.ranking.knn._CELLS", 7 * 60)
    blocks = knn(evidence)
    assert at_once.each is not None and blocks.each is not None and np.array_equal(at_once.each, blocks.each)


@pytest.mark.parametrize(("smallest", "k"), [(2, 5), (9, 9), (40, 20)])
def test_knn_takes_as_many_neighbours_as_the_smallest_class_has(smallest: int, k: int) -> None:
    targets = np.repeat([0, 1, 2], [smallest, 45, 50])
    rng = np.random.default_rng(0)
    evidence = Evidence(rng.normal(size=(len(targets), 6)) + 0.7 * targets[:, None], targets, 4)
    assert knn(evidence).value == knn(evidence, k=k).value == pytest.approx(naive_knn(evidence, k))


def test_knn_refuses_no_neighbours() -> None:
    for wrong in ({"k": 0}, {"k": -3}, {"temperature": 0.0}):
        with pytest.raises(UsageError):
            knn(made(12, 3), **wrong)  # type: ignore[arg-type]


def test_leep_is_the_naive_loop() -> None:
    rng = np.random.default_rng(0)
    evidence = made(30, 4)
    source = rng.dirichlet(np.ones(6), 30)
    joint = np.zeros((3, 6))
    for row, target in zip(source, evidence.targets, strict=True):
        joint[target] += row / 30
    logs = []
    for row, target in zip(source, evidence.targets, strict=True):
        logs.append(np.log(sum(joint[target, z] / joint[:, z].sum() * row[z] for z in range(6))))
    score = leep(Evidence(evidence.features, evidence.targets, 3, source))
    assert score.value == pytest.approx(np.mean(logs), abs=1e-12)
    assert score.se == pytest.approx(np.std(logs) / 30**0.5) and score.each == pytest.approx(np.array(logs))


def test_leep_of_one_source_class_is_minus_the_entropy_and_of_the_labels_is_zero() -> None:
    evidence = made(30, 4)
    entropy = leep(Evidence(evidence.features, evidence.targets, 3, np.ones((30, 1)))).value
    assert entropy == pytest.approx(-np.log(3))
    assert leep(Evidence(evidence.features, evidence.targets, 3, one_hot(evidence))).value == 0


def test_leep_says_what_to_do_without_a_head_or_with_logits() -> None:
    evidence = made(12, 3)
    with pytest.raises(DataError, match="without a head") as caught:
        leep(evidence)
    assert "loo_ridge" in caught.value.hint
    for wrong in (one_hot(evidence) * 5, one_hot(evidence) * np.nan):
        with pytest.raises(DataError, match="not probabilities"):
            leep(Evidence(evidence.features, evidence.targets, 3, wrong))


def test_nleep_of_far_clusters_is_zero_and_repeats_with_its_seed() -> None:
    far = made(60, 10, pull=50.0)
    assert nleep(far).value == pytest.approx(0, abs=1e-6)
    near = made(60, 10)
    assert nleep(near).value == nleep(near).value < nleep(far).value


# --------------------------------------------------------------------------------------------------------------- static


def test_static_never_looks_at_the_data_and_puts_size_before_accuracy() -> None:
    x, y = np.eye(4), np.arange(4) % 2

    def score(parameters: int, known: float | None = None) -> float:
        value: Score = static(Evidence(x, y, 2, None, parameters, known))
        return value.value

    assert score(0) == 0 < score(10_000) < score(25_000_000, 0.7) < score(25_000_000, 0.76) < score(25_500_000)
    with pytest.raises(DataError, match="76.1"):
        score(1, 76.1)
