"""The head fitted again to the features of the labelled new samples alone; the trunk stays as it is.

For many labelled samples, or a domain where the run's head knows nothing: the run's own classes are forgotten
where the new samples have none of them (Alain & Bengio 2016, arXiv:1610.01644, on probes of frozen features).
"""

from __future__ import annotations

from graft import parts
from graft.errors import UsageError
from graft.nn.fitted import Fitted
from graft.types import Flow, Model, Phase


def refit(model: Model, *, probe: str | None = None) -> Flow:
    """`probe` solves a linear head: logistic, unless told otherwise; a head that is a probe is fitted by itself again.

    Raises UsageError for a `probe` where the head is one, and for a head that no probe can solve.
    """
    if isinstance(model.head, Fitted):
        if probe is not None:
            raise UsageError(f"probe={probe!r}, but the run's head is a probe, which is fitted again", "--method refit")
        yield Phase("refit", (), 0, solve=model.head.fit)
        return
    name = probe or "logistic"
    yield Phase(f"refit, {name}", (), 0, solve=parts.solver(model, name))
