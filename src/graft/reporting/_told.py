"""Sentences that runs keep in English: their patterns, and the keys that say the same in another language."""

from __future__ import annotations

TOLD = (
    (r"on (?P<n>\d+) folds", "told.folds"),
    (r"on half B of the validation part, which chose no trunk and no rate", "told.half"),
    (r"the gain is real", "told.real"),
    (r"within noise: the cheaper way stays", "told.noise"),
    (r"worse than what is kept", "told.worse"),
    (r"at most so little better that it is not worth it", "told.little"),
    (r"better, but training it on all samples does not fit into the budget", "told.budget"),
    (r"the best of (?P<n>\d+) cheap ways on (?P<m>\d+) trunks?", "told.probes"),
    (r"control", "told.control"),
    (r"not measured: the budget does not allow it", "told.unmeasured"),
    (r"not measured: (?P<why>.*)", "told.unmeasured.why"),
    (r"the pretrained weights hurt here", "told.hurt"),
    (r"left out, as they take too long for this budget: (?P<ways>.*)", "told.slow"),
    (r"training from scratch did not fit into the budget: its comparison is missing", "told.no_scratch"),
)
