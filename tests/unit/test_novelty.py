"""Unlike the training data: neighbours, p-values and areas against closed forms and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import combine_pvalues
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from graft import novelty
from graft.errors import DataError
from graft.novelty import Familiar

Array = NDArray[np.float64]


def features(rows: int, dim: int = 24, seed: int = 0, at: float = 0.0) -> Array:
    rng = np.random.default_rng(seed)
    return np.asarray(rng.standard_normal((rows, dim)) * np.arange(1, dim + 1) ** -0.5 + 3 + at)


def unit(x: Array, centre: Array) -> Array:
    return np.asarray((x - centre) / np.linalg.norm(x - centre, axis=1, keepdims=True))


def test_the_distance_is_that_of_sklearn_to_the_kth_neighbour() -> None:
    known, asked = features(200), features(50, seed=1)
    bank = novelty.bank(known, 4)
    assert bank.neighbours == 200 // 16 and bank.axes is None
    search = NearestNeighbors(n_neighbors=bank.neighbours).fit(unit(known, known.mean(0)))
    expected = search.kneighbors(unit(asked, known.mean(0)))[0][:, -1]
    np.testing.assert_allclose(novelty.distances(bank, asked), expected, atol=2e-3)  # of float16


def test_familiar_is_what_is_far_from_all_other_groups() -> None:
    """Against a bank made anew for each fold of groups, by scikit-learn."""
    known, groups = features(60), np.repeat(np.arange(10), 6)  # as many groups as folds: each is its own
    found = novelty.apart(known, groups, known[:40], groups[:40], 4)
    for group in range(7):
        rest, rows = known[groups != group], np.flatnonzero(groups[:40] == group)
        search = NearestNeighbors(n_neighbors=novelty.bank(rest, 4).neighbours).fit(unit(rest, rest.mean(0)))
        expected = search.kneighbors(unit(known[rows], rest.mean(0)))[0][:, -1]
        np.testing.assert_allclose(found[rows], expected, atol=2e-3)


@pytest.mark.parametrize(("groups", "each"), [(200, 1), (40, 25), (60, 10)])
def test_of_new_groups_about_the_stated_share_is_flagged(groups: int, each: int) -> None:
    shares = []
    for seed in range(8):
        rng = np.random.default_rng(seed)

        def drawn(rng: np.random.Generator = rng) -> Array:
            return np.repeat(rng.normal(size=(groups, 32)), each, 0) + 0.3 * rng.normal(size=(groups * each, 32))

        (known, new), names = (drawn(), drawn()), np.repeat(np.arange(groups), each)
        far = novelty.apart(known, names, known, names, 4)
        same = np.ones(len(far))
        found = Familiar(far, same).unlikeness(novelty.distances(novelty.bank(known, 4), new), same)
        shares.append(novelty.flagged(found).mean())
    assert 0.01 < np.mean(shares) < 0.1  # leaving out the sample alone flags nearly all where groups are large


def test_wide_features_are_projected_into_little_room_and_keep_their_distances() -> None:
    rng = np.random.default_rng(0)
    mixed = rng.standard_normal((40, 3000))
    known, asked = (rng.standard_normal((rows, 40)) @ mixed for rows in (500, 40))
    bank = novelty.bank(known, 10)
    assert bank.axes is not None
    assert bank.rows.nbytes + bank.axes.nbytes + bank.centre.nbytes < 3_000_000
    search = NearestNeighbors(n_neighbors=bank.neighbours).fit(unit(known, known.mean(0)))
    expected = search.kneighbors(unit(asked, known.mean(0)))[0][:, -1]
    np.testing.assert_allclose(novelty.distances(bank, asked), expected, atol=0.01)


def test_the_largest_bank_is_small() -> None:
    for dim in (384, 2048, 20_000):
        width = min(dim, novelty.WIDTH)
        cells = novelty.ROWS * width + (min(novelty.CELLS, dim * width) if dim > novelty.WIDTH else 0)
        assert 2 * cells + 4 * dim < 3_000_000


def test_a_bank_has_some_of_every_class_and_most_of_the_largest() -> None:
    targets = np.repeat([0, 1, 2], [9000, 900, 3])
    rows = novelty.chosen(targets)
    counts = np.bincount(targets[rows])
    assert len(rows) <= novelty.ROWS and (rows == np.sort(rows)).all() and len(set(rows.tolist())) == len(rows)
    assert counts.min() >= 1 and counts[0] / counts[1] == pytest.approx(10, rel=0.05)
    assert novelty.chosen(np.arange(5000)).size == novelty.ROWS
    assert novelty.chosen(np.zeros(10)).tolist() == list(range(10))


def test_p_values_by_hand() -> None:
    np.testing.assert_allclose(novelty.p_values([1, 2, 3], [0, 2, 2.5, 9]), [1, 3 / 4, 2 / 4, 1 / 4])


def test_the_strangeness_is_fishers_statistic() -> None:
    rng = np.random.default_rng(0)
    known = Familiar(rng.random(99), rng.random(99))
    far, sure = rng.random(5), rng.random(5)
    pairs = zip(novelty.p_values(known.far, far), novelty.p_values(-known.sure, -sure), strict=True)
    expected = [combine_pvalues(pair, method="fisher").statistic / 2 for pair in pairs]
    np.testing.assert_allclose(known.strangeness(far, sure), expected)


def test_the_stated_share_of_familiar_samples_is_flagged_however_the_two_depend_on_each_other() -> None:
    shares = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        far = rng.random((2, 300))
        sure = 1 - 0.7 * far - 0.3 * rng.random((2, 300))  # far from all, and so unsure
        known = Familiar(far[0], sure[0])
        shares.append(novelty.flagged(known.unlikeness(far[1], sure[1])).mean())
    assert np.mean(shares) == pytest.approx(novelty.STATED, abs=0.006)


def test_far_and_unsure_is_strange() -> None:
    rng = np.random.default_rng(0)
    known = Familiar(rng.uniform(0.5, 1, 200), rng.uniform(0.6, 1, 200))
    found = known.unlikeness([0.4, 1.5, 1.5, 0.75], [0.99, 0.99, 0.3, 0.8])
    assert novelty.flagged(found).tolist() == [False, True, True, False]
    assert (found >= 0).all() and (found <= 1).all()


def test_of_fewer_than_nineteen_familiar_samples_none_can_be_flagged() -> None:
    known = Familiar(np.linspace(0, 1, 18), np.linspace(0.5, 1, 18))
    assert not novelty.flagged(known.unlikeness([99.0], [0.0])).any()
    known = Familiar(np.linspace(0, 1, 19), np.linspace(0.5, 1, 19))
    assert novelty.flagged(known.unlikeness([99.0], [0.0])).all()


def test_the_area_is_sklearns_with_ties_and_its_interval_keeps_a_width() -> None:
    rng = np.random.default_rng(0)
    low, high = rng.integers(0, 6, 80), rng.integers(2, 9, 50)
    truth = np.repeat([0, 1], [80, 50])
    found = novelty.auroc(low, high)
    assert found.value == pytest.approx(roc_auc_score(truth, np.concatenate([low, high])))
    assert found.low < found.value < found.high
    perfect = novelty.auroc(np.zeros(30), np.ones(30))
    assert perfect.value == 1 and perfect.low < 0.95 and perfect.high == pytest.approx(1)


def test_the_interval_of_the_area_holds_the_true_one() -> None:
    truth, held = 0.7602, 0  # of two normals, 1 apart: Phi(1 / sqrt 2)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        found = novelty.auroc(rng.standard_normal(60), rng.standard_normal(40) + 1)
        held += found.low <= truth <= found.high
    assert held >= 182


def test_a_bank_of_nothing_or_of_no_numbers_is_refused() -> None:
    for wrong in (np.empty((0, 4)), np.full((3, 4), np.nan)):
        with pytest.raises(DataError):
            novelty.bank(wrong, 2)
    assert novelty.distances(novelty.bank(features(5), 2), np.empty((0, 24))).shape == (0,)


def test_a_bank_of_one_group_says_nothing_of_that_group() -> None:
    assert novelty.apart(features(2), [3, 3], features(2), [3, 3], 1).tolist() == [2.0, 2.0]
