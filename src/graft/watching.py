"""How a trunk comes on while it learns without labels: by the labels of a sample that it never learns from, and by how
evenly its features are spread, which needs none.

`knn`: the share of queries whose class 20 nearest neighbours by cosine name, with weights exp(cosine / 0.07) (Wu et al.
2018, arXiv:1805.01978); of fewer than 30 queries it is not given. `rank` and `spread` are those of `graft.spread`. All
are of pooled features of plain views, by the weights as they are after an epoch. Looking draws nothing, and leaves
modes and gradients as they were.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate, takewhile
from typing import final

import torch
from torch import Tensor

from graft.data._audit import audit
from graft.data._sniff import open_data
from graft.data._split import split
from graft.device import autocast, permutation, seeded
from graft.errors import DataError, ResourceError, UsageError
from graft.features import Feed
from graft.intervals import wilson
from graft.order import split as batches
from graft.probes.knn import knn
from graft.recipe import PRETEXT, Recipe, pretext
from graft.spec import parse
from graft.spread import effective_rank, spread
from graft.types import Backbone, Dataset, Issue, Json, Model, Sample

NEIGHBOURS = 20
MOST, LEAST, SHARE = 2000, 300, 0.25  # samples that are looked at, and which share of those there are
ASKED = 0.25  # of them that are queries, where the validation part has fewer than FEW
FEW = 100
FEWEST = 30  # queries below which no k-NN is given: of 30 its 95 % interval is 34 points wide at worst
EACH = 8  # samples of a class, where there are too many classes for as many of each
BETWEEN = 10  # looks between the first epoch and the last
BATCH = 64
RANK, SPREAD, EMBEDDED = 5.0, 0.1, 0.05  # below which features, and embeddings, may have collapsed: see `collapse`
MARKED = 0.5  # of what they were at the start
RANDOM: Json = {"rank": 2.6, "spread": 0.04}  # of the poorest of the random networks, where no start is known
START: Json = {"phase": "start", "epoch": 0, "epochs": 0, "valid": {}}  # the trunk as it came
END: Json = {"phase": "end", "epochs": 0}  # and as it is kept


# -------------------------------------------------------------------------------------------------------- the figures


def neighbours(features: Tensor, targets: Tensor, asked: Tensor) -> tuple[float, float]:
    """Features (N, D), class indices (N,), which rows are queries (N,) bool: the share of queries that the others name
    rightly, and that of who names the most frequent class of the others."""
    classes = int(targets.max()) + 1
    probe, bank, truth = knn(k=NEIGHBOURS), targets[~asked], targets[asked]
    arrays = probe.fit(features[~asked], bank, classes)
    right = probe.logits(arrays, features[asked]).argmax(1) == truth
    return float(right.double().mean()), float((truth == bank.bincount().argmax()).double().mean())


def collapse(look: Json, start: Json = RANDOM) -> str:
    """What a look says of a collapse, or "": never of the start itself.

    Rank and spread must both be below half of what they were at the start, and then both small, or the embeddings all
    but alike. One alone says little: on 60 drawn pictures random networks have ranks from 2.6 and spreads from 0.04 (a
    SqueezeNet; a ResNet-18 6.5 and 0.09), and after a single step healthy embeddings had a spread of 0.05.
    """
    if look["phase"] == START["phase"] or any(look[name] >= MARKED * start[name] for name in RANDOM):
        return ""
    if look["rank"] < RANK and look["spread"] < SPREAD:
        return f"features have collapsed: effective rank {look['rank']:.1f}, spread {look['spread']:.3f}"
    if "embedded" in look and look["embedded"] < EMBEDDED:
        return f"embeddings have collapsed: spread {look['embedded']:.3f}"
    return ""


def collapses(looks: Sequence[Json]) -> list[str]:
    """What each of the looks of a run says of a collapse, against the one at its start if that is among them."""
    start = next((look for look in looks if look["phase"] == START["phase"]), RANDOM)
    return [collapse(look, start) for look in looks]


# ------------------------------------------------------------------------------------------------------------ the looks


def due(epoch: int, epochs: int) -> bool:
    """Whether there is a look after this epoch: after the first, the last, and about ten between them."""
    step = max(1, round(epochs / (BETWEEN + 1)))
    return epoch in (1, epochs) or (epoch % step == 0 and epochs - epoch >= step)


@final
@dataclass(frozen=True)
class Watch:
    """What is looked at: the rows of `feeds`, one feed after the other, N in all. `targets` (N,) are class indices, and
    `asked` (N,) says which rows are queries; None: no classes are known."""

    feeds: tuple[Feed, ...]
    targets: Tensor | None
    asked: Tensor

    def look(self, model: Model) -> Json:
        """The figures, and the seconds that they took. Raises ResourceError for features that are not finite."""
        began = time.monotonic()
        with _still(model):
            features = torch.cat([_pooled(model.backbone, feed) for feed in self.feeds])
        if not features.isfinite().all():
            raise ResourceError(
                "the features of the trunk are not finite", "lower the rate: --strategy 'full(lr=1e-4)'"
            )
        right, most = (None, None) if self.targets is None else neighbours(features, self.targets, self.asked)
        found = {"knn": right, "majority": most, "queries": int(self.asked.sum()), "samples": len(features),
                 "rank": effective_rank(features), "of": min(features.shape), "spread": spread(features)}  # fmt: skip
        return found | {"seconds": round(time.monotonic() - began, 3)}

    def event(self, model: Model, epoch: Json) -> Json:
        """A look after what the loop says of an epoch, as metrics.jsonl and the console get it; of tasks whose
        embeddings have a spread with this, too."""
        place = {"event": "watch"} | {name: epoch[name] for name in ("phase", "epoch", "epochs")}
        embedded = {"embedded": epoch["valid"]["spread"]} if "spread" in epoch["valid"] else {}
        return place | self.look(model) | embedded


@contextmanager
def _still(model: Model) -> Iterator[None]:
    """All of it in eval mode, without gradients and drawing nothing; then every mode is what it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode(), seeded("watch"):
            yield
    finally:
        for module, training in modes:
            module.training = training


