"""The shared Gram matrix: against NumPy on whole matrices, in float64 and in the float32 of many rows."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from graft import gram, rows
from graft.evidence import Evidence
from graft.loo import fit_ridge, loo_predictions
from graft.ranking.gbc import gbc
from graft.ranking.hscore import hscore
from graft.ranking.logme import logme

torch.set_num_threads(1)


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small matrices are taken for large ones, in several blocks."""
    monkeypatch.setattr(rows, "LARGE", 0)
    monkeypatch.setattr(rows, "CELLS", 700)
    monkeypatch.setattr(rows, "GRAM_CELLS", 3000)


def made(n: int = 300, d: int = 20, mean: float = 3.0, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * np.geomspace(0.1, 10, d) + mean
    return torch.tensor(x, dtype=torch.float32)


def whole(x: Tensor) -> np.ndarray:
    z = x.double().numpy()
    return (z - z.mean(0)) / z.std(0)


@pytest.mark.parametrize("mean", [0.0, 3.0, 1e3])
@pytest.mark.usefixtures("many")
def test_moments_and_scatter_are_those_of_the_whole(mean: float) -> None:
    x = made(mean=mean)
    found = rows.standardized(x)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.mean, x.double().mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.deviation, x.double().std(0, correction=0), rtol=1e-9)
    np.testing.assert_allclose(found.scatter(), whole(x).T @ whole(x), atol=300 * 2e-6)


@pytest.mark.usefixtures("many")
def test_products_and_sums_are_those_of_the_whole() -> None:
    x, y = made(), np.arange(300) % 3
    found, weight = rows.standardized(x), np.random.default_rng(1).normal(size=(20, 4))
    said = torch.cat([block for _, block in found.times(weight)]).numpy()
    np.testing.assert_allclose(said, whole(x) @ weight, atol=1e-4)
    np.testing.assert_allclose(found.sums(y, 3), np.eye(3)[y].T @ whole(x), atol=1e-3)
    np.testing.assert_allclose(found.back(whole(x)[:, :2]), whole(x).T @ whole(x)[:, :2], atol=1e-2)


def test_features_are_not_written_to() -> None:
    for dtype in (torch.float32, torch.float64):
        x = made().to(dtype)
        before = x.clone()
        gram.spectrum(rows.centred(x)).lengths()
        gram.spectrum(rows.centred(x[:15])).lengths()
        assert torch.equal(x, before)


@pytest.mark.parametrize("n", [300, 12])
def test_both_sides_of_the_spectrum_say_the_same(n: int) -> None:
    """N < D keeps U, N > D keeps V."""
    x, y = made(n), np.arange(n) % 3
    found = gram.spectrum(rows.centred(x))
    u, s, vt = np.linalg.svd(x.double().numpy() - x.double().mean(0).numpy(), full_matrices=False)
    k = min(n - 1, 20)
    u, s, vt = u[:, :k], s[:k], vt[:k]
    assert found.dual == (n < 20) and found.w == pytest.approx(s**2)
    mine = torch.cat([block for _, block in found.left()]).numpy()
    np.testing.assert_allclose(mine @ mine.T, u @ u.T, atol=1e-9)
    c = np.random.default_rng(0).normal(size=(k, 2))
    np.testing.assert_allclose(found.weight(mine.T @ u @ c), vt.T @ c, atol=1e-9)
    np.testing.assert_allclose(np.concatenate([f for _, f in found.fitted(mine.T @ u @ c)]), u @ c, atol=1e-9)
    np.testing.assert_allclose(mine @ found.coefficients(y, 3), u @ (u.T @ np.eye(3)[y]), atol=1e-9)
    np.testing.assert_allclose(found.lengths(), np.square(u * s).sum(1))
    np.testing.assert_allclose(np.abs(found.components(4)), np.abs(u[:, :4] * s[:4]), atol=1e-8)


@pytest.mark.usefixtures("many")
def test_directions_that_are_rounding_are_left_out() -> None:
    x = made(400, 30)
    x[:, 10:] = x[:, :10] @ torch.randn(10, 20, generator=torch.Generator().manual_seed(0))
    assert len(gram.shared(x).eigen[0]) == 10
    assert len(gram.shared(torch.ones(40, 4)).eigen[0]) == 0


@pytest.mark.usefixtures("many")
def test_scores_of_float32_are_those_of_float64() -> None:
    x, y = made(600, 24).numpy(), np.arange(600) % 3
    x[:, :3] += 6 * np.eye(3)[y] * np.geomspace(0.1, 10, 24)[:3]
    fast, exact = Evidence(x, y, 3), Evidence(x.astype(np.float64), y, 3)
    assert fast.features.dtype == np.float32 and exact.spectrum.rows.dtype == torch.float64
    for ranker in (logme, hscore, gbc):
        assert ranker(fast).value == pytest.approx(ranker(exact).value, abs=2e-5)
    (lam, mine), (expected, scores) = loo_predictions(fast), loo_predictions(exact)
    assert lam == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(mine, scores, atol=2e-5)
    np.testing.assert_allclose(fit_ridge(fast).weight, fit_ridge(exact).weight, atol=1e-4)


