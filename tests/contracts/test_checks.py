"""What every check keeps: findings that name their samples and say what to do, the same ones each time, of any labels;
and nothing where nothing is wrong.

Checks are discovered; each has something planted for it in PLANTED.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from graft import registry
from graft.checks._seen import Seen
from graft.types import Answers, Dataset, Issue, Sample

CHECKS = sorted(registry.names("check"))
CLASSES = ("ants", "bees", "wasps")
LABELS = {"class": "ants", "labels": ("ants", "bees"), "number": 0.5, "tags": ("O", "B-ants"), "none": None,
          "answers": Answers(("yes",), (0,)), "transcript": "an ant"}  # fmt: skip
Check = Callable[[Seen], Iterator[Issue]]


def made(count: int = 120, classes: tuple[str, ...] = CLASSES, seed: int = 0) -> Seen:
    """Images in folders of classes, whose files say nothing of the class, and features that say it well."""
    rng = np.random.default_rng(seed)
    samples = tuple(
        Sample(f"{classes[i % len(classes)]}/{rng.integers(10**6):06d}.jpg", f"/data/{i}", classes[i % len(classes)],
               ("train", "train", "test", "train", "valid")[i // len(classes) % 5], None, f"{i:064d}", about(rng))
        for i in range(count)
    )  # fmt: skip
    means = 4 * rng.normal(size=(len(classes), 12))
    features = means[np.arange(count) % len(classes)] + rng.normal(size=(count, 12))
    return Seen(dataset(samples, classes), features.astype(np.float32))


def about(rng: np.random.Generator) -> dict[str, object]:
    size = {"width": int(rng.integers(200, 500)), "height": int(rng.integers(200, 500))}
    return {"format": "JPEG", "mode": "RGB", "bytes": int(rng.integers(9_000, 90_000)), **size}


def dataset(samples: tuple[Sample, ...], classes: tuple[str, ...] = CLASSES, kind: str = "class") -> Dataset:
    return Dataset("insects", "image", samples, classes, lambda sample: None, lambda sample: b"", kind=kind)


def changed(seen: Seen, change: Callable[[int, Sample], Sample]) -> Seen:
    samples = tuple(change(i, sample) for i, sample in enumerate(seen.dataset.samples))
    return Seen(seen.dataset.replace(samples=samples), seen.features, seen.seed, seen.leaks, seen.leak_features)


# ------------------------------------------------------------------------------------------------------------- planted


def uneven(seen: Seen) -> Seen:
    kept = [i for i, s in enumerate(seen.dataset.samples) if s.label != "wasps" or i < 10]
    assert seen.features is not None
    return Seen(dataset(tuple(seen.dataset.samples[i] for i in kept)), seen.features[kept])


def without_a_class_in_test(seen: Seen) -> Seen:
    return changed(seen, lambda i, s: replace(s, split="train") if s.label == "wasps" else s)


def patients(seen: Seen) -> Seen:
    return changed(seen, lambda i, s: replace(s, key=f"{s.label}/patient{i // 4}_{i}.jpg"))


def wide_ants(seen: Seen) -> Seen:
    return changed(seen, lambda i, s: replace(s, about={**s.about, "width": 512 if s.label == "ants" else 300 + i % 3}))


def two_hospitals(seen: Seen) -> Seen:
    place = {"ants": ("north", "west"), "bees": ("south", "east"), "wasps": ("centre", "coast")}
    return changed(seen, lambda i, s: replace(s, key=f"{place[s.label][i % 2]}/{s.label}/{i}.jpg"))


def mislabelled(seen: Seen) -> Seen:
    def wrong(i: int, s: Sample) -> Sample:
        return replace(s, label=CLASSES[(i + 1) % 3]) if i % 12 == 0 else s

    return changed(seen, wrong)


def leaking(seen: Seen) -> Seen:
    """Features without classes, and a copy of every test sample among the leaks."""
    features = np.random.default_rng(1).normal(size=(len(seen.dataset), 200)).astype(np.float32)
    tested = [i for i, s in enumerate(seen.dataset.samples) if s.split == "test"]
    copies = tuple(replace(seen.dataset.samples[i], key=f"copy/{i}.jpg", split="train") for i in tested)
    return Seen(seen.dataset, features, 0, dataset(copies), features[tested])


PLANTED: dict[str, Callable[[Seen], Seen]] = {
    "imbalance": uneven,
    "class_sets": without_a_class_in_test,
    "straddling": patients,
    "shortcuts": wide_ants,
    "sources": two_hospitals,
    "label_errors": mislabelled,
    "leak_score": leaking,
}


@pytest.fixture(params=CHECKS)
def name(request: pytest.FixtureRequest) -> str:
    if request.param == "label_errors":
        pytest.importorskip("cleanlab", reason="needs cleanlab")
    return str(request.param)


@pytest.fixture
def check(name: str) -> Check:
    found: Check = registry.find("check", name)
    return found


def test_takes_what_may_be_seen_and_says_its_method(name: str, check: Check) -> None:
    assert list(inspect.signature(check).parameters) == ["seen"]
    assert len(registry.names("check")[name]) > 20 and check.__doc__


def test_says_nothing_of_data_without_fault(check: Check) -> None:
    assert list(check(made())) == []


def test_finds_what_was_planted_and_names_it(name: str, check: Check) -> None:
    (found,) = check(PLANTED[name](made()))
    assert found.severity in ("note", "warning") and found.what and found.code
    assert len(found.details) in (0, len(found.keys)) and all(isinstance(key, str) for key in found.keys)
    assert found.severity == "note" or found.hint, "a warning says what to do"
    assert found.json()["count"] == len(found.keys)


def test_says_the_same_again_and_changes_nothing(name: str, check: Check) -> None:
    seen = PLANTED[name](made())
    before = seen.dataset.samples, None if seen.features is None else seen.features.copy()
    assert list(check(seen)) == list(check(PLANTED[name](made())))
    assert seen.dataset.samples == before[0] and np.array_equal(seen.features, before[1])


@pytest.mark.parametrize("kind", sorted(LABELS))
def test_takes_every_kind_of_labels(check: Check, kind: str) -> None:
    samples = tuple(replace(s, label=LABELS[kind]) for s in made().dataset.samples)
    classes = {"class": ("ants",), "labels": ("ants", "bees")}.get(kind, ())
    assert list(check(Seen(dataset(samples, classes, kind), made().features))) == []


@pytest.mark.parametrize("count", [0, 1, 5])
def test_takes_few_samples_and_unlabelled_ones(check: Check, count: int) -> None:
    few = made(count, CLASSES[: max(1, count)])
    assert list(check(few)) == []
    bare = changed(few, lambda i, s: replace(s, label=None, about={}, split=None))
    assert list(check(bare)) == []


def test_needs_no_features_and_no_words_of_the_files(check: Check) -> None:
    bare = changed(made(), lambda i, s: replace(s, about={}, digest=""))
    assert list(check(Seen(bare.dataset))) == []
