"""Linear probe, then fine-tune from there (Kumar et al. 2022, arXiv:2202.10054).

A random head sends large, wrong gradients into a good trunk; a trained one does not. With the rates and `last` given it
is the classical recipe of the tutorials, the head at 1e-4 and then the last layers at 1e-5:

    lp_ft(head_lr=1e-4, lr=1e-5, last=1)
"""

from __future__ import annotations

from graft import parts
from graft.strategies._start import started
from graft.strategies.full import full
from graft.strategies.linear_probe import linear_probe
from graft.types import Flow, Model


def lp_ft(
    model: Model,
    *,
    head_epochs: int = 10,
    epochs: int = 10,
    head_lr: float = 1e-2,
    lr: float | None = None,
    last: int | None = None,
    start: str | None = None,
) -> Flow:
    """`start`: a probe, such as "logistic", that solves the head in one step instead of `head_epochs`; "auto":
    logistic, or a short linear probe where no probe can solve the head.

    `lr`: of the head and the trunk in the second part; that of the trunk, unless told otherwise.
    """
    rate = parts.rate(model, 1.0, lr)
    yield from started(model, start) if start else linear_probe(model, epochs=head_epochs, lr=head_lr)
    yield from full(model, epochs=epochs, lr=rate, head_lr=rate, last=last)
