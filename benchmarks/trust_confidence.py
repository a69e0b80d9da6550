"""Honest confidence on real data: coverage of sets, calibration before and after, and what is unlike the training data.

    python benchmarks/trust_confidence.py --data $GRAFT_DATA [--rounds 20] [--quick]

Frozen features with a head: intents of Banking77 and CLINC150 through minilm, photographs of CIFAR-10 and of ants and
bees through the bundled trunk. Held-out samples are divided at random into calibration and test, once for each round.

coverage: how often the seen coverage of sets lies within its own 95 % interval. That of a set of thresholds is not
0.9 to the digit, but Beta distributed (Vovk 2012, arXiv:1209.2673), and the share that is seen of it binomial; for a
threshold in each class their mixture is drawn. Sets are taken as they are; `size` and `shown` are of those that `graft
predict` shows, which are never empty.

calibration: error of the top label and Brier score, means over rounds, and of the first round with their intervals.
"ridge, plain" is scikit-learn's, with the softmax of its scores as probabilities: what Graft's own would be without its
leave-one-out temperature.

unlike: the area under the curve between test samples and others of none of the classes, for neighbours (knn) and
maximum probability (msp) alone, for their smaller p-value (least), and for their product (fisher), which Graft takes.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import _options
import numpy as np
import torch
from numpy.typing import NDArray

from graft import build, calibration, conformal, novelty, registry
from graft.cache import Cache
from graft.data._sniff import open_data
from graft.device import pick
from graft.engine import Engine
from graft.features import Feed
from graft.novelty import Familiar
from graft.types import Dataset, Recipe, Sample, Text

Array = NDArray[np.float64]
ROUNDS, COVERAGE, DRAWS = 20, 0.9, 4000
TRUNKS = {"banking77": "minilm", "clinc150": "minilm", "cifar10": "bundled:tiny64", "hymenoptera": "bundled:tiny64"}
HEADS = ("logistic", "ridge", "ridge, plain")


class Part(NamedTuple):
    """Features (N, D), classes (N,), and the hashes of the contents."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    digests: list[str]

    def some(self, rows: NDArray[np.int64]) -> Part:
        return Part(self.x[rows], self.y[rows], [self.digests[i] for i in rows])


class Setting(NamedTuple):
    """Samples to fit on, held-out ones of the same source, and others of none of the classes, by name."""

    name: str
    train: Part
    held: Part
    strange: Mapping[str, Part]


# --------------------------------------------------------------------------------------------------------------- data


def texts(rows: Sequence[Sequence[str]]) -> Dataset:
    samples = tuple(Sample(str(i), text, label, digest=_hash(text.encode())) for i, (text, label) in enumerate(rows))
    classes = tuple(sorted({label for _, label in rows}))
    return Dataset("texts", "text", samples, classes, lambda s: Text(s.source), lambda s: s.source.encode())


def banking(data: Path, part: str) -> Dataset:
    with (data / "banking77" / f"{part}.csv").open(encoding="utf-8", newline="") as file:
        return texts([(row["text"], row["category"]) for row in csv.DictReader(file)])


def clinc(data: Path, *parts: str) -> Dataset:
    found = json.loads((data / "clinc150" / "data_full.json").read_text(encoding="utf-8"))
    return texts([row for part in parts for row in found[part]])


def pictures(folder: Path, every: int = 1) -> Dataset:
    """Every so manieth picture, with the names of folders as classes."""
    opened = open_data(str(folder))
    samples = (replace(s, digest=_hash(opened.read_bytes(s)), split=None) for s in opened.samples[::every])
    return opened.replace(samples=tuple(samples))


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def seen(dataset: Dataset, trunk: str) -> Part:
    backbone = build.backbone(trunk).eval()
    feed = Feed(dataset, backbone, device=pick("cpu"), cache=Cache.default(), engine=Engine.of(Recipe(data="memory")))
    features = feed.pooled().numpy().astype(np.float32)
    return Part(features, dataset.targets().numpy(), [sample.digest for sample in dataset.samples])


