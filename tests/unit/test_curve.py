"""Power laws are found again, as well as by SciPy; the cheap head is scikit-learn's; intervals hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares
from sklearn.linear_model import Ridge, RidgeCV

from graft import curve
from graft.curve import Measured
from graft.errors import DataError

SIZES = np.array([25.0, 50.0, 100.0, 200.0])


@pytest.mark.parametrize("a, b, c", [(0.05, 0.8, 0.4), (0.0, 0.9, 0.2), (0.1, 2.0, 1.0), (0.3, 0.0, 0.5)])
def test_a_power_law_is_found_again(a: float, b: float, c: float) -> None:
    law = curve.fit(SIZES, a + b * SIZES**-c, np.ones(4))
    for size in (25, 200, 400, 1600):
        assert law.error(size) == pytest.approx(a + b * size**-c, abs=1e-3)


def test_the_fit_is_as_good_as_scipys() -> None:
    rng = np.random.default_rng(0)
    weights = np.array([1.0, 2.0, 4.0, 8.0])
    for _ in range(20):
        errors = 0.1 + 0.9 * SIZES**-0.5 + rng.normal(0, 0.02, 4)
        law = curve.fit(SIZES, errors, weights)

        def off(x: np.ndarray, errors: np.ndarray = errors) -> np.ndarray:
            return np.sqrt(weights / weights.sum()) * (x[0] + x[1] * (SIZES / SIZES[0]) ** -x[2] - errors)

        best = min(least_squares(off, (0.05, 0.2, start), bounds=([0, 0, curve.STEEP[0]], [1, 5, curve.STEEP[1]])).cost
                   for start in (0.1, 0.5, 1.5))  # fmt: skip
        ours = np.square(off(np.array([law.a, law.b * SIZES[0] ** -law.c, law.c]))).sum() / 2
        assert ours <= best * 1.001 + 1e-9


def test_many_curves_are_fitted_as_each_alone() -> None:
    errors = 0.1 + np.random.default_rng(1).random((5, 4)) * SIZES**-0.3
    together = curve.fit(SIZES, errors, np.ones(4))
    for i, one in enumerate(errors):
        assert np.allclose([x[i] for x in together], curve.fit(SIZES, one, np.ones(4)))


def drawn(law: tuple[float, float, float], n: int, repeats: int, seed: int) -> Measured:
    """Samples that are wrong with the law's probability, the hard ones at every size."""
    rng, (a, b, c) = np.random.default_rng(seed), law
    hard = 0.7 * rng.random(n) + 0.3 * rng.random((repeats, 1, n))
    order = np.argsort(np.argsort(hard, axis=2), axis=2) / n  # ranks: each size has the law's rate on average
    noise = rng.random((repeats, len(SIZES), n)) * 0.1 - 0.05
    errors = (order + noise < (a + b * SIZES**-c)[None, :, None]) & (rng.random((1, 1, n)) < 0.98)
    return Measured(SIZES, errors.astype(np.float64), np.arange(n))


def test_the_interval_of_twice_as_many_samples_holds_the_truth() -> None:
    law, n = (0.05, 1.2, 0.5), 300
    truth = 1 - 0.98 * (law[0] + law[1] * (2 * n) ** -law[2])
    found = [curve.outlook(drawn(law, n, 3, seed), n) for seed in range(40)]
    inside = sum(one.doubled[1] <= truth <= one.doubled[2] for one in found)
    assert inside >= 34
    assert all(one.gain[1] <= one.gain[0] <= one.gain[2] for one in found)


def test_a_flat_curve_promises_nothing_and_a_steep_one_something() -> None:
    rng = np.random.default_rng(0)
    flat = Measured(SIZES, np.repeat(rng.random((3, 1, 300)) < 0.2, 4, 1).astype(np.float64), np.arange(300))
    assert not curve.outlook(flat, 300).real
    steep = curve.outlook(drawn((0.0, 3.0, 0.5), 2000, 3, 0), 2000)
    assert steep.real and steep.gain[1] > 0.003


