"""NLEEP: LEEP on clusters of the features instead of source classes (Li et al. 2021)."""

from __future__ import annotations

import warnings

import numpy as np

from graft.errors import DataError
from graft.evidence import Array, Evidence, Score
from graft.ranking._leep import expected_prediction


def nleep(evidence: Evidence, *, per_class: int = 5, share: float = 0.8, components: int = 64, seed: int = 0) -> Score:
    """LEEP of the posteriors of a Gaussian mixture on principal components (Li et al. 2021, arXiv:2011.11200).

    As the paper: components that hold a `share` of the variance, at most `components` of them, and `per_class` clusters
    a class, at most one for 4 samples. Unlike it: diagonal covariances, which few samples can fill. In nats, at most 0,
    with `each` and `se` as in LEEP. The clusters depend on the seed and on the order of the samples, so small
    differences mean nothing. DataError for features that never vary.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    x = _components(evidence, share, components)
    clusters = max(1, min(per_class * int((evidence.counts > 0).sum()), len(x) // 4))
    mixture = GaussianMixture(clusters, covariance_type="diag", reg_covar=1e-3, max_iter=30, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a mixture short of its optimum is still a clustering
        return expected_prediction(mixture.fit(x).predict_proba(x), evidence)


def _components(evidence: Evidence, share: float, most: int) -> Array:
    """(N, p) principal components, scaled alike so that the variance floor means the same for every trunk."""
    w = evidence.spectrum.w
    if not len(w):
        raise DataError("no feature varies between samples: there are no clusters", "look at the trunk's output")
    p = min(int(np.searchsorted(np.cumsum(w), share * w.sum())) + 1, most)
    scores: Array = evidence.spectrum.components(p) * np.sqrt(len(evidence.targets) / w[:p].mean())
    return scores
