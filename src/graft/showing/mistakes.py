"""What a model says wrongly: the surest errors, the classes that it confuses."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from graft.showing.items import cut
from graft.tasks._entities import entities
from graft.types import Answers, Dataset, Predictions, Sample, Targets, Task

LOOKED_AT = 4  # times as many of the lowest scores as are shown: some of them may be right as far as words go


class Wrong(NamedTuple):
    """Row `row` of the scored part. `target`: the class that was predicted, -1 where labels are no classes."""

    row: int
    actual: str
    predicted: str
    probability: float | None
    actual_probability: float | None
    target: int = -1


class Pair(NamedTuple):
    actual: int
    predicted: int
    rows: list[int]  # the surest first


def worst(task: Task, predictions: Predictions, targets: Targets, dataset: Dataset, most: int) -> list[Wrong]:
    """At most `most` errors. Of classes the surest, taken in turns from the classes that they are of; else those that
    add least to the score."""
    if task.kind == "class":
        return _of_classes(predictions.values, targets, task.classes, most)
    return _of_others(task, predictions, targets, dataset, most)


def confused(values: Tensor, targets: Tensor, most: int) -> list[Pair]:
    """The pairs (actual, predicted) of classes that are confused most often; of as many the surest first."""
    found: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row in surest(values, targets):
        found[int(targets[row]), int(values[row].argmax())].append(row)
    pairs = sorted(found.items(), key=lambda pair: -len(pair[1]))
    return [Pair(*names, rows) for names, rows in pairs[:most]]


def surest(values: Tensor, targets: Tensor) -> list[int]:
    """Rows of (N, C) probabilities whose most probable class is not the target, the most probable first."""
    top = values.max(1)
    wrong = ((top.indices != targets) & (targets >= 0)).nonzero().flatten()
    order = top.values[wrong].argsort(descending=True, stable=True)
    return [int(row) for row in wrong[order]]


def _of_classes(values: Tensor, targets: Tensor, classes: Sequence[str], most: int) -> list[Wrong]:
    turns: Counter[int] = Counter()
    queue: list[tuple[int, int, int]] = []
    for place, row in enumerate(surest(values, targets)):
        actual = int(targets[row])
        queue.append((turns[actual], place, row))
        turns[actual] += 1
    taken = sorted(sorted(queue)[:most], key=lambda one: one[1])
    return [_of_class(values[row], int(targets[row]), row, classes) for _, _, row in taken]


def _of_class(probabilities: Tensor, actual: int, row: int, classes: Sequence[str]) -> Wrong:
    said = int(probabilities.argmax())
    return Wrong(row, classes[actual], classes[said], float(probabilities[said]), float(probabilities[actual]), said)


def _of_others(task: Task, predictions: Predictions, targets: Targets, dataset: Dataset, most: int) -> list[Wrong]:
    order = task.each(predictions, targets).argsort(stable=True)[: LOOKED_AT * most].tolist()
    rows = [row for row in order if dataset.samples[row].label is not None]
    some = dataset.replace(samples=tuple(dataset.samples[row] for row in rows))
    made = task.rows(Predictions(predictions.values[torch.tensor(rows, dtype=torch.long)], predictions.labels), some)
    found = [_of_other(task, row, sample, said, dataset, predictions)
             for row, sample, said in zip(rows, some.samples, made, strict=True)]  # fmt: skip
    return [one for one in found if one.actual != one.predicted][:most]


def _of_other(task: Task, row: int, sample: Sample, said: Any, dataset: Dataset, predictions: Predictions) -> Wrong:
    actual, predicted = _true(task.kind, sample, dataset), _said(task.kind, said["label"])
    sure, true = said.get("probability"), None
    if task.kind == "labels":
        sure, true = _of_labels(predictions.values[row], sample.label, set(said["label"]), task.classes)
    return Wrong(row, cut(actual), cut(predicted), sure if isinstance(sure, float) else None, true)


def _of_labels(
    values: Tensor, actual: Any, said: set[str], classes: Sequence[str]
) -> tuple[float | None, float | None]:
    """How sure the surest of the wrong labels was said, or not said; and what is left for the truth."""
    wrong = said ^ set(actual)
    sure = [
        float(p) if name in said else 1 - float(p) for name, p in zip(classes, values, strict=True) if name in wrong
    ]
    return (max(sure), 1 - max(sure)) if sure else (None, None)


def _true(kind: str, sample: Sample, dataset: Dataset) -> str:
    label = sample.label
    if kind == "tags":
        text = dataset.load(sample)
        words = text.words if text.words is not None else tuple(text.text.split())
        return _entities((one.type, " ".join(words[one.start : one.end])) for one in entities(label))
    if isinstance(label, Answers):
        return label.texts[0] if label.texts else ""
    return _said(kind, label)


def _said(kind: str, label: Any) -> str:
    """In words; nothing at all is the empty text."""
    if kind == "tags":
        return _entities((one["entity"], one["text"]) for one in label)
    if kind == "labels":
        return ", ".join(sorted(label))
    return f"{label:.4g}" if isinstance(label, float | int) else str(label)


def _entities(found: Any) -> str:
    return "; ".join(f"{kind}: {text}" for kind, text in found)
