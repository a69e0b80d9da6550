"""LEEP: how well the classes of the checkpoint's own head foretell the target's (Nguyen et al. 2020)."""

from __future__ import annotations

import numpy as np

from graft.errors import DataError
from graft.evidence import Evidence, Score
from graft.ranking._leep import expected_prediction


def leep(evidence: Evidence) -> Score:
    """The mean log-likelihood of the labels given the source head's classes (Nguyen et al. 2020, arXiv:2002.12462).

    In nats, at most 0; `each` are the samples' logarithms and `se` is the standard error of their mean. Looks at
    `source` alone, never at the features. DataError if the checkpoint brought no head, or its rows are not
    probabilities.
    """
    source = evidence.source
    if source is None:
        raise DataError("this trunk came without a head, and LEEP looks at nothing else",
                        "rank with loo_ridge, or with nleep, which makes its own classes")  # fmt: skip
    source = np.asarray(source, dtype=np.float64)
    if not (source >= 0).all() or not np.allclose(source.sum(1), 1, atol=1e-3):
        raise DataError("the source head's rows are not probabilities", "give the softmax of its logits")
    return expected_prediction(source / source.sum(1, keepdims=True), evidence)
