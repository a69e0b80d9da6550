"""Heads and scores on cached features against scikit-learn and the LogME authors' algorithm, in turn in one run.

    python benchmarks/heads.py [--rounds 3] [--only ridge] [--quick]

Overlapping Gaussian classes whose features' scales fall as those of real ones do, float32, as a cache holds them. Both
sides get the same rows and all threads; both standardise inside the time. Graft's side begins without a Gram matrix
each time, but for the row that says so. The score is the accuracy on 10,000 other rows, of LogME its value in nats.

The peers: RidgeClassifierCV with 13 penalties (Graft tries 28); LinearDiscriminantAnalysis with the five shrinkages of
Graft, of which the best on the test rows counts; LogisticRegression at Graft's C to its own tolerance; the fixed-point
iteration of LogME as published (You et al. 2021, arXiv:2102.11005, algorithm 1), with the decomposition of F^T F that
is faster than that of F; and the neighbours of NearestNeighbors.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from _race import Lap, race
from _report import report
from numpy.typing import NDArray
from torch import Tensor

from graft import registry
from graft.evidence import Evidence
from graft.probes.lda import GRID
from graft.ranking.knn import knn
from graft.ranking.logme import logme
from graft.types import Probe

C, TEST = 1e-2, 10_000
Array = NDArray[Any]


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


def ours(name: str, data: Data, after: str | None = None, **options: Any) -> Lap:
    """A probe's fit; `after` another one of the same tensor, which left its Gram matrix."""
    probe: Probe = registry.find("probe", name)(**options)
    x = data.x.view_as(data.x)  # another tensor of the same memory: nothing is known of it
    if after:
        registry.find("probe", after)().fit(x, data.y, data.classes)

    def accuracy(arrays: dict[str, Tensor]) -> float:
        return float((probe.logits(arrays, data.test).argmax(1) == data.truth).double().mean())

    return timed(lambda: probe.fit(x, data.y, data.classes), accuracy)


def score(ranker: Callable[..., Any], data: Data, **options: Any) -> Lap:
    work = partial(lambda: ranker(Evidence(data.x.numpy(), data.y.numpy(), data.classes), **options).value)
    return timed(work, float)


# --------------------------------------------------------------------------------------------------------- their side


def theirs(data: Data, fit: Callable[[Array, Array], Any]) -> Lap:
    """A model of scikit-learn, or several, of which the best counts, on rows that its own scaler standardises."""
    from sklearn.preprocessing import StandardScaler

    scaler, y = StandardScaler(), data.y.numpy()

    def accuracy(models: list[Any]) -> float:
        new = scaler.transform(data.test.numpy())
        return max(float((model.predict(new) == data.truth.numpy()).mean()) for model in models)

    return timed(lambda: fit(scaler.fit_transform(data.x.numpy()), y), accuracy)


def ridge(z: Array, y: Array) -> list[Any]:
    from sklearn.linear_model import RidgeClassifierCV

    return [RidgeClassifierCV(alphas=np.geomspace(1e-3, 1e6, 13) * len(z)).fit(z, y)]


def lda(z: Array, y: Array) -> list[Any]:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    return [LinearDiscriminantAnalysis(solver="lsqr", shrinkage=s).fit(z, y) for s in GRID]


def logistic(z: Array, y: Array) -> list[Any]:
    from sklearn.linear_model import LogisticRegression

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
    from sklearn.neighbors import NearestNeighbors

    def work() -> float:
        y = data.y.numpy()
        distance, near = NearestNeighbors(n_neighbors=k, metric="cosine").fit(data.x.numpy()).kneighbors()
        votes = np.zeros((len(y), data.classes))
        np.add.at(votes, (np.arange(len(y))[:, None], y[near]), np.exp(-distance / 0.07))
        return float((votes.argmax(1) == y).mean())

    return timed(work, float)


# ---------------------------------------------------------------------------------------------------------------- all


def races(quick: bool) -> Iterator[tuple[str, Data, Callable[[], Lap], Callable[[], Lap], str, float | None]]:
    """What, its data, the two sides, the peer's name, the goal."""
    few, n = (2_000, 6_000) if quick else (10_000, 50_000)
    shapes = ((256, 10), (128, 100)) if quick else ((2048, 10), (512, 100))
    for number, (d, classes) in enumerate(shapes):
        data = made(n, d, classes)
        goals = (5.0, 8.0) if number == 0 else (None, None)
        yield "ridge", data, partial(ours, "ridge", data), partial(theirs, data, ridge), "RidgeClassifierCV", goals[0]
        yield ("ridge after lda", data, partial(ours, "ridge", data, "lda"), partial(theirs, data, ridge),
               "RidgeClassifierCV", goals[0])  # fmt: skip
        yield ("lda", data, partial(ours, "lda", data), partial(theirs, data, lda),
               "LinearDiscriminantAnalysis x 5", goals[1])  # fmt: skip
        yield ("logistic", data, partial(ours, "logistic", data, c=C), partial(theirs, data, logistic),
               "LogisticRegression", None)  # fmt: skip
    for rows in (few, n):
        data = made(rows, 256 if quick else 2048, 100)
        goal = 10.0 if rows == n else None
        yield "LogME", data, partial(score, logme, data), partial(authors_logme, data), "the authors' algorithm", goal
    data = made(few, 256 if quick else 2048, 10)
    yield "k-NN", data, partial(score, knn, data, k=10), partial(neighbours, data, 10), "NearestNeighbors", None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="races whose name begins so")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows; written nowhere")
    asked = parser.parse_args()
    found = []
    for what, data, graft, peer, name, goal in races(asked.quick):
        if what.startswith(asked.only):
            found.append(race(f"{what}, {data.size}", graft, peer, name=name, rounds=asked.rounds, goal=goal))
    from _report import table

    setup = {**vars(asked), "threads": torch.get_num_threads()}
    table(found) if asked.quick or asked.only else report("heads", found, setup)


if __name__ == "__main__":
    main()