def test_the_head_is_ridge_with_the_penalty_of_its_leave_one_out_error() -> None:
    rng = np.random.default_rng(0)
    for n, d in ((60, 8), (20, 40)):
        x, asked = rng.normal(size=(n, d)), rng.normal(size=(7, d))
        y = x @ rng.normal(size=(d, 3)) + rng.normal(size=(n, 3))
        z = x - x.mean(0)
        w = np.linalg.eigvalsh(z.T @ z)
        penalties = curve.PENALTIES * w[w > w.max() * 1e-10].mean()
        lam = RidgeCV(penalties).fit(x, y).alpha_
        assert np.allclose(curve.predicted(x, y, asked), Ridge(lam).fit(x, y).predict(asked), atol=1e-6)


def test_subsets_are_nested_and_balanced() -> None:
    strata = np.repeat([0, 1, 2], [80, 40, 8])
    order = curve.interleaved(strata, np.random.default_rng(0))
    assert sorted(order) == list(range(128))
    for share in (0.25, 0.5):
        counts = np.bincount(strata[order[: round(share * 128)]])
        assert np.abs(counts - share * np.array([80, 40, 8])).max() <= 1


def test_more_samples_are_better_and_no_group_is_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 240)
    x = rng.normal(size=(240, 20)) + 0.35 * rng.normal(size=(3, 20))[y]
    groups, seen = np.arange(240) // 2, []
    folds = curve._folds

    def watched(*asked: object) -> object:
        found = folds(*asked)  # type: ignore[arg-type]
        seen.extend(not set(groups[train]) & set(groups[test]) for train, test in found)
        return found

    monkeypatch.setattr(curve, "_folds", watched)
    found = curve.measured(x, y, groups, y)
    assert seen and all(seen)
    scores = 1 - found.errors.mean((0, 2))
    assert list(found.sizes) == sorted(found.sizes) and scores[-1] > scores[0] + 0.05
    assert np.array_equal(found.errors, curve.measured(x, y, groups, y).errors)


def test_numbers_have_a_curve_too() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 30))
    y = x[:, 0] + 0.1 * rng.normal(size=200)
    found = curve.outlook(curve.measured(x, y, np.arange(200), np.zeros(200, np.int64)), 200)
    assert found.scores[-1] > 0.8 > found.scores[0]


def test_too_few_samples_or_groups_are_said() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="too few for a learning curve"):
        curve.measured(rng.normal(size=(20, 4)), np.arange(20) % 2, np.arange(20), np.arange(20) % 2)
    with pytest.raises(DataError, match="one group"):
        curve.measured(rng.normal(size=(100, 4)), np.arange(100) % 2, np.zeros(100, np.int64), np.arange(100) % 2)


def test_many_groups_are_dealt_out_whole_and_evenly() -> None:
    groups = np.maximum(np.arange(6000) - 100, 0) // 2
    strata = (groups % 3).astype(np.int64)
    folds = curve._folds(strata, groups, np.random.default_rng(0))
    assert np.array_equal(np.sort(np.concatenate([test for _, test in folds])), np.arange(6000))
    for train, test in folds:
        assert not set(groups[train]) & set(groups[test]) and len(train) + len(test) == 6000
        assert np.ptp(np.bincount(strata[test])) <= 110


def test_float32_says_what_float64_says() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 5, 1200)
    x = rng.normal(size=(1200, 60)) + 0.4 * rng.normal(size=(5, 60))[y]
    one, other = (curve.measured(x.astype(kind), y, np.arange(1200), y).errors for kind in (np.float32, np.float64))
    assert (one != other).mean() < 0.005


def test_weights_of_many_words_are_seen_by_their_components_too() -> None:
    rng = np.random.default_rng(0)
    x = np.zeros((300, 5000))
    x[np.arange(300)[:, None], rng.integers(0, 5000, (300, 30))] = rng.random((300, 30))
    made, centred = curve.components(x), x - x.mean(0)
    assert np.allclose(made @ made.T, centred @ centred.T, atol=1e-6 * np.abs(centred @ centred.T).max())


def test_the_time_that_it_takes_is_known_before() -> None:
    assert curve.seconds(500, 512, 10) < 1 < curve.seconds(20_000, 2048, 1000) < 5 < curve.seconds(100_000, 2048, 1000)


def test_wide_features_are_seen_by_their_components() -> None:
    x = np.random.default_rng(0).normal(size=(600, 5)) @ np.random.default_rng(1).normal(size=(5, 3000))
    made = curve.components(x)
    assert made.shape == (600, curve.COMPONENTS)
    centred = x - x.mean(0)
    assert np.allclose(made @ made.T, centred @ centred.T, atol=1e-6 * np.abs(centred @ centred.T).max())
