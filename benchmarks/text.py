"""Texts: few labels, intents with out-of-scope questions, sentiment, entities, answers, domain pretraining, seconds.

    python benchmarks/text.py banking | agnews --data $GRAFT_DATA --work OUT [--seeds 10]
    python benchmarks/text.py clinc | sst2 | wnut | xquad --data $GRAFT_DATA --work OUT
    python benchmarks/text.py domain --run RUN --data $GRAFT_DATA --work OUT
    python benchmarks/text.py report --work OUT

Each part is a file of OUT; `report` makes benchmarks/results/text.json of them. Test parts: the official ones of
Banking77, CLINC150, SST-2 and WNUT17; of AG News, whose test file alone is at hand, 2,000 of the odd rows that are not
trained on (the even ones are for choosing); of XQuAD, every fourth article. Nothing was chosen by any of them.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import _report
import numpy as np
import torch
from scipy.stats import t as student

from graft.data._audit import audit
from graft.data._sniff import open_data
from graft.intervals import bootstrap_mean
from graft.paired import Fold, bootstrapped
from graft.recipe import Recipe
from graft.spec import parse
from graft.store import write_json
from graft.trials import Trials, Way, batch_for
from graft.types import Dataset, Predictions, Sample, Text

Row = dict[str, Any]
TFIDF = Way("tfidf", "logistic(standardize=False)")
PROBES = (Way("minilm", "centroid"), Way("minilm", "ridge"), Way("minilm", "logistic"), TFIDF)


def fold(train: Dataset, test: Sequence[Sample]) -> tuple[Dataset, Fold]:
    """One data set of a training and a test part, as a pool with one fold."""
    count, asked = len(train), len(test)
    pool = train.replace(samples=(*train.samples, *test))
    rows = np.arange(count), np.arange(count, count + asked)
    return pool, Fold(rows[0], rows[1], np.ones(asked, bool))


def measured(pool: Dataset, cut: Fold, ways: Sequence[Way], seed: int = 0, task: str = "auto") -> dict[Way, np.ndarray]:
    """What each test sample adds to the metric, for each way. A vocabulary is made of the training part alone."""
    parted = [Sample(**{**s.__dict__, "split": "train" if i < len(cut.train) else "test"})
              for i, s in enumerate(pool.samples)]  # fmt: skip
    trials = Trials(
        Recipe("memory", seed=seed, task=task, precision="bf16"), pool.replace(samples=tuple(parted)), (cut,)
    )
    for way in ways:
        began = time.monotonic()
        trials.measure(way, 0)
        print(f"  {way}: {trials.hits[way][0].mean():.4f} in {time.monotonic() - began:.0f} s", flush=True)
    return {way: trials.hits[way][0] for way in ways}


def few(dataset: Dataset, per_class: int, seed: int) -> tuple[Dataset, list[Sample]]:
    """`per_class` samples of each class, and the rest."""
    found: dict[str, list[Sample]] = defaultdict(list)
    for sample in dataset.samples:
        found[sample.label].append(sample)
    random = Random(seed)
    chosen = [one for label in sorted(found) for one in random.sample(found[label], per_class)]
    keys = {sample.key for sample in chosen}
    return dataset.replace(samples=tuple(chosen)), [s for s in dataset.samples if s.key not in keys]


def over_seeds(values: Sequence[float]) -> Row:
    """The mean over draws of the training samples, with Student's 95 % interval."""
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))
    wide = float(student.ppf(0.975, len(values) - 1)) * error
    return {"value": mean, "low": mean - wide, "high": mean + wide, "seeds": [round(v, 5) for v in values]}


def on_test(each: np.ndarray) -> Row:
    return bootstrap_mean(each)._asdict()


def compared(found: dict[Way, np.ndarray]) -> Row:
    """Every way's score on the test part, and its paired difference from the first."""
    first = next(iter(found.values()))
    return {name(way): on_test(each) | {"gain": bootstrapped(each - first)._asdict()} for way, each in found.items()}


def name(way: Way) -> str:
    return f"{way.strategy} on {way.backbone}"


# ---------------------------------------------------------------------------------------------------------- the parts


def banking(data: Path, seeds: int) -> Row:
    """77 intents, 8 texts of each. Published: all-MiniLM-L6-v2 + logistic 80.0 (MTEB, ten draws)."""
    train, test = (audit(open_data(str(data / "banking77" / f"{part}.csv"))) for part in ("train", "test"))
    return {"8 a class": repeated(train, lambda rest: test.samples, 8, seeds)}


