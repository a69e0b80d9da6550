"""Features as points of a plane: like lies near like, as far as two dimensions allow."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
FEW, MANY = 20, 700  # points between which t-SNE says more than two principal components, and takes a second or two
KEPT = 50  # components that t-SNE sees
STEPS = 400


def plane(features: Array, seed: int = 0) -> tuple[str, Array]:
    """(N, D) -> the name of the method, and (N, 2) in -1..1.

    t-SNE (van der Maaten & Hinton 2008) of the first 50 principal components, begun at the first two, so that what is
    far apart is mostly so in the plane (Kobak & Berens 2019); for few points and for many these two alone. Nothing
    random is in it but what `seed` decides.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if len(features) < 2:
        return "PCA", np.zeros((len(features), 2))
    x = features - features.mean(0)
    most = min(KEPT, *x.shape)
    solver = "randomized" if min(x.shape) > 500 else "full"
    found = PCA(most, svd_solver=solver, random_state=seed).fit_transform(x)
    if not FEW <= len(x) <= MANY or most < 3:
        return "PCA", _scaled(_two(found))
    begin = found[:, :2] / max(float(found[:, 0].std()), 1e-12) * 1e-4
    perplexity = min(30.0, (len(x) - 1) / 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # copies lie at distance 0
        made = TSNE(perplexity=perplexity, init=begin, max_iter=STEPS, random_state=seed, n_jobs=1)
        return "t-SNE", _scaled(made.fit_transform(found))


def _two(found: Array) -> Array:
    return np.pad(found, ((0, 0), (0, max(0, 2 - found.shape[1]))))[:, :2]


def _scaled(points: Array) -> Array:
    """Into the square from -1 to 1, both axes alike."""
    middle = (points.max(0) + points.min(0)) / 2
    return np.asarray((points - middle) / max(float(np.abs(points - middle).max(initial=0.0)), 1e-12))
