"""The training samples that are nearest by features: "because it looks like these" (Cover & Hart 1967).

Features less their mean over the training samples, scaled to length 1, compared by cosine: SimpleShot's CL2N (Wang et
al. 2019, arXiv:1911.04623), as in the baseline of class means.
"""

from __future__ import annotations

import torch
from torch.nn.functional import normalize

from graft.errors import UsageError
from graft.explainers._asked import Answer, Question


def neighbours(question: Question, *, k: int = 5) -> Answer:
    """The `k` nearest of `question.known`, the nearest first, of whatever class. Raises UsageError where nothing is
    known of the training samples."""
    if k < 1:
        raise UsageError(f"k={k} is no number of neighbours", "choose k >= 1")
    if question.known is None or not len(question.known):
        raise question.refused("neighbours", "its training samples are not where they were")
    with torch.inference_mode():
        own = question.features(question.inputs([question.raw])).cpu()
        mean = question.known.float().mean(0)
        cosines = normalize(question.known.float() - mean) @ normalize(own - mean)[0]
        near = cosines.topk(min(k, len(cosines)))
    return Answer(near=tuple(zip(near.indices.tolist(), near.values.tolist(), strict=True)))
