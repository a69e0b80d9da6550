"""Temperature, calibration error and Brier score against closed forms, scikit-learn and the papers' own estimates."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from graft import calibration as cal
from graft.errors import DataError
from graft.intervals import wilson

Array = NDArray[np.float64]


def logits(rows: int, classes: int = 4, seed: int = 0) -> tuple[Array, NDArray[np.int64]]:
    """Logits and labels that were drawn by their softmax: perfectly calibrated."""
    rng = np.random.default_rng(seed)
    scores = 2 * rng.standard_normal((rows, classes))
    chances = np.exp(log_softmax(scores, axis=1))
    return scores, (chances.cumsum(1) > rng.random((rows, 1))).argmax(1)


def softmax(scores: Array) -> Array:
    return np.asarray(np.exp(log_softmax(scores, axis=1)))


@pytest.mark.parametrize("warmth", [0.4, 1.0, 2.5])
def test_the_temperature_that_was_put_in_is_found(warmth: float) -> None:
    scores, truth = logits(20_000)
    assert cal.temperature(softmax(scores * warmth), truth) == pytest.approx(warmth, rel=0.03)


def test_of_many_samples_it_is_the_least_log_loss_that_sklearn_measures() -> None:
    scores, truth = logits(5000)
    raw = softmax(1.7 * scores)
    found = cal.temperature(raw, truth)
    losses = {t: log_loss(truth, cal.scaled(raw, t)) for t in np.linspace(0.8, 1.25, 46) * found}
    assert min(losses, key=losses.__getitem__) == pytest.approx(found, rel=0.02)


def test_few_samples_without_a_mistake_do_not_ask_for_certainty() -> None:
    sure = np.tile([0.9, 0.1], (30, 1))
    found = cal.temperature(sure, np.zeros(30))
    assert 0.4 < found < 1
    assert cal.scaled(sure, found)[0, 0] < 0.995


def test_scaling_is_a_softmax_of_divided_logits_and_keeps_the_order() -> None:
    scores, _ = logits(50)
    made = cal.scaled(softmax(scores), 2.0)
    np.testing.assert_allclose(made, softmax(scores / 2), atol=1e-12)
    assert (made.argsort(1) == scores.argsort(1)).all()
    np.testing.assert_allclose(cal.scaled([[1.0, 0.0]], 3.0), [[1.0, 0.0]], atol=1e-12)


def test_brier_is_that_of_sklearn() -> None:
    scores, truth = logits(400)
    chances = softmax(scores)
    found = cal.brier(chances, truth)
    assert found.value == pytest.approx(brier_score_loss(truth, chances, scale_by_half=False, labels=range(4)))
    assert found.low < found.value < found.high
    two = np.array([[0.7, 0.3], [0.2, 0.8]])
    assert cal.brier(two, [0, 0]).value == pytest.approx((2 * 0.09 + 2 * 0.64) / 2)  # by hand


def test_bins_are_those_of_sklearn_with_intervals_of_wilson() -> None:
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1, 601)
    truth = (rng.random(601) > sure).astype(int)
    bins = cal.reliability(np.stack([sure, 1 - sure], 1), truth, bins=10)
    right, mean = calibration_curve(1 - truth, sure, n_bins=10, strategy="quantile")
    np.testing.assert_allclose([one["accuracy"] for one in bins], right)
    np.testing.assert_allclose([one["confidence"] for one in bins], mean)
    assert sum(one["count"] for one in bins) == 601
    first = wilson(bins[0]["accuracy"] * bins[0]["count"], bins[0]["count"])
    assert (bins[0]["accuracy_low"], bins[0]["accuracy_high"]) == pytest.approx((first.low, first.high))
    assert all(a["high"] <= b["low"] for a, b in zip(bins, bins[1:], strict=False))


def test_equal_confidences_share_a_bin_whatever_their_order() -> None:
    sure = np.concatenate([np.full(500, 0.9), np.full(500, 0.6)])
    right = np.concatenate([np.ones(450), np.zeros(50), np.ones(300), np.zeros(200)])  # sorted: as files by class are
    chances = np.stack([sure, 1 - sure], 1)
    assert cal.ece(chances, 1 - right).value == pytest.approx(0, abs=0.01)
    assert len(cal.reliability(chances, 1 - right)) == 2


def test_the_error_is_that_of_kumar_et_al() -> None:
    """Their estimate draws the labels of each bin anew (uncertainty-calibration, `normal_debiased_ce`)."""
    rng = np.random.default_rng(1)
    sure = rng.uniform(0.5, 1, 900)
    right = (rng.random(900) < sure - 0.08).astype(float)
    parts = [(sure[rows], right[rows]) for rows in np.array_split(np.argsort(sure), 15)]
    weights = np.array([len(a) for a, _ in parts]) / 900
    means, sures = np.array([b.mean() for _, b in parts]), np.array([a.mean() for a, _ in parts])
    noise = np.sqrt(means * (1 - means) / 60)
    drawn = np.abs(means + noise * rng.standard_normal((40_000, 15)) - sures) @ weights
    expected = 2 * float(np.abs(means - sures) @ weights) - float(drawn.mean())
    found = cal.ece(np.stack([sure, 1 - sure], 1), 1 - right)
    assert found.value == pytest.approx(expected, abs=5e-4)
    assert found.low < 0.08 < found.high


def test_it_is_less_biased_than_the_plain_one_and_its_interval_holds_the_truth() -> None:
    values, plain, held = [], [], 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        sure = rng.uniform(0.5, 1, 600)
        right = (rng.random(600) < sure - 0.05).astype(int)
        found = cal.ece(np.stack([sure, 1 - sure], 1), 1 - right, seed=seed)
        bins = cal.reliability(np.stack([sure, 1 - sure], 1), 1 - right)
        values.append(found.value)
        plain.append(sum(one["count"] * abs(one["accuracy"] - one["confidence"]) for one in bins) / 600)
        held += found.low <= 0.05 <= found.high
    assert abs(np.mean(values) - 0.05) < 0.5 * abs(np.mean(plain) - 0.05)
    assert held >= 34


@pytest.mark.parametrize(("samples", "error"), [(1500, 0.03), (1500, 0.05), (3000, 0.04), (1500, 0.0)])
def test_the_interval_errs_on_neither_side(samples: int, error: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """40 data sets: of 95 % intervals 5 miss at most, with probability 0.95 or more, and few flatter."""
    monkeypatch.setattr(cal, "DRAWS", 150)
    above = below = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        sure = rng.uniform(0.55, 0.95, samples)
        found = cal.ece(np.stack([sure, 1 - sure], 1), rng.random(samples) >= sure - error, seed=seed)
        above, below = above + (error > found.high), below + (error < found.low - 1e-9)
    assert above <= 3 and above + below <= 5


def test_single_precision_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, truth = logits(500)
    single = softmax(scores).astype(np.float32)
    whole = cal.brier(single.astype(np.float64), truth)
    monkeypatch.setattr(cal, "BLOCK", 7)
    assert cal.brier(single, truth) == pytest.approx(whole)
    assert cal.ece(single, truth) == cal.ece(single.astype(np.float64), truth)


def test_perfect_probabilities_are_not_called_wrong() -> None:
    held = 0
    for seed in range(20):
        scores, truth = logits(500, seed=seed)
        held += cal.ece(softmax(scores), truth).low <= 0.01
    assert held >= 17


@pytest.mark.parametrize("measure", [cal.temperature, cal.ece, cal.reliability])
def test_nothing_is_said_of_no_samples(measure) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError):
        measure(np.empty((0, 3)), np.empty(0))
    with pytest.raises(DataError):
        measure(np.ones((2, 3)) / 3, np.zeros(5))


def test_one_sample_is_one_bin() -> None:
    assert cal.ece([[0.8, 0.2]], [0]).value == pytest.approx(0.2)
    assert len(cal.reliability([[0.8, 0.2]], [0])) == 1


def test_few_samples_do_no_harm_to_calibrated_heads() -> None:
    """40 held-out samples of 50 classes whose probabilities are right, with tails that are next to nothing."""
    worse = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        chances = softmax(4 * rng.standard_normal((1040, 50)))
        truth = np.array([rng.choice(50, p=row) for row in chances])
        found = cal.temperature(chances[:40], truth[:40])
        worse.append(log_loss(truth[40:], cal.scaled(chances[40:], found), labels=range(50))
                     - log_loss(truth[40:], chances[40:], labels=range(50)))  # fmt: skip
    assert np.mean(worse) < 0.01 and np.mean(np.array(worse) == 0) >= 0.6


def test_a_head_that_is_far_too_sure_is_cured_by_few_samples() -> None:
    scores, truth = logits(60)
    assert cal.temperature(softmax(5 * scores), truth) > 2
