"""Heads and scores on cached features against scikit-learn and the LogME authors' algorithm, in turn in one run.

    python benchmarks/heads.py [--rounds 3] [--only ridge] [--quick]

Overlapping Gaussian classes whose features' scales fall as those of real ones do, float32, as a cache holds them. Both
sides get the same rows and all threads; both standardise inside the time. Graft's side begins without a Gram matrix
each time, but for the row that says so. The score is the accuracy on 10,000 other rows, of LogME its value in nats.

The peers: RidgeClassifierCV with 13 penalties (Graft tries 28); LinearDiscriminantAnalysis with the five shrinkages of
Graft, of which the best on the test rows counts; LogisticRegression at Graft's C to its own tolerance
(`graft_objective` and `peer_objective` are the mean penalised losses that the two come to); the fixed-point iteration
of LogME as published (You et al. 2021, arXiv:2102.11005, algorithm 1), with the decomposition of F^T F that is faster
than that of F; and the neighbours of NearestNeighbors, by distances of rows of length 1.

Not the same: of float32 features Graft's LogME multiplies in float32 and decomposes in float64, while the authors' code
works in float64 throughout. The rows "LogME float64" give Graft float64 features, of which every product is float64.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import _options
import numpy as np
import torch
from _race import Lap, race
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler, normalize
from torch import Tensor
from torch.nn import functional as F

from graft import registry
from graft.evidence import Evidence
from graft.probes.lda import GRID
from graft.ranking.knn import knn
from graft.ranking.logme import logme
from graft.types import Probe

C, TEST = 1e-2, 10_000
SHAPES = ((2048, 10, (5.0, 8.0)), (512, 100, (None, None)))  # D, classes, the goals of ridge and of LDA
Array = NDArray[Any]
Said = dict[str, float]


class Data(NamedTuple):
    x: Tensor  # (N, D) float32
    y: Tensor
    test: Tensor
    truth: Tensor
    classes: int

    @property
    def size(self) -> str:
        return f"{len(self.x):,} x {self.x.shape[1]:,} x {self.classes}"


def made(n: int, d: int, classes: int) -> Data:
    """About three in four are told apart by the best linear rule of ten classes, less of more."""
    rng = np.random.default_rng(0)
    scale = np.arange(1, d + 1, dtype=np.float32) ** -0.3
    means = rng.standard_normal((classes, d), dtype=np.float32) * 2.4 / d**0.5
    targets = rng.integers(0, classes, n + TEST)
    x = np.empty((n + TEST, d), dtype=np.float32)
    for at in range(0, len(x), 10_000):
        part = targets[at : at + 10_000]
        x[at : at + 10_000] = (rng.standard_normal((len(part), d), dtype=np.float32) + means[part]) * scale + 1
    rows, y = torch.from_numpy(x), torch.from_numpy(targets)
    return Data(rows[:n], y[:n], rows[n:], y[n:], classes)


def timed(work: Callable[[], Any], judge: Callable[[Any], float]) -> Lap:
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = work()
    seconds = time.perf_counter() - began
    return Lap(seconds, judge(found))


# ----------------------------------------------------------------------------------------------------------- our side


def ours(name: str, data: Data, after: str | None = None, said: Said | None = None, **options: Any) -> Lap:
    """A probe's fit; `after` another one of the same tensor, which left its Gram matrix."""
    probe: Probe = registry.find("probe", name)(**options)
    x = data.x.view_as(data.x)  # another tensor of the same memory: nothing is known of it
    if after:
        registry.find("probe", after)().fit(x, data.y, data.classes)

    def accuracy(arrays: dict[str, Tensor]) -> float:
        if said is not None:
            weight = arrays["weight"].numpy() * data.x.double().std(0, correction=0).numpy()
            said["graft_objective"] = objective(probe.logits(arrays, data.x), weight, data.y)
        return float((probe.logits(arrays, data.test).argmax(1) == data.truth).double().mean())

    return timed(lambda: probe.fit(x, data.y, data.classes), accuracy)


def score(ranker: Callable[..., Any], data: Data, dtype: torch.dtype = torch.float32, **options: Any) -> Lap:
    x, y = data.x.to(dtype).numpy(), data.y.numpy()
    return timed(lambda: ranker(Evidence(x, y, data.classes), **options).value, float)


def objective(logits: Tensor, weight: Array, y: Tensor) -> float:
    """The mean loss of the rows with the penalty at C, in nats: `weight` (classes, D) is of standardised features."""
    return float(F.cross_entropy(logits.double(), y)) + float(np.square(weight).sum()) / (2 * C * len(y))


# --------------------------------------------------------------------------------------------------------- their side


def theirs(data: Data, fit: Callable[[Array, Array], list[Any]], said: Said | None = None) -> Lap:
    """A model of scikit-learn, or several, of which the best counts, on rows that its own scaler standardises."""
    scaler, y = StandardScaler(), data.y.numpy()

    def accuracy(models: list[Any]) -> float:
        if said is not None:
            logits = models[0].decision_function(scaler.transform(data.x.numpy()))
            said["peer_objective"] = objective(torch.from_numpy(logits), models[0].coef_, data.y)
        new = scaler.transform(data.test.numpy())
        return max(float((model.predict(new) == data.truth.numpy()).mean()) for model in models)

    return timed(lambda: fit(scaler.fit_transform(data.x.numpy()), y), accuracy)