def settings(data: Path) -> dict[str, Callable[[], Setting]]:
    """What can be measured; nothing is read before the call."""

    def of_banking() -> Setting:
        train, held = (seen(banking(data, part), "minilm") for part in ("train", "test"))
        return Setting("banking77", train, held, {})

    def of_clinc() -> Setting:
        train, held = (seen(clinc(data, *parts), "minilm") for parts in (("train",), ("val", "test")))
        other = {"out of scope": seen(clinc(data, "oos_test"), "minilm"),
                 "banking77": seen(banking(data, "test"), "minilm")}  # fmt: skip
        return Setting("clinc150", train, held, other)

    def of_cifar() -> Setting:
        train, held = (seen(pictures(data / "cifar10_png" / part), TRUNKS["cifar10"]) for part in ("train", "test"))
        folders = {"omniglot": data / "omniglot" / "images_background_small1", "bccd": data / "bccd" / "JPEGImages",
                   "hymenoptera": data / "hymenoptera"}  # fmt: skip
        other = {name: seen(pictures(folder, 4 if name == "omniglot" else 1), TRUNKS["cifar10"])
                 for name, folder in folders.items()}  # fmt: skip
        return Setting("cifar10", train, held, other)

    def of_hymenoptera() -> Setting:
        train, held = (seen(pictures(data / "hymenoptera" / p), TRUNKS["hymenoptera"]) for p in ("train", "val"))
        return Setting(
            "hymenoptera", train, held, {"bccd": seen(pictures(data / "bccd" / "JPEGImages"), "bundled:tiny64")}
        )

    return {"banking77": of_banking, "clinc150": of_clinc, "cifar10": of_cifar, "hymenoptera": of_hymenoptera}


# ------------------------------------------------------------------------------------------------------ probabilities


def fitted(head: str, train: Part) -> Callable[[NDArray[np.float32]], Array]:
    """Features (N, D) -> probabilities (N, C), by a head that was fitted once."""
    if head == "ridge, plain":
        return _plain(train)
    probe = registry.find("probe", head)()
    arrays = probe.fit(torch.from_numpy(train.x), torch.from_numpy(train.y), int(train.y.max()) + 1)

    def say(x: NDArray[np.float32]) -> Array:
        return np.asarray(probe.logits(arrays, torch.from_numpy(x)).float().softmax(1).double())

    return say


def _plain(train: Part) -> Callable[[NDArray[np.float32]], Array]:
    from sklearn.linear_model import RidgeClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), RidgeClassifier()).fit(train.x, train.y)

    def say(x: NDArray[np.float32]) -> Array:
        scores = model.decision_function(x)
        scores = np.stack([-scores, scores], 1) if scores.ndim == 1 else scores
        return np.asarray(torch.from_numpy(scores).double().softmax(1))

    return say


