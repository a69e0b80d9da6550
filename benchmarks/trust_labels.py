"""Are wrong labels found? Some are planted in real data, and ranked as `graft check` ranks them.

    python benchmarks/trust_labels.py --data DATA

A share of the labels is replaced by another class, drawn evenly; features are those of a trunk as it came. The labels
that were there before count as right, though some are not: what is found among them lowers the precision. `found` are
those that the check lists, `warns` how often it calls them wrong rather than worth a look. Rows that are `known` are of
data by which the method was chosen; the others it had not met.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import _options
import numpy as np
from sklearn.metrics import roc_auc_score

from graft import zoo
from graft.build import backbone, corpus
from graft.cache import Cache
from graft.checks._seen import PROBE, HeldOut, Seen
from graft.checks.label_errors import quality, suspects
from graft.data._audit import audit
from graft.data._sniff import open_data
from graft.device import pick
from graft.features import Feed
from graft.types import Dataset

RESNET = "local:{}/weights/resnet_cifar10_akamaster/resnet20-12fca82f.th(arch='resnet_cifar(depth=20)')"
RATES, MOST, SEEDS = (0.05, 0.1, 0.2), 5000, 3
FIELDS = ("auroc", "precision_at_k", "found", "precision", "recall")


class Source(NamedTuple):
    """What is read, and the trunk; None: the default one. `known`: the method was chosen by looking at these data."""

    name: str
    data: str
    trunk: str | None = None
    known: bool = True


SOURCES = (
    Source("ag_news, minilm", "{}/ag_news_test/test.csv", known=False),
    Source("sst2, minilm", "{}/sst2", known=False),
    Source("clinc150, minilm", "{}/clinc150/data_full.json", known=False),
    Source("fsdd, words8k, speakers apart", "{}/fsdd/recordings(pattern='{{label}}_{{group}}_{{}}')", known=False),
    Source("digits, pixels", "digits", "pixels"),
    Source("banking77, minilm", "{}/banking77"),
    Source("cifar10, resnet20 of CIFAR-10", "{}/cifar10_png/test", RESNET),
    Source("fsdd, words8k", "{}/fsdd/recordings(pattern='{{label}}_{{}}')"),
    Source("cifar10, tiny64", "{}/cifar10_png/test"),
    Source("hymenoptera, tiny64", "{}/hymenoptera"),
)


def features(source: Source, data: Path) -> tuple[Dataset, np.ndarray, str]:
    """At most MOST labelled samples, drawn once, with their features (N, D) and the trunk's name."""
    whole = audit(open_data(source.data.format(data))).where(lambda sample: sample.label is not None)
    rows = np.sort(np.random.default_rng(0).permutation(len(whole))[:MOST])
    dataset = whole.replace(samples=tuple(whole.samples[i] for i in rows))
    trunk = (source.trunk or zoo.DEFAULTS[dataset.modality]).format(data)
    made = backbone(trunk, corpus(dataset)).eval()
    pooled = Feed(dataset, made, device=pick("auto"), cache=Cache.default()).pooled()
    return dataset, pooled.float().numpy(), trunk.rpartition("/")[2].partition("(")[0]


def planted(dataset: Dataset, rate: float, seed: int) -> tuple[Dataset, np.ndarray]:
    """The data set with a share of wrong labels, and (N,) which these are."""
    rng, count, classes = np.random.default_rng(seed), len(dataset), len(dataset.classes)
    wrong = np.zeros(count, bool)
    wrong[rng.choice(count, round(rate * count), replace=False)] = True
    moved = (dataset.targets().numpy() + rng.integers(1, classes, count)) % classes
    samples = tuple(replace(sample, label=dataset.classes[moved[i]]) if wrong[i] else sample
                    for i, sample in enumerate(dataset.samples))  # fmt: skip
    return dataset.replace(samples=samples), wrong


def scored(held: HeldOut, wrong: np.ndarray) -> dict[str, Any]:
    """Of one planting; `k` of the precision is the number of wrong labels."""
    wrong, k, found = wrong[held.rows], int(wrong.sum()), suspects(held)
    hits = int(wrong[found.order].sum())
    return {"auroc": float(roc_auc_score(wrong, -quality(held))),
            "precision_at_k": float(wrong[np.argsort(quality(held), kind="stable")[:k]].mean()),
            "found": len(found.order), "precision": hits / max(1, len(found.order)), "recall": hits / k,
            "warns": found.wrong}  # fmt: skip


def measure(data: Path, quick: bool = False) -> list[dict[str, Any]]:
    """One row for each data set and rate, the mean over seeds; the first row of each is of the labels as they are."""
    return [row for source in (SOURCES[:1] if quick else SOURCES) for row in _rows(source, data, 1 if quick else SEEDS)]


def _rows(source: Source, data: Path, seeds: int) -> Iterator[dict[str, Any]]:
    dataset, pooled, trunk = features(source, data)
    about = {"what": source.name, "known": source.known, "trunk": trunk, "samples": len(dataset),
             "classes": len(dataset.classes)}  # fmt: skip
    held = Seen(dataset, pooled).held_out
    assert held is not None, "there are classes enough"
    asis = suspects(held)
    yield {**about, "rate": 0.0, "wrong": 0, "probe": asis.right, **dict.fromkeys(FIELDS), "found": len(asis.order),
           "warns": float(asis.wrong), "seconds": None}  # fmt: skip
    for rate in RATES:
        began, found = time.perf_counter(), []
        for seed in range(seeds):
            noisy, wrong = planted(dataset, rate, seed)
            held = Seen(noisy, pooled, seed).held_out
            assert held is not None, "there are classes enough"
            found.append(scored(held, wrong))
        means = {key: float(np.mean([one[key] for one in found])) for key in (*FIELDS, "warns")}
        spent = (time.perf_counter() - began) / seeds
        yield {**about, "rate": rate, "wrong": int(wrong.sum()), "probe": asis.right, **means, "seconds": spent}


def main() -> None:
    asked = _options.read(_options.with_data(_options.parser(__doc__, "one small data set, one seed", SEEDS)))
    _options.finish("trust_labels", measure(asked.data, asked.quick), {"probe": PROBE, "most": MOST}, asked)


if __name__ == "__main__":
    main()
