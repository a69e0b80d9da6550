"""What to label next: the uncertain, no two alike, nothing like what is known; k-centres within twice the optimum."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import entropy as reference

from graft.selection import entropy, nearest, select
from graft.showing.projection import plane


def test_entropy_is_scipys_over_that_of_equal_probabilities() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(5), 20)
    assert np.allclose(entropy(p), reference(p, axis=1) / np.log(5))
    assert entropy(np.array([[0.5, 0.5], [1.0, 0.0]])) == pytest.approx([1.0, 0.0], abs=1e-9)


def test_of_copies_one_is_chosen_and_the_most_uncertain_is_first() -> None:
    x = np.repeat(np.eye(3), 4, 0)
    unsure = np.linspace(0, 1, 12)
    chosen = select(x, unsure, 12)
    assert chosen[0] == 11 and sorted(row // 4 for row in chosen) == [0, 1, 2]


def test_what_is_like_known_samples_comes_last() -> None:
    x = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    assert select(x, np.ones(3), 3, known=np.array([[2.0, 0.0]]))[0] == 2
    assert 0 not in select(x, np.ones(3), 3, known=np.array([[2.0, 0.0]]))


def test_sure_samples_are_not_chosen_among_enough_uncertain_ones() -> None:
    rng = np.random.default_rng(0)
    unsure = np.concatenate([np.full(900, 0.1), np.full(100, 0.9)])
    assert min(select(rng.normal(size=(1000, 8)), unsure, 20)) >= 900


def test_the_centres_are_within_twice_the_best_ones() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        x = rng.normal(size=(12, 3))
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        apart = np.linalg.norm(x[:, None] - x[None], axis=2)  # the order by cosine is that by this distance

        def radius(rows: list[int], apart: np.ndarray = apart) -> float:
            return float(apart[:, rows].min(1).max())

        best = min(radius(list(rows)) for rows in combinations(range(12), 3))
        assert radius(select(x, np.ones(12), 3)) <= 2 * best + 1e-9


def test_nearest_is_by_cosine() -> None:
    rng = np.random.default_rng(0)
    asked, known = rng.normal(size=(4, 6)), rng.normal(size=(20, 6))
    cosine = (asked @ known.T) / np.linalg.norm(asked, axis=1)[:, None] / np.linalg.norm(known, axis=1)
    assert np.array_equal(nearest(asked, known, 3), np.argsort(-cosine, axis=1)[:, :3])
    assert nearest(asked, known[:2], 3).shape == (4, 2)


def test_the_plane_keeps_clusters_apart_and_repeats() -> None:
    rng = np.random.default_rng(0)
    label = np.arange(150) % 3
    x = 8 * np.eye(3, 40)[label] + rng.normal(size=(150, 40))
    method, points = plane(x)
    assert method == "t-SNE" and points.shape == (150, 2) and np.abs(points).max() == pytest.approx(1.0)
    inside = np.mean([points[label == k].std(0).mean() for k in range(3)])
    assert inside < 0.5 * points.std(0).mean()
    assert np.array_equal(points, plane(x)[1])


@pytest.mark.parametrize("shape", [(4, 40), (10, 1), (1, 5)])
def test_few_points_are_laid_out_by_their_components(shape: tuple[int, int]) -> None:
    method, points = plane(np.random.default_rng(0).normal(size=shape))
    assert method == "PCA" and points.shape == (shape[0], 2) and np.isfinite(points).all()