def halves(count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    order = np.random.default_rng(seed).permutation(count)
    return order[: count // 2], order[count // 2 :]


# ----------------------------------------------------------------------------------------------------------- coverage


def coverage(setting: Setting, head: str, said: Array, rounds: int) -> list[dict[str, Any]]:
    """A row for each method, over all rounds."""
    rows = []
    for method in conformal.METHODS:
        found = [_covered(setting.held, said, method, seed) for seed in range(rounds)]
        shares = np.array([one["coverage"] for one in found])
        rows.append({"what": f"coverage: {setting.name}, {head}, {method}", "kind": "coverage", "data": setting.name,
                     "head": head, "method": method, "stated": COVERAGE, "rounds": rounds, "mean": float(shares.mean()),
                     "least": float(shares.min()), "most": float(shares.max()),
                     "within": int(sum(one["within"] for one in found)),
                     "shown": float(np.mean([one["shown"] for one in found])),
                     "size": float(np.mean([one["size"] for one in found])), "each": shares.tolist()})  # fmt: skip
    return rows


def _covered(held: Part, said: Array, method: str, seed: int) -> dict[str, Any]:
    """One division: thresholds by one half, scaled probabilities as a run has them, the other half tells."""
    known, asked = halves(len(held.y), seed)
    values = calibration.scaled(said, calibration.temperature(said[known], held.y[known]))
    drawn = conformal.draws(held.digests)
    limits = conformal.thresholds(values[known], held.y[known], drawn[known], COVERAGE, method)
    found = conformal.sets(values[asked], drawn[asked], limits, method)
    shown, truth = conformal.with_top(found, values[asked]), held.y[asked]
    share = conformal.covered(found, truth).value
    low, high = expected(held.y[known], truth, method == "class", seed)
    return {"coverage": share, "within": low <= share <= high, "size": float(shown.sum(1).mean()),
            "shown": conformal.covered(shown, truth).value}  # fmt: skip


def expected(known: NDArray[np.int64], asked: NDArray[np.int64], each: bool, seed: int) -> tuple[float, float]:
    """The middle 95 % of the coverage to be seen: Beta of the thresholds, binomial of the test samples."""
    rng = np.random.default_rng(seed)
    hits = np.zeros(DRAWS)
    for label in np.unique(asked) if each else [None]:
        n, m = ((part == label).sum() if label is not None else len(part) for part in (known, asked))
        rank = int(np.ceil((n + 1) * COVERAGE - 1e-9))
        hits += m if rank > n else rng.binomial(m, rng.beta(rank, n + 1 - rank, DRAWS))
    low, high = np.quantile(hits / len(asked), (0.025, 0.975))
    return float(low), float(high)


# -------------------------------------------------------------------------------------------------------- calibration


def calibrated(setting: Setting, head: str, said: Array, rounds: int) -> dict[str, Any]:
    found = [_errors(setting.held, said, seed) for seed in range(rounds)]
    row = {"what": f"calibration: {setting.name}, {head}", "kind": "calibration", "data": setting.name, "head": head,
           "rounds": rounds, "accuracy": float((said.argmax(1) == setting.held.y).mean())}  # fmt: skip
    row |= {name: float(np.mean([one[name][0] for one in found])) for name in found[0]}
    return row | {f"{name}_first": list(figure[:3]) for name, figure in found[0].items() if name != "temperature"}


def _errors(held: Part, said: Array, seed: int) -> dict[str, Any]:
    known, asked = halves(len(held.y), seed)
    warmth = calibration.temperature(said[known], held.y[known])
    found: dict[str, Any] = {"temperature": [warmth]}
    for when, values in (("before", said[asked]), ("after", calibration.scaled(said[asked], warmth))):
        found |= {f"ece_{when}": calibration.ece(values, held.y[asked]),
                  f"brier_{when}": calibration.brier(values, held.y[asked])}  # fmt: skip
    return found


# ------------------------------------------------------------------------------------------------------------- unlike


def unlike(setting: Setting, head: str, said: Callable[[NDArray[np.float32]], Array]) -> list[dict[str, Any]]:
    """A row for each foreign set; familiar are the samples of the first calibration half."""
    known, asked = (setting.held.some(rows) for rows in halves(len(setting.held.y), 0))
    rows = novelty.chosen(setting.train.y)
    bank = novelty.bank(setting.train.x[rows], int(setting.train.y.max()) + 1)
    warmth = calibration.temperature(said(known.x), known.y)

    def look(part: Part) -> tuple[Array, Array]:
        return novelty.distances(bank, part.x), calibration.scaled(said(part.x), warmth).max(1)

    familiar, ours = Familiar(*look(known)), look(asked)
    flagged = novelty.flagged(familiar.unlikeness(*ours)).mean()
    return [{"what": f"unlike: {setting.name}, {head}, {name}", "kind": "unlike", "data": setting.name, "head": head,
             "strange": name, "samples": len(part.y), "neighbours": bank.neighbours, "stated": novelty.STATED,
             "familiar_flagged": float(flagged), **_areas(familiar, ours, look(part))}
            for name, part in setting.strange.items()]  # fmt: skip


def _areas(familiar: Familiar, ours: tuple[Array, Array], theirs: tuple[Array, Array]) -> dict[str, Any]:
    def least(far: Array, sure: Array) -> Array:
        return -np.minimum(novelty.p_values(familiar.far, far), novelty.p_values(-familiar.sure, -sure))

    area = novelty.auroc(familiar.unlikeness(*ours), familiar.unlikeness(*theirs))
    flags = novelty.flagged(familiar.unlikeness(*theirs))
    pairs = {"knn": (ours[0], theirs[0]), "msp": (-ours[1], -theirs[1]), "least": (least(*ours), least(*theirs))}
    return {"fisher": area.value, "fisher95": [area.low, area.high],
            **{name: novelty.auroc(*pair).value for name, pair in pairs.items()},
            "strange_flagged": float(flags.mean())}  # fmt: skip


def measure(data: Path, quick: bool = False, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """All rows. Quick: three rounds and two settings."""
    rows: list[dict[str, Any]] = []
    for name, make in settings(data).items():
        if quick and name not in ("banking77", "hymenoptera"):
            continue
        setting = make()
        for head in HEADS:
            say = fitted(head, setting.train)
            said = say(setting.held.x)
            rows.append(calibrated(setting, head, said, 3 if quick else rounds))
            if head != HEADS[-1]:
                rows += coverage(setting, head, said, 3 if quick else rounds) + unlike(setting, head, say)
    return rows


def main() -> None:
    parser = _options.with_data(_options.parser(__doc__, "three rounds, two settings", rounds=ROUNDS))
    asked = _options.read(parser, "banking77", "clinc150", "cifar10_png", "omniglot", "bccd", "hymenoptera")
    rows = measure(asked.data, asked.quick, asked.rounds)
    _options.finish("trust_confidence", rows, {"coverage": COVERAGE, "trunks": TRUNKS}, asked)


if __name__ == "__main__":
    main()