def ridge(z: Array, y: Array) -> list[Any]:
    return [RidgeClassifierCV(alphas=np.geomspace(1e-3, 1e6, 13) * len(z)).fit(z, y)]


def lda(z: Array, y: Array) -> list[Any]:
    return [LinearDiscriminantAnalysis(solver="lsqr", shrinkage=s).fit(z, y) for s in GRID]


def logistic(z: Array, y: Array) -> list[Any]:
    return [LogisticRegression(C=C, max_iter=1000).fit(z, y)]


def authors_logme(data: Data) -> Lap:
    def work() -> float:
        x, y = data.x.double().numpy(), data.y.numpy()
        _, s, vh = np.linalg.svd(x.T @ x)
        u = x @ (vh.T / np.sqrt(s))
        return float(np.mean([fixed_point(u, s, (y == c).astype(float), len(s)) for c in range(data.classes)]))

    return timed(work, float)


def fixed_point(u: Array, sigma: Array, y: Array, d: int) -> float:
    """The evidence per sample of one class at the alpha and beta that the iteration ends with."""
    n, z, alpha, beta = len(y), np.square(u.T @ y), 1.0, 1.0
    rest = max(float(y @ y - z.sum()), 0.0)
    for _ in range(100):
        t = alpha / beta
        gamma, m = float((sigma / (sigma + t)).sum()), float((sigma * z / np.square(t + sigma)).sum())
        residual = float((z / np.square(1 + sigma / t)).sum()) + rest
        alpha, beta = gamma / (m + 1e-5), (n - gamma) / (residual + 1e-5)
        if abs(alpha / beta - t) / t <= 1e-3:
            break
    evidence = d / 2 * np.log(alpha) + n / 2 * np.log(beta) - np.log(alpha + beta * sigma).sum() / 2
    return float((evidence - beta / 2 * residual - alpha / 2 * m - n / 2 * np.log(2 * np.pi)) / n)


def neighbours(data: Data, k: int) -> Lap:
    """On rows of length 1, half the squared distance is 1 - cosine: scikit-learn's fast way is that of distances."""

    def work() -> float:
        x, y = normalize(data.x.numpy()), data.y.numpy()
        distance, near = NearestNeighbors(n_neighbors=k, metric="euclidean").fit(x).kneighbors()
        votes = np.zeros((len(y), data.classes))
        np.add.at(votes, (np.arange(len(y))[:, None], y[near]), np.exp(-(distance**2) / 2 / 0.07))
        return float((votes.argmax(1) == y).mean())

    return timed(work, float)


# ---------------------------------------------------------------------------------------------------------------- all


class Pair(NamedTuple):
    """One row: the two sides, and `said`, which they fill beside their laps."""

    what: str
    data: Data
    graft: Callable[[], Lap]
    peer: Callable[[], Lap]
    name: str
    goal: float | None = None
    said: Said | None = None

    def run(self, rounds: int) -> dict[str, Any]:
        what = f"{self.what}, {self.data.size}"
        made = race(what, self.graft, self.peer, name=self.name, rounds=rounds, goal=self.goal)
        return made | (self.said or {})


def probes(quick: bool) -> Iterator[Pair]:
    n, narrower = (6_000, 8) if quick else (50_000, 1)
    for d, classes, goals in SHAPES:
        data, said = made(n, d // narrower, classes), Said()
        best = partial(theirs, data, ridge)
        yield Pair("ridge", data, partial(ours, "ridge", data), best, "RidgeClassifierCV", goals[0])
        yield Pair("ridge after lda", data, partial(ours, "ridge", data, "lda"), best, "RidgeClassifierCV", goals[0])
        yield Pair("lda", data, partial(ours, "lda", data), partial(theirs, data, lda), "sklearn LDA x 5", goals[1])
        yield Pair("logistic", data, partial(ours, "logistic", data, said=said, c=C),
                   partial(theirs, data, logistic, said), "LogisticRegression", None, said)  # fmt: skip


def scores(quick: bool) -> Iterator[Pair]:
    few, n, d = (2_000, 6_000, 256) if quick else (10_000, 50_000, 2048)
    for rows in (few, n):
        data = made(rows, d, 100)
        for what, dtype in (("LogME", torch.float32), ("LogME float64", torch.float64)):
            goal = 10.0 if rows == n and dtype == torch.float32 else None
            yield Pair(what, data, partial(score, logme, data, dtype), partial(authors_logme, data), "authors' LogME",
                       goal)  # fmt: skip
    data = made(few, d, 10)
    yield Pair("k-NN", data, partial(score, knn, data, k=10), partial(neighbours, data, 10), "NearestNeighbors")


def main() -> None:
    parser = _options.parser(__doc__, "a tenth of the rows")
    parser.add_argument("--only", default="", help="races whose name begins so; shown, not written without --out")
    asked = _options.read(parser)
    pairs = chain(probes(asked.quick), scores(asked.quick))
    found = [pair.run(asked.rounds) for pair in pairs if pair.what.startswith(asked.only)]
    asked.quick = asked.quick or bool(asked.only)  # a part is no result, either
    _options.finish("heads", found, {"only": asked.only}, asked)


if __name__ == "__main__":
    main()
