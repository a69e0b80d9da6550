"""What more samples would bring: scores of a cheap head on growing shares of the data, and the power law through them.

error(n) = a + b n^-c (Hestness et al. 2017, arXiv:1712.00409). No one law holds everywhere (Viering & Loog 2022,
arXiv:2103.10948), least of all where samples are few. So the law is only asked about twice as many samples, with an
interval from samples, subsets and smallest sizes that are drawn anew, which is wide where little is known.

Shapes: N samples, D features, K columns of targets, S sizes, R repeats, B draws.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from graft.errors import DataError
from graft.rows import one_hot

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
SHARES = (0.125, 0.25, 0.5, 1.0)  # of the training part of a fold
FOLDS, REPEATS, DRAWS = 4, 3, 200
MANY, MOST = 500, 4_000  # samples from which one repeat is enough, and from which one fold is
LEAST = 8  # samples that a head is fitted to
COMPONENTS = 512  # principal ones that the head sees: all it costs goes with their cube
WIDE, SPARSE = 4096, 0.05  # features, and the share of values that are not 0, from which others are not stored
PENALTIES = np.geomspace(1e-4, 1e3, 10)  # times the mean eigenvalue
LOOKED_AT = 1_000  # rows that choose among them
DEALT = 1_000  # groups from which folds are even enough when these are dealt out: that is many times faster
STEEP = (0.05, 2.0)  # bounds of c: a flatter curve tells nothing from a constant, a steeper one is at its end
CELLS = 8_000_000  # weights of draws held at once
RATE = 7e10  # floating-point operations of one core in a second


class Measured(NamedTuple):
    """`errors` (R, S, N): what each sample adds to the error, held out from fits to `sizes` (S,) samples; `groups` (N,)
    are drawn together."""

    sizes: Array
    errors: Array
    groups: Rows


class Law(NamedTuple):
    """error(n) = a + b n^-c, of one curve or of B of them."""

    a: Array
    b: Array
    c: Array

    def error(self, n: float) -> Array:
        return np.asarray(self.a + self.b * np.power(n, -self.c))


@final
class Outlook(NamedTuple):
    """Scores are 1 - error; `low` and `high` (S,) are 95 % bounds, `now` the score of the law with all `samples`.

    `gain` (value, low, high) is what twice as many samples would add, `doubled` the score that this makes. `real`: the
    whole interval of the gain is worth having, and the last doubling that was seen gained beyond noise, too."""

    samples: int
    sizes: Array
    scores: Array
    low: Array
    high: Array
    law: Law
    now: float
    doubled: tuple[float, float, float]
    gain: tuple[float, float, float]
    real: bool


# ------------------------------------------------------------------------------------------------------------ the law


def fit(sizes: Array, errors: Array, weights: Array) -> Law:
    """The law with a, b >= 0 and c in STEEP of least weighted squares, for sizes (S,), errors (..., S), weights (S,).

    For a given c it is linear, and its best a and b are exact; c is searched (variable projection, Golub & Pereyra
    1973).
    """
    grid = np.geomspace(*STEEP, 64)
    best = grid[_tried(sizes, errors, weights, grid)[2].argmin(-1)]
    ratio = grid[1] / grid[0]
    fine = np.clip(best[..., None] * np.geomspace(1 / ratio, ratio, 65), *STEEP)
    a, b, loss = _tried(sizes, errors, weights, fine)
    at = loss.argmin(-1)[..., None]
    return Law(*(np.take_along_axis(x, at, -1)[..., 0] for x in (a, b, fine)))


def _tried(sizes: Array, errors: Array, weights: Array, c: Array) -> tuple[Array, Array, Array]:
    """Exponents c (..., G) -> a, b and the weighted squares (..., G) of the best law with each."""
    w, e = weights / weights.sum(), errors[..., None, :]
    x = np.power(sizes / sizes[0], -c[..., None])  # (..., G, S)
    mx, me = (x * w).sum(-1), (e * w).sum(-1)
    centred = x - mx[..., None]
    slope = (w * centred * (e - me[..., None])).sum(-1) / (w * centred**2).sum(-1)
    through = (w * x * e).sum(-1) / (w * x * x).sum(-1)  # with a = 0
    nothing = np.zeros_like(slope)
    options = [(me - slope * mx, slope), (nothing, through), (me + nothing, nothing)]
    losses = [np.where((a >= 0) & (b >= 0), (w * (e - a[..., None] - b[..., None] * x) ** 2).sum(-1), np.inf)
              for a, b in options]  # fmt: skip
    a, b, loss = (np.stack(found) for found in (*zip(*options, strict=True), losses))
    at = loss.argmin(0)[None]
    a, b, loss = (np.take_along_axis(found, at, 0)[0] for found in (a, b, loss))
    return a, b * np.power(sizes[0], c), loss


def outlook(measured: Measured, n: int, worth: float = 0.003, seed: int = 0) -> Outlook:
    """What the curve says of twice as many samples as the `n` that there are; less than `worth` is no gain."""
    sizes, errors = measured.sizes, measured.errors.mean((0, 2))
    drawn = _drawn(measured, seed)
    weights = 1 / np.maximum(drawn.var(0), 1e-6)
    law, laws = fit(sizes, errors, weights), fit(sizes, drawn, weights)
    if len(sizes) > 3:  # the law may only hold from some size on: half of the draws begin later
        later = fit(sizes[1:], drawn[::2, 1:], weights[1:])
        laws = Law(*(np.concatenate([one[1::2], other]) for one, other in zip(laws, later, strict=True)))
    now, then, gains = 1 - law.error(n), 1 - law.error(2 * n), laws.error(n) - laws.error(2 * n)
    low, high = np.quantile(1 - drawn, (0.025, 0.975), axis=0)
    seen = np.quantile(drawn[:, -2] - drawn[:, -1], 0.025)
    real = bool(seen > 0 and np.quantile(gains, 0.025) >= worth)
    return Outlook(n, sizes, 1 - errors, low, high, law, float(now), _interval(then, 1 - laws.error(2 * n)),
                   _interval(then - now, gains), real)  # fmt: skip


def _interval(value: Array, draws: Array) -> tuple[float, float, float]:
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(value), float(min(low, value)), float(max(high, value))


def _drawn(measured: Measured, seed: int) -> Array:
    """(B, S) errors of groups and repeats that are drawn anew (Efron 1979), the same ones for all sizes."""
    rng, (repeats, _, n) = np.random.default_rng(seed), measured.errors.shape
    names, at = np.unique(measured.groups, return_inverse=True)
    found = []
    for start in range(0, DRAWS, step := max(1, CELLS // n)):
        count = min(step, DRAWS - start)
        weights = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), count)[:, at].astype(np.float64)
        each = np.einsum("bn,rsn->brs", weights, measured.errors, optimize=True) / weights.sum(1)[:, None, None]
        picked = rng.integers(0, repeats, (count, repeats))
        found.append(np.take_along_axis(each, picked[:, :, None], 1).mean(1))
    return np.concatenate(found)


# ------------------------------------------------------------------------------------------------------- what is fitted


def measured(features: Array, targets: Array, groups: Rows, strata: Rows, seed: int = 0) -> Measured:
    """Ridge on nested random subsets, scored on held-out folds that divide no group.

    `features` (N, D); float32 ones take half the time. `targets` (N,): class indices (integers), whose error is the
    share that is wrong, or numbers, whose error is the squared one over their variance. `strata` (N,): what folds and
    subsets are balanced by. Raises DataError where there are too few samples or groups.
    """
    x = components(features)
    y = _columns(targets, x.dtype)
    repeats = REPEATS if len(x) <= MANY else 1
    shares = [share for share in SHARES if share * len(x) * (FOLDS - 1) / FOLDS >= LEAST]
    if len(shares) < 3:
        raise DataError(f"{len(x)} samples are too few for a learning curve", "add samples")
    errors, sizes = np.full((repeats, len(shares), len(x)), np.nan), np.zeros(len(shares))
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, repeat])
        folds = _folds(strata, groups, rng)
        for train, test in folds[:1] if len(x) > MOST else folds:
            order = train[interleaved(strata[train], rng)]
            for s, share in enumerate(shares):
                rows = order[: round(share * len(order))]
                errors[repeat, s, test] = _errors(predicted(x[rows], y[rows], x[test]), targets, y, test)
                sizes[s] = len(rows)
    kept = ~np.isnan(errors).any((0, 1))
    return Measured(sizes, errors[:, :, kept], groups[kept])


def seconds(n: int, d: int, columns: int) -> float:
    """What `measured` takes, about: its matrix products, on one core."""
    p, folds = min(d, COMPONENTS), FOLDS * (REPEATS if n <= MANY else 1) if n <= MOST else 1
    narrowed = (n + 10 * LOOKED_AT) * min(d, WIDE) * p if d > p else 0
    fold = n * sum(SHARES) * p * (p + columns) + len(SHARES) * (n / FOLDS + len(PENALTIES) * LOOKED_AT) * p * columns
    return 2 * (narrowed + folds * fold) / RATE


def components(features: NDArray[Any], most: int = COMPONENTS) -> NDArray[Any]:
    """(N, D) -> (N, p) principal components, p <= most; as they are where there are no more of them."""
    x = _sparse(features)
    if x is None:
        x = features - features.mean(0, dtype=np.float64).astype(features.dtype)
    if min(x.shape) <= most and x.shape[1] <= 2 * most:
        return np.asarray(x)
    from sklearn.utils.extmath import randomized_svd  # as exact as this needs, and many times faster

    few = x[:: max(1, len(features) // 2000)]
    _, _, axes = randomized_svd(few, min(most, *few.shape), n_iter=2, random_state=0)
    found = np.asarray(x @ axes.T)
    return np.asarray(found - found.mean(0))


def _sparse(features: NDArray[Any]) -> Any:
    """Weights of words, most of which a text does not have, as a sparse matrix, that is not centred; else None."""
    from scipy.sparse import csr_matrix

    wide = features.shape[1] > WIDE and np.count_nonzero(features[:LOOKED_AT]) < SPARSE * features[:LOOKED_AT].size
    return csr_matrix(features) if wide else None


def predicted(x: Array, y: Array, asked: Array) -> Array:
    """Ridge with intercept from (n, D) and (n, K), for (m, D) -> (m, K); of 10 penalties the one with the least
    leave-one-out squared error (Allen 1974), on at most 1,000 of the rows."""
    mean, level = x.mean(0), y.mean(0)
    z, t = x - mean, y - level
    dual = len(z) < z.shape[1]
    w, v = np.linalg.eigh((z @ z.T if dual else z.T @ z).astype(np.float64))
    kept = w > max(w[-1], 1e-12) * np.finfo(z.dtype).eps
    w, v = w[kept].astype(z.dtype), v[:, kept].astype(z.dtype)
    if not len(w):
        return np.tile(level, (len(asked), 1))
    part = v.T @ t if dual else (v.T @ (z.T @ t)) / np.sqrt(w)[:, None]  # of left singular vectors (n, k)
    few = slice(None, None, -(-len(z) // LOOKED_AT))
    u = v[few] if dual else z[few] @ (v / np.sqrt(w))
    shrinks = w / (w + (PENALTIES[:, None] * w.mean()).astype(w.dtype))
    best = shrinks[int(np.argmin([_left_out(u, part, t[few], shrink, len(z)) for shrink in shrinks]))]
    inner = (best / np.sqrt(w))[:, None] * part
    weight = z.T @ (v @ (inner / np.sqrt(w)[:, None])) if dual else v @ inner
    return np.asarray((asked - mean) @ weight + level)


def _left_out(u: Array, part: Array, t: Array, shrink: Array, n: int) -> float:
    """Mean squared error, on some rows of n, of predictions by a fit without the row."""
    leverage = 1 / n + (u * u) @ shrink
    return float(np.square((t - u @ (shrink[:, None] * part)) / np.maximum(1 - leverage, 1e-9)[:, None]).mean())


def _columns(targets: Array, dtype: Any) -> Array:
    if targets.dtype.kind == "i":
        return one_hot(targets.astype(np.int64), int(targets.max()) + 1, dtype)
    return np.asarray(targets[:, None].astype(dtype))


def _errors(said: Array, targets: Array, columns: Array, test: Rows) -> Array:
    if targets.dtype.kind == "i":
        return np.asarray((said.argmax(1) != targets[test]).astype(np.float64))
    return np.asarray(np.square(said - columns[test])[:, 0] / max(float(columns.var()), 1e-12))


def _folds(strata: Rows, groups: Rows, rng: np.random.Generator) -> list[tuple[Rows, Rows]]:
    """FOLDS of them, or one for each group. Raises DataError where all samples are of one group."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    alone = len(np.unique(groups))
    if alone < 2:
        raise DataError("all samples belong to one group, which is never divided", "add others")
    if alone > DEALT:
        fold = _dealt(strata, groups, rng)
        return [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(FOLDS)]
    kind = StratifiedKFold if alone == len(groups) else StratifiedGroupKFold
    cut = kind(min(FOLDS, alone), shuffle=True, random_state=int(rng.integers(2**31)))
    with warnings.catch_warnings():  # classes with fewer samples than folds
        warnings.simplefilter("ignore")
        return [(a, b) for a, b in cut.split(np.zeros(len(strata)), strata, groups) if len(a) and len(b)]


def _dealt(strata: Rows, groups: Rows, rng: np.random.Generator) -> Rows:
    """(N,) fold of each sample: the groups of each stratum take turns, in random order."""
    _, first, at = np.unique(groups, return_index=True, return_inverse=True)
    order, fold = np.lexsort((rng.random(len(first)), strata[first])), np.empty(len(first), np.int64)
    fold[order] = np.arange(len(first)) % FOLDS
    return np.asarray(fold[at])


def interleaved(strata: Rows, rng: np.random.Generator) -> Rows:
    """An order (n,) each beginning of which has about the same shares of the strata."""
    place = rng.random(len(strata))
    for layer in np.unique(strata):
        rows = rng.permutation(np.flatnonzero(strata == layer))
        place[rows] = (np.arange(len(rows)) + rng.random()) / len(rows)
    return np.argsort(place)