def agnews(data: Path, seeds: int) -> Row:
    """4 topics. Published by SetFit: with a MiniLM 83.1 at 8 a class; with mpnet 82.9, and 88.0 at 64."""
    news = ag_news(data)
    return {f"{each} a class": repeated(news, lambda rest: rest[:2000], each, seeds) for each in (8, 64)}


def ag_news(data: Path) -> Dataset:
    """The odd rows of the test file: title and text as one, as SetFit has them."""
    import csv
    import tempfile

    names = (data / "ag_news_test" / "classes.txt").read_text(encoding="utf-8").split("\n")
    with (data / "ag_news_test" / "test.csv").open(encoding="utf-8", newline="") as file:
        rows = [(f"{title} {text}", names[int(label) - 1]) for label, title, text in csv.reader(file)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "agnews.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *rows[1::2]])
        return audit(open_data(str(path)))


def repeated(data: Dataset, test: Callable[[list[Sample]], Sequence[Sample]], per_class: int, seeds: int) -> Row:
    """Every way on the same draws, and its paired gain over the logistic probe."""
    scores: dict[str, list[float]] = defaultdict(list)
    for seed in range(seeds):
        train, rest = few(data, per_class, seed)
        print(f"{data.name}, {per_class} a class, draw {seed}", flush=True)
        tuned = Way("minilm", "contrastive", batch_size=batch_for(2 * len(train), 64))
        for way, each in measured(*fold(train, test(rest)), (*PROBES, tuned), seed).items():
            scores[name(way)].append(float(each.mean()))
    mark = scores[name(PROBES[2])]
    return {way: over_seeds(values) | {"gain": over_seeds([a - b for a, b in zip(values, mark, strict=True)])}
            for way, values in scores.items()}  # fmt: skip


def clinc(data: Path) -> Row:
    """150 intents and questions that are none of them. Published for full fine-tuning of BERT: 96.2 % in scope, 52 %
    recall of out-of-scope (Larson et al. 2019, arXiv:1909.02027, one threshold for all)."""
    from sklearn.metrics import roc_auc_score
    from sklearn.neighbors import NearestNeighbors

    rows = json.loads((data / "clinc150" / "data_full.json").read_text(encoding="utf-8"))

    def samples(part: str) -> list[Sample]:
        return [Sample(f"{part}:{i}", Text(text), label, digest=sha256(text.encode()).hexdigest())
                for i, (text, label) in enumerate(rows[part])]  # fmt: skip

    train, valid, test, strange = (samples(part) for part in ("train", "val", "test", "oos_test"))
    classes = tuple(sorted({sample.label for sample in train}))
    known = Dataset("clinc150", "text", tuple(train), classes, lambda s: s.source, lambda s: s.source.text.encode())
    ways = (Way("minilm", "logistic(c=1.0)"), Way("minilm", "ridge"), Way("minilm", "centroid"))
    pool, cut = fold(known, test)
    scores = compared(measured(pool, cut, ways))
    trials = Trials(Recipe("memory"), known.replace(samples=(*train, *valid, *test, *strange)), ())
    features = trials.trunk("minilm").view("pooled").numpy()
    ends = np.cumsum([len(part) for part in (train, valid, test, strange)])
    near = NearestNeighbors(n_neighbors=5).fit(features[: ends[0]])
    away = near.kneighbors(features[ends[0] :])[0].mean(1)
    inside, asked, outside = np.split(away, ends[1:3] - ends[0])
    limit = np.quantile(inside, 0.95)  # 5 % of the known questions of the valid part are turned away
    auroc = roc_auc_score(np.r_[np.zeros(len(asked)), np.ones(len(outside))], np.r_[asked, outside])
    return {"in_scope": scores, "out_of_scope": {
        "score": "mean distance of the 5 nearest training features; limit: 95 % of the valid part stay in scope",
        "recall": on_test((outside > limit).astype(float)), "kept_in_scope": on_test((asked <= limit).astype(float)),
        "auroc": float(auroc)}}  # fmt: skip


def sst2(data: Path) -> Row:
    """6,920 sentences of film reviews, positive or negative."""
    train, test = (audit(open_data(str(data / "sst2" / f"{part}.tsv"))) for part in ("train", "test"))
    trained = ("lora(epochs=3)", "bitfit(epochs=3)", "full(epochs=3)", "lp_ft(start='ridge', epochs=3, last=2)")
    ways = (TFIDF, Way("minilm", "ridge"), Way("minilm", "logistic(c=0.01)"),
            *(Way("minilm", text, batch_size=32) for text in trained),
            Way("minilm(pretrained=False)", "full(epochs=3, lr=3e-4)", batch_size=32))  # fmt: skip
    return compared(measured(*fold(train, test.samples), ways))


def wnut(data: Path) -> Row:
    """Entities that are new in the test part. The metric is entity F1; published systems of 2017: 41.9 at best."""
    folder = data / "wnut17"
    train, test = (
        audit(open_data(f"conll:{folder / part}")) for part in ("wnut17train.conll", "emerging.test.annotated")
    )
    pool, cut = fold(train.replace(classes=tuple(dict.fromkeys((*train.classes, *test.classes)))), test.samples)
    ways = (Way("minilm", "linear_probe(epochs=15)", batch_size=32),
            Way("minilm", "full(epochs=5, lr=3e-4, head_lr=3e-3)", batch_size=32),
            Way("minilm(pretrained=False)", "full(epochs=5, lr=3e-4, head_lr=3e-3)", batch_size=32))  # fmt: skip
    return compared(measured(pool, cut, ways))


def xquad(data: Path) -> Row:
    """Answers in passages: every fourth of the 48 English articles is for testing. The metric is SQuAD's F1."""
    dataset = audit(open_data(str(data / "xquad" / "xquad.en.json")))
    articles = sorted({sample.group for sample in dataset.samples}, key=str)
    asked = set(articles[::4])
    train = dataset.where(lambda sample: sample.group not in asked)
    test = dataset.where(lambda sample: sample.group in asked)
    ways = (Way("minilm", "linear_probe(epochs=10)", batch_size=16),
            Way("minilm", "full(epochs=4, lr=2e-4, head_lr=1e-3)", batch_size=16),
            Way("minilm(pretrained=False)", "full(epochs=4, lr=2e-4, head_lr=1e-3)", batch_size=16))  # fmt: skip
    pool, cut = fold(train, test.samples)
    return compared(measured(pool, cut, ways)) | {"exact match": exact(pool, cut, ways[1])}


def exact(pool: Dataset, cut: Fold, way: Way) -> Row:
    """SQuAD's exact match of one way: it is trained once more."""
    trials = Trials(Recipe("memory", precision="bf16"), pool, (cut,))
    said = Predictions(trials.predict(trials.train(way, 0), way, 0))
    return trials.task.measure(said, trials.targets[torch.from_numpy(cut.test)])["exact"]._asdict()


def domain(data: Path, seeds: int, run: str) -> Row:
    """Continued masked-language-model pretraining on the training texts of Banking77, without their labels: the probe
    with 8 labels a class before and after."""
    train, test = (audit(open_data(str(data / "banking77" / f"{part}.csv"))) for part in ("train", "test"))
    trunks = ("minilm", f"trained:{run}")
    scores: dict[str, list[float]] = defaultdict(list)
    for seed in range(seeds):
        chosen, _ = few(train, 8, seed)
        for way, each in measured(
            *fold(chosen, test.samples), [Way(trunk, "logistic") for trunk in trunks], seed
        ).items():
            scores[parse(way.backbone).name].append(float(each.mean()))
    gains = [b - a for a, b in zip(scores["minilm"], scores["trained"], strict=True)]
    return {name: over_seeds(values) for name, values in scores.items()} | {"gain": over_seeds(gains)}


def flat(found: Row, under: str = "") -> Iterator[tuple[str, Row]]:
    """The figures of a part, each with the words that lead to it."""
    for key, value in found.items():
        if isinstance(value, dict) and "value" in value:
            yield f"{under}{key}", value
        elif isinstance(value, dict):
            yield from flat(value, f"{under}{key}: ")


PARTS: dict[str, Callable[..., Row]] = {
    part.__name__: part for part in (banking, agnews, clinc, sst2, wnut, xquad, domain)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=[*PARTS, "report"])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GRAFT_DATA", "data")))
    parser.add_argument("--work", type=Path, default=Path("text-bench"))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--run", default="runs/banking-mlm", help="of domain: the folder of `graft pretrain`")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    if asked.part == "report":
        parts = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(asked.work.glob("*.json"))}
        rows = [{"part": part, "task": task, **row} for part, found in parts.items() for task, row in flat(found)]
        _report.report("text", rows, {part: {"seconds": found["seconds"]} for part, found in parts.items()})
        return
    seeds = {"seeds": asked.seeds} if asked.part in ("banking", "agnews", "domain") else {}
    extra: Row = {**seeds, "run": asked.run} if asked.part == "domain" else seeds
    began = time.monotonic()
    found = PARTS[asked.part](asked.data, **extra)
    write_json(asked.work / f"{asked.part}.json", {**found, "seconds": round(time.monotonic() - began)})


if __name__ == "__main__":
    main()
