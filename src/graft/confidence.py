"""How sure a run is: calibrated probabilities, sets of classes, unlikeness; and what these are worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from graft import calibration, conformal, novelty
from graft.conformal import Flags
from graft.intervals import clopper_pearson
from graft.novelty import Array, Bank, Familiar
from graft.types import Json, Metric, Predictions

BLOCK = 4096  # samples whose sets are made at once
TINY = calibration.TINY


class Sets(NamedTuple):
    """How sure a user wants to be: `coverage` is the share of sets that hold the truth."""

    coverage: float = 0.9
    method: str = "lac"  # lac, aps; or "class": lac with a threshold for each class
    abstain_below: float | None = None


@final
@dataclass(frozen=True, eq=False)
class Trust:
    """What was learned from samples that the weights have not seen; made by trust.learn, read by trust.read."""

    temperature: float
    made_on: str  # "validation part", "out of fold"
    lac: Tensor  # (n,) scores of the classes that held-out samples have, of scaled probabilities; as float64
    aps: Tensor  # (n,) the same of the other method; their draws are of a generator, and follow no contents
    targets: Tensor  # (n,) their classes
    bank: Bank | None = None  # training features; None where nothing can be said of unlikeness
    familiar: Familiar | None = None  # of held-out samples, wherever there is a bank
    notes: tuple[str, ...] = ()  # what too few samples did not allow

    def calibrated(self, predictions: Predictions) -> Predictions:
        """Probabilities (N, C) after temperature scaling; the most probable class stays what it is."""
        return Predictions(tempered(predictions.values, self.temperature), predictions.labels)

    def distances(self, features: Tensor) -> Tensor | None:
        """(N,) how far (N, D) pooled features are from the bank; None without one."""
        return None if self.bank is None else torch.from_numpy(novelty.distances(self.bank, features.cpu().numpy()))

    def unlikeness(self, calibrated: Tensor, far: Tensor | None) -> Array | None:
        """(N,) in 0..1, from calibrated probabilities (N, C) and `distances` (N,)."""
        if self.familiar is None or far is None:
            return None
        return self.familiar.unlikeness(far.numpy(), calibrated.amax(1).numpy())

    def sets(self, calibrated: Tensor, digests: Sequence[str], coverage: float, method: str) -> Iterator[Flags]:
        """Which classes are in the set of each sample, (B, C) block by block; the most probable one always is."""
        own = self.aps if method == "aps" else self.lac
        limits = conformal.limits(own.numpy(), self.targets.numpy(), calibrated.shape[1], coverage, method)
        for start in range(0, len(calibrated), BLOCK):
            values = calibrated[start : start + BLOCK].numpy()
            drawn = conformal.draws(digests[start : start + BLOCK])
            yield conformal.with_top(conformal.sets(values, drawn, limits, method), values)

    def rows(self, predictions: Predictions, far: Tensor | None, digests: Sequence[str], asked: Sets) -> list[Json]:
        """Of each of N raw predictions {"probability", "set": [class, ...] the most probable first, "unlike": bool,
        "unlikeness": 0..1 or None}. `far` are their `distances`, `digests` the hashes of their contents."""
        values = self.calibrated(predictions).values
        top, names = predictions.values.max(1).indices, predictions.labels
        strange = self.unlikeness(values, far)
        sure = values.gather(1, top[:, None])[:, 0].tolist() if len(values) else []
        inside = chain.from_iterable(self.sets(values, digests, asked.coverage, asked.method))
        kept = [_names(row, found, names) for row, found in zip(values.numpy(), inside, strict=True)]
        flagged = [False] * len(sure) if strange is None else novelty.flagged(strange).tolist()
        degree = [None] * len(sure) if strange is None else strange.tolist()
        return [{"probability": p, "set": names_in, "unlike": flag, "unlikeness": one}
                for p, names_in, flag, one in zip(sure, kept, flagged, degree, strict=True)]  # fmt: skip


def tempered(probabilities: Tensor, temperature: float) -> Tensor:
    """(N, C) after division of logarithms by T, in float32: on either side of a threshold alike. The most probable
    class stays what it is: near ties would else change places by rounding."""
    if temperature == 1:
        return probabilities.float().cpu()
    made = torch.empty(probabilities.shape)
    for start in range(0, len(made), BLOCK):
        values = probabilities[start : start + BLOCK].float().cpu()
        made[start : start + BLOCK] = _topped((values.clamp(min=TINY).log() / temperature).softmax(1), values)
    return made


def _topped(made: Tensor, given: Tensor) -> Tensor:
    top, place = made.amax(1), given.max(1).indices
    tied = ((made == top[:, None]).sum(1) > 1) | (made.argmax(1) != place)
    made[tied, place[tied]] = torch.nextafter(top[tied], torch.ones(1))
    return made


def true_scores(probabilities: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """`lac` and `aps` (n,) of scaled probabilities (n, C) of held-out samples with classes (n,)."""
    uniform, truth = np.random.default_rng(0).random(len(targets)), targets.numpy()
    found = {"lac": np.empty(len(truth)), "aps": np.empty(len(truth))}
    for start in range(0, len(truth), BLOCK):
        few = slice(start, start + BLOCK)
        for method, own in found.items():
            own[few] = conformal.true_scores(probabilities[few].numpy(), truth[few], uniform[few], method)
    return torch.from_numpy(found["lac"]), torch.from_numpy(found["aps"])


def measured(trust: Trust, raw: Predictions, targets: Tensor, far: Tensor | None, digests: Sequence[str]) -> Json:
    """On labelled samples that neither weights nor trust have seen, -1 where there is no label: {"temperature",
    "made_on", "samples", "notes", "ece": {"before": Metric, "after": Metric}, "brier": {...}, "reliability": [{"low",
    "high", "count", "confidence", "accuracy", "accuracy_low", "accuracy_high", "before": {...} or None}], "sets":
    {"lac"|"aps"|"class": {"stated", "coverage": Metric, "least": what so few held-out samples let expect, "size": mean
    size, "singletons": share}}, "unlike": {"threshold", "stated": 0.05, "flagged": Metric}, left out where there is no
    bank}. {} without a label."""
    kept = torch.nonzero(targets.cpu() >= 0)[:, 0]
    if not len(kept):
        return {}
    truth, before = targets.cpu()[kept].numpy(), raw.values.float().cpu()
    before = before if len(kept) == len(before) else before[kept]  # large ones are not copied for nothing
    after = trust.calibrated(Predictions(before, raw.labels)).values
    pair = {"before": before.numpy(), "after": after.numpy()}
    names = [digests[i] for i in kept.tolist()]
    bins = {name: calibration.reliability(values, truth) for name, values in pair.items()}
    rows = [{**now, "before": was} for now, was in zip_longest(bins["after"], bins["before"]) if now]
    strange = trust.unlikeness(after, None if far is None else far[kept])
    return {
        "temperature": trust.temperature,
        "made_on": trust.made_on,
        "samples": len(kept),
        "notes": list(trust.notes),
        "ece": {name: _json(calibration.ece(values, truth)) for name, values in pair.items()},
        "brier": {name: _json(calibration.brier(values, truth)) for name, values in pair.items()},
        "reliability": rows,
        "sets": {method: _kept_promise(trust, after, truth, names, method) for method in conformal.METHODS},
        **({} if strange is None else {"unlike": _flagged(strange)}),
    }


def told_apart(ours: Array, theirs: Array) -> Json:
    """Of the unlikeness of familiar samples (N,) and of strange ones (M,): how well it tells them apart."""
    flags = novelty.flagged(theirs)
    return {"samples": len(theirs), "auroc": _json(novelty.auroc(ours, theirs)),
            "flagged": _json(clopper_pearson(int(flags.sum()), len(flags)))}  # fmt: skip


def _kept_promise(trust: Trust, values: Tensor, truth: Array, digests: Sequence[str], method: str) -> Json:
    """The coverage that was seen beside the stated one, at 90 %."""
    asked, sizes, held = Sets(), np.empty(0, np.int64), 0
    for found in trust.sets(values, digests, asked.coverage, method):
        held += int(found[np.arange(len(found)), truth[len(sizes) : len(sizes) + len(found)]].sum())
        sizes = np.concatenate([sizes, found.sum(1)])
    least = conformal.expected(len(trust.targets), len(truth), asked.coverage)
    return {"stated": asked.coverage, "coverage": _json(clopper_pearson(held, len(truth))), "least": least,
            "size": float(sizes.mean()), "singletons": float((sizes == 1).mean())}  # fmt: skip


def _flagged(unlikeness: Array) -> Json:
    flags = novelty.flagged(unlikeness)
    return {"threshold": 1 - novelty.STATED, "stated": novelty.STATED,
            "flagged": _json(clopper_pearson(int(flags.sum()), len(flags)))}  # fmt: skip


def _names(values: Array, found: Flags, names: Sequence[str]) -> list[str]:
    inside = np.flatnonzero(found)
    return [names[i] for i in inside[np.argsort(-values[inside], kind="stable")]]


def _json(metric: Metric) -> Json:
    return metric._asdict()