def _pooled(backbone: Backbone, feed: Feed) -> Tensor:
    """(N, D) features of plain views, float32, in the order of the rows."""
    order = feed.shortest_first(torch.arange(len(feed)))
    found = torch.empty(len(feed), backbone.info.dim)
    for rows in batches(order, BATCH, feed.sizes(), feed.most):
        with autocast(feed.device, feed.dtype):
            found[rows] = backbone(feed.batch(rows, 0)).pooled.float().cpu()
    return found


def issues(looks: Sequence[Json], recipe: Recipe) -> list[Issue]:
    """That a trunk has collapsed: as it is kept, or by the end of the training, of which an earlier epoch was kept; and
    that what is kept is worse than what it began with."""
    said = list(zip(looks, collapses(looks), strict=True))
    learning = [what for look, what in said if look["phase"] != END["phase"]][-1:]
    kept = said[-1:] if looks and looks[-1]["phase"] == END["phase"] else []
    if kept and any(learning) and not kept[0][1]:
        what = f"{learning[0]}; what is kept is of epoch {kept[0][0]['epoch']}, before that"
        return [Issue("collapsed", "warning", what, (), _help(recipe, looks[0])), *_worse(looks, recipe)]
    last = [what for _, what in kept] or learning
    found = [Issue("collapsed", "error", what, (), _help(recipe, looks[0])) for what in last if what]
    return found or _worse(looks, recipe)


def _worse(looks: Sequence[Json], recipe: Recipe) -> list[Issue]:
    """That of what is kept the neighbours name fewer classes rightly than they did at the start.

    Only where they then knew more than the most frequent class: a trunk that knew nothing has nothing to lose.
    """
    if not looks or (looks[0]["phase"], looks[-1]["phase"]) != (START["phase"], END["phase"]):
        return []
    start, kept = looks[0], looks[-1]
    if start.get("knn") is None or kept.get("knn") is None or _lost(start, kept) <= 0:
        return []
    what = f"k-NN {kept['knn']:.1%} of {kept['queries']}, and {start['knn']:.1%} before the first epoch"
    hint = f"`graft compare` it with what it began with before it is used; fewer epochs or {_slower(recipe)}"
    return [Issue("worse-than-before", "warning", what.replace("%", " %"), (), hint)]


