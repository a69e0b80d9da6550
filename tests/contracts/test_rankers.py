"""What every ranker keeps: one finite number that depends on what the features say, not on how they are written down.

Rankers are discovered. What does not apply to one is said in EXCEPTIONS, with the reason.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from graft import registry
from graft.errors import DataError
from graft.evidence import Array, Evidence, Score

RANKERS = sorted(registry.names("ranker"))
EXCEPTIONS = {
    ("static", "separation"): "never looks at the data",
    ("nleep", "order"): "the mixture starts from samples drawn by their position",
    ("knn", "shift"): "the cosine depends on the origin",
}


def exempt(name: str, what: str) -> None:
    if (name, what) in EXCEPTIONS:
        pytest.skip(EXCEPTIONS[name, what])


@pytest.fixture(params=RANKERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def rank(name: str) -> Callable[[Evidence], Score]:
    found: Callable[[Evidence], Score] = registry.find("ranker", name)
    return found


def made(n: int = 60, d: int = 12, pull: float = 0.7, classes: int = 3, seed: int = 0) -> Evidence:
    """Gaussian classes, `pull` apart, and a source head of two more classes that looks where they may lie."""
    rng = np.random.default_rng(seed)
    targets, means = np.arange(n) % classes, rng.normal(size=(classes + 2, d))
    features = rng.normal(size=(n, d)) + pull * means[targets] + 2
    return Evidence(features, targets, classes, softmax((features - 2) @ means.T, axis=1), 25_000_000)


def turn(d: int) -> Array:
    return np.linalg.qr(np.random.default_rng(1).normal(size=(d, d)))[0]


def test_takes_evidence_and_options_that_all_have_defaults(name: str) -> None:
    first, *options = inspect.signature(registry.find("ranker", name)).parameters.values()
    assert first.name == "evidence"
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in options)
    assert len(registry.names("ranker")[name]) > 20


def test_is_a_finite_number_and_the_parts_have_it_as_their_mean(rank: Callable[[Evidence], Score]) -> None:
    score = rank(made())
    assert type(score.value) is float and math.isfinite(score.value)
    assert type(score.se) is float and (math.isnan(score.se) or score.se >= 0)
    if score.each is not None:
        assert score.each.shape == (60,) and score.each.mean() == pytest.approx(score.value) and score.se > 0


def test_repeats_to_the_digit_and_leaves_the_evidence_alone(rank: Callable[[Evidence], Score]) -> None:
    evidence = made()
    before = [array.copy() for array in _arrays(evidence)]
    first, again, afresh = rank(evidence), rank(evidence), rank(made())
    assert first.value == again.value == afresh.value
    assert all(np.array_equal(a, b) for a, b in zip(before, _arrays(evidence), strict=True))


def _arrays(evidence: Evidence) -> tuple[Array, ...]:
    spectrum = evidence.spectrum
    return evidence.features, evidence.targets, spectrum.w, spectrum.vectors, evidence.coefficients


@pytest.mark.parametrize(("n", "d"), [(60, 12), (40, 40), (40, 90)])
def test_order_of_the_samples_does_not_matter(name: str, rank: Callable[[Evidence], Score], n: int, d: int) -> None:
    exempt(name, "order")
    evidence, order = made(n, d), np.random.default_rng(2).permutation(n)
    assert evidence.source is not None
    mixed = replace(evidence, features=evidence.features[order], targets=evidence.targets[order],
                    source=evidence.source[order])  # fmt: skip
    assert rank(mixed).value == pytest.approx(rank(evidence).value, abs=1e-6)


@pytest.mark.parametrize(("n", "d"), [(60, 12), (40, 40), (40, 90)])
@pytest.mark.parametrize("what", ["columns", "rotation", "scale", "shift"])
def test_how_features_are_written_down_does_not_matter(
    name: str, rank: Callable[[Evidence], Score], what: str, n: int, d: int
) -> None:
    """All rankers are unchanged by an order of columns, a rotation and a scale; all but k-NN by a shift."""
    exempt(name, what)
    evidence = made(n, d)
    x = evidence.features
    changed = {"columns": x[:, ::-1], "rotation": x @ turn(d), "scale": x * 1e4, "shift": x + turn(d)[0] * 10}[what]
    assert rank(replace(evidence, features=changed)).value == pytest.approx(rank(evidence).value, abs=1e-6)


def test_names_of_classes_do_not_matter(rank: Callable[[Evidence], Score]) -> None:
    evidence = made()
    renamed = replace(evidence, targets=np.array([2, 0, 1])[evidence.targets])
    assert rank(renamed).value == pytest.approx(rank(evidence).value, abs=1e-6)


def test_classes_without_samples_do_not_matter(rank: Callable[[Evidence], Score]) -> None:
    evidence = made()
    padded = replace(evidence, targets=evidence.targets + 2, classes=7)
    assert rank(padded).value == pytest.approx(rank(evidence).value, abs=1e-6)


@pytest.mark.parametrize("d", [12, 200])
def test_features_that_tell_classes_apart_score_higher(name: str, rank: Callable[[Evidence], Score], d: int) -> None:
    exempt(name, "separation")
    pulls = np.array([0.0, 0.5, 1.0]) * (12 / d) ** 0.5  # classes are as far apart in 200 dimensions as in 12
    values = [rank(made(150, d, pull)).value for pull in pulls]
    assert values[0] < values[1] < values[2]


def awkward() -> dict[str, Evidence]:
    rng, y = np.random.default_rng(3), np.arange(4) % 2
    clusters = np.repeat(np.eye(3), 4, axis=0)
    return {
        "constant features": Evidence(np.full((12, 5), 0.1), np.arange(12) % 3, 3, np.ones((12, 1))),
        "features of zero": Evidence(np.zeros((12, 5)), np.arange(12) % 3, 3, np.ones((12, 1))),
        "one feature": Evidence(rng.normal(size=(12, 1)), np.arange(12) % 3, 3, np.ones((12, 1))),
        "a class of one sample": Evidence(
            rng.normal(size=(9, 5)), np.array([0] * 4 + [1] * 4 + [2]), 3, np.ones((9, 1))
        ),
        "only classes of one sample": Evidence(rng.normal(size=(9, 5)), np.arange(9), 9, np.ones((9, 1))),
        "four samples": Evidence(rng.normal(size=(4, 20)), y, 2, np.ones((4, 1))),
        "two samples": Evidence(rng.normal(size=(2, 20)), np.arange(2), 2, np.ones((2, 1))),
        "classes that are points": Evidence(clusters, np.repeat(np.arange(3), 4), 3, clusters),
        "copies with other labels": Evidence(
            np.repeat(rng.normal(size=(2, 8)), 4, axis=0), np.arange(8) % 2, 2, np.ones((8, 1))
        ),
        "features of a millionth": Evidence(rng.normal(size=(12, 5)) * 1e-6, np.arange(12) % 3, 3, np.ones((12, 1))),
        "features of 1e30": Evidence(rng.normal(size=(12, 5)) * 1e30, np.arange(12) % 3, 3, np.ones((12, 1))),
    }


@pytest.mark.parametrize("case", list(awkward()))
@pytest.mark.filterwarnings("error")
def test_awkward_features_give_a_finite_number_or_are_refused(rank: Callable[[Evidence], Score], case: str) -> None:
    try:
        score = rank(awkward()[case])
    except DataError as refused:
        assert refused.what and refused.hint
    else:
        assert math.isfinite(score.value)