def test_extremely_large_and_small_features_stay_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LARGE", 0)
    assert rows.standardized(made() * 1e20).dtype == torch.float64
    assert rows.standardized(made() * 1e-20).dtype == torch.float64
    far = made()
    far[:, 7] += 3e5 * far[:, 7].std()
    for kind in (rows.standardized, rows.centred):
        assert kind(far).dtype == torch.float64 and kind(made()).dtype == torch.float32


def test_rows_that_are_not_finite_are_found() -> None:
    x = made()
    x[7, 3], x[250, 0] = torch.nan, -torch.inf
    assert rows.not_finite(x).tolist() == [7, 250] and not len(rows.not_finite(made()))
    x = made()
    x[3, 0], x[3, 1] = torch.inf, -torch.inf
    assert rows.not_finite(x).tolist() == [3]


# ------------------------------------------------------------------------------------------------------------ sharing


def test_one_tensor_is_decomposed_once_until_it_changes() -> None:
    x = made()
    first = gram.shared(x)
    assert gram.shared(x) is first
    x[0, 0] += 1
    assert gram.shared(x) is not first and gram.shared(x) is gram.shared(x)
    assert gram.shared(x.clone()) is not gram.shared(x)


def test_what_is_shared_goes_with_its_tensor_and_is_one_at_most() -> None:
    x, other = made(), made(seed=1)
    gram.shared(other)
    gram.shared(x)
    assert len(gram._last) == 1
    del x
    gc.collect()
    assert not gram._last


def test_tensors_that_do_not_count_their_changes_are_not_shared() -> None:
    with torch.inference_mode():
        x = made() * 2
        assert gram.shared(x) is not gram.shared(x)


def test_a_change_that_pytorch_does_not_count_is_seen() -> None:
    array = made().numpy()
    x = torch.from_numpy(array)
    first = gram.shared(x)
    array *= 2
    second = gram.shared(x)
    x.data[:, 3] += 1
    assert second is not first and gram.shared(x) is not second


@pytest.mark.parametrize("classes", [200, 300, 700])
@pytest.mark.parametrize("n", [900, 90])
@pytest.mark.usefixtures("many")
def test_left_out_predictions_of_many_classes(classes: int, n: int) -> None:
    """One table for all penalties, and blocks that are no wider, say what a fit without the sample says."""
    x, y = made(n, 100).double(), np.arange(n) % classes
    evidence, held = Evidence(x.numpy(), y, classes), n // 2
    lam, scores = loo_predictions(evidence)
    rest = np.arange(n) != held
    centre, truth = x[rest].mean(0).numpy(), np.eye(classes)[y[rest]]
    z = x[rest].numpy() - centre
    weight = np.linalg.solve(z.T @ z + lam * np.eye(100), z.T @ truth)
    np.testing.assert_allclose(scores[held], truth.mean(0) + (x[held].numpy() - centre) @ weight, atol=1e-7)


@pytest.mark.usefixtures("many")
def test_blocks_are_as_narrow_as_what_is_made_of_them() -> None:
    found = rows.standardized(made())
    assert max(len(said) for _, said in found.times(np.ones((20, 70)))) == 10
    assert max(len(said) for _, said in found.times(np.ones((20, 3)))) == 35


# ----------------------------------------------------------------------------------------------------------- products


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("fast", [True, False])
def test_the_product_is_right_with_and_without_the_private_operator(
    dtype: torch.dtype, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not fast:
        monkeypatch.setattr(rows, "onednn", lambda: None)
    a, b = made(50, 20).to(dtype), made(30, 20, seed=2).to(dtype)
    expected = a.double() @ b.double().T
    torch.testing.assert_close(rows.product(a, b.T).double(), expected, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(rows.product(a, b.T.contiguous()).double(), expected, rtol=1e-4, atol=1e-3)
    assert rows.product(a[:0], b.T).shape == (0, 30)


def test_a_build_without_the_private_operator_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    rows.onednn.cache_clear()
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", lambda *_: torch.zeros(40, 7), raising=False)
    assert rows.onednn() is None  # it is there, and wrong
    rows.onednn.cache_clear()


def test_a_memory_map_is_read_where_it_lies(tmp_path: Path) -> None:
    x = made()
    np.save(tmp_path / "x.npy", x.numpy())
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    evidence = Evidence(mapped, np.arange(300) % 3, 3)
    assert logme(evidence).value == pytest.approx(logme(Evidence(x.numpy(), np.arange(300) % 3, 3)).value)


def test_few_values_are_worked_on_by_one_thread() -> None:
    from threadpoolctl import threadpool_info

    from graft.rows import LARGE, threads_for

    def threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    before = threads()
    with threads_for(LARGE - 1):
        assert threads() == {1}
    with threads_for(LARGE):
        assert threads() == before
    assert threads() == before