def _lost(start: Json, kept: Json) -> float:
    """By how much the share of the start is above that of what is kept, at least: the lower end of a 95 % interval,
    Newcombe's of two Wilson intervals (1998, method 10). 0 where the start is not surely above guessing.

    It takes the queries for two samples of their own. They are the same ones, so that it is too wide rather than too
    narrow.
    """
    before, after = (wilson(look["knn"] * look["queries"], look["queries"]) for look in (start, kept))
    lost = before.value - after.value
    noise = ((before.value - before.low) ** 2 + (after.high - after.value) ** 2) ** 0.5
    return lost - noise if before.low > start["majority"] else 0.0


def _help(recipe: Recipe, start: Json) -> str:
    """A lower rate, and of images the task that rules a collapse out; neither where features were all but alike as the
    trunk came, as those of plain colours are."""
    if start["phase"] == START["phase"] and start["rank"] < RANK:
        return f"look at the data: to the trunk as it came they look alike, too (effective rank {start['rank']:.1f})"
    images = parse(recipe.task).name in PRETEXT["image"]
    more = "; or --task vicreg, which keeps features apart" if images else ", and more epochs"
    return f"{_slower(recipe)}{more}"


def _slower(recipe: Recipe) -> str:
    """A third of the rate, where one was said."""
    asked = parse(recipe.strategy)
    rates = {name: float(f"{asked.options[name] / 3:.2g}") for name in ("lr", "head_lr") if name in asked.options}
    return f"a third of the rate: --strategy '{asked.with_options(**rates)}'" if rates else "a lower rate"


# ------------------------------------------------------------------------------------------------- what is looked at


def labelled(recipe: Recipe, dataset: Dataset) -> Dataset | None:
    """The samples by whose classes a trunk is watched, without a test part: of recipe.watch, or else the run's own,
    which are read again, as what learns from them does not get to see their labels. None: no classes are known.

    Raises UsageError for data of another modality, DataError for those without classes, or that cannot be read.
    """
    if not pretext(recipe.task):
        return None
    found = _own(open_data(recipe.data), dataset) if recipe.watch is None else _given(recipe.watch, dataset)
    try:
        return found and _parted(found, MOST, recipe.seed) and found
    except DataError as error:  # a class or two of single samples
        if recipe.watch is None:
            return None
        raise DataError(
            f"--watch {recipe.watch}: {error.what}", "give more of each class, or leave --watch out"
        ) from None


def _own(opened: Dataset, dataset: Dataset) -> Dataset | None:
    known = {s.key: s.label for s in opened.samples if s.label is not None} if opened.kind == "class" else {}
    samples = tuple(replace(s, label=known[s.key]) for s in dataset.samples if s.key in known and s.split != "test")
    classes = tuple(name for name in opened.classes if any(s.label == name for s in samples))
    return dataset.replace(samples=samples, classes=classes, kind="class") if len(classes) > 1 else None


def _given(watch: str, dataset: Dataset) -> Dataset:
    """Of so many as are looked at every file is read: those that cannot be are left out, and exact copies of the sealed
    test part. Near copies of it are not looked for: both would have to be compared anew."""
    opened = open_data(watch)
    if opened.modality != dataset.modality:
        what = f"--watch {watch} holds {opened.modality} samples, and {dataset.name} {dataset.modality} samples"
        raise UsageError(what, f"give labelled {dataset.modality} samples, or leave --watch out")
    known = [s for s in opened.samples if s.label is not None and s.split != "test"] if opened.kind == "class" else []
    if len({s.label for s in known}) < 2:
        what = f"--watch {watch} has no classes of which neighbours could be one"
        raise DataError(what, "give one folder per class, or leave --watch out: rank and spread need no labels")
    sealed = {s.digest for s in dataset.samples if s.split == "test"}
    found = audit(opened.replace(samples=_drawn(known, MOST, 0)))
    return found.where(lambda sample: sample.digest not in sealed)


