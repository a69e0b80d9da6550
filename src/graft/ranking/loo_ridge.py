"""Leave-one-out accuracy of a ridge probe: the default, and a cheap forecast of what a linear probe reaches."""

from __future__ import annotations

from graft.evidence import Evidence, Score, accuracy
from graft.loo import loo_predictions


def loo_ridge(evidence: Evidence) -> Score:
    """Exact leave-one-out accuracy (Allen 1974, see graft.loo) at the best of 28 penalties.

    Value in [0, 1] with its binomial standard error; `each` are the hits. No sample is judged by a fit that has seen
    it, so a wide trunk gets nothing for its width. The penalty alone is chosen on the same samples, which flatters
    every trunk a little. Unchanged by rotating, scaling or shifting the features.
    """
    _, scores = loo_predictions(evidence)
    return accuracy(scores.argmax(1) == evidence.targets)
