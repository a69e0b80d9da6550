"""The bootstrap over samples (Efron 1979), for figures that are no plain means.

To draw N samples with replacement is to weigh each by how often it was drawn: a figure of many draws at once is a
function of weights (S, N), mostly of sums `weights @ column`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from graft.intervals import Array, percentile
from graft.types import Metric

Figures = Callable[[Array], Mapping[str, Array]]  # weights (S, N) -> each figure (S,)
_CELLS = 2_000_000  # weights held at once: 16 MB


def plain(figures: Figures, n: int) -> dict[str, float]:
    """The figures of N samples as they are."""
    return {name: float(value[0]) for name, value in figures(np.ones((1, n))).items()}


def bootstrap(figures: Figures, values: Mapping[str, float], n: int, draws: int = 1000) -> dict[str, Metric]:
    """The values of N samples, with 95 % percentile intervals of those figures that `figures` makes."""
    parts = [figures(weights) for weights in _weights(n, draws)]
    return {name: _around(values[name], np.concatenate([part[name] for part in parts])) for name in parts[0]}


def _weights(n: int, draws: int, seed: int = 0) -> Iterator[Array]:
    rng, step = np.random.default_rng(seed), max(1, _CELLS // n)
    for start in range(0, draws, step):
        size = min(step, draws - start)
        drawn = rng.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def _around(value: float, draws: Array) -> Metric:
    """Rounding, or a figure that resampling lowers, must not put the value outside its interval."""
    made = percentile(value, draws)
    return made._replace(low=min(made.low, value), high=max(made.high, value))