def watch(recipe: Recipe, known: Dataset | None, train: Feed, valid: Feed) -> Watch | None:
    """What is looked at in a run; None where a trunk learns from labels."""
    if not pretext(recipe.task):
        return None
    most = min(MOST, max(LEAST, round(SHARE * (len(train) + len(valid)))))
    if recipe.watch is not None and known is not None:
        chosen = _parted(known, most, recipe.seed)
        feed = Feed(chosen, train.backbone, device=train.device, cache=train.cache, engine=train.engine, targets=())
        return _watch((feed,), chosen)
    samples = (*train.dataset.samples, *valid.dataset.samples)
    chosen = (
        _parted(known, most, recipe.seed) if known else train.dataset.replace(samples=_few(samples, most, recipe.seed))
    )
    names = {sample.key for sample in chosen.samples}
    return _watch(tuple(_part(feed, names) for feed in (train, valid)), chosen)


def _part(feed: Feed, names: set[str]) -> Feed:
    """What is decoded is shared."""
    rows = [i for i, sample in enumerate(feed.dataset.samples) if sample.key in names]
    return feed.part(torch.tensor(rows, dtype=torch.long), feed.backbone)


def _watch(feeds: tuple[Feed, ...], chosen: Dataset) -> Watch:
    by_key = {sample.key: sample for sample in chosen.samples}
    samples = [by_key[sample.key] for feed in feeds for sample in feed.dataset.samples]
    asked = torch.tensor([sample.split == "valid" for sample in samples])
    targets = chosen.replace(samples=tuple(samples)).targets()
    usable = chosen.kind == "class" and int(asked.sum()) >= FEWEST and len(targets[~asked].unique()) > 1
    return Watch(tuple(feed for feed in feeds if len(feed)), targets if usable else None, asked & usable)


def _parted(known: Dataset, most: int, seed: int) -> Dataset:
    """Some labelled samples, a quarter of them queries ("valid"): of the validation part if it has enough, else of all,
    and then copies and groups stay together. Queries have others of their class among those that are not."""
    wanted = round(ASKED * most)
    bank = _few([sample for sample in known.samples if sample.split != "valid"], most - wanted, seed)
    classes = {sample.label for sample in bank}
    queries = [sample for sample in known.samples if sample.split == "valid" and sample.label in classes]
    if len(queries) >= FEW and len(bank) >= EACH * len(classes):
        return known.replace(samples=(*bank, *_few(queries, wanted, seed)))
    few = tuple(replace(sample, split=None) for sample in _drawn(known.samples, most, seed))
    return split(known.replace(samples=few), valid=ASKED, test=0.0, seed=seed)


def _drawn(samples: Sequence[Sample], most: int, seed: int) -> tuple[Sample, ...]:
    """At most so many, drawn, in their order. Where that would leave few of each class it is some of the classes, each
    whole up to EACH samples: neighbours can only name a class that they have."""
    rows: dict[object, list[int]] = defaultdict(list)
    for row in permutation(len(samples), seed, "watch").tolist():
        rows[samples[row].label].append(row)
    whole = [found[:EACH] for found in rows.values() if len(found) > 1]  # classes come in the order of the draw
    if len(samples) <= most or EACH * len(rows) <= most or not whole:
        return _few(samples, most, seed)
    chosen = takewhile(lambda at: at[1] <= most, zip(whole, accumulate(map(len, whole)), strict=True))
    return tuple(samples[row] for row in sorted(row for found, _ in chosen for row in found))


def _few(samples: Sequence[Sample], most: int, seed: int) -> tuple[Sample, ...]:
    """At most so many, drawn, in their order."""
    rows = permutation(len(samples), seed, "watch")[:most].sort().values
    return tuple(samples[i] for i in rows.tolist())
