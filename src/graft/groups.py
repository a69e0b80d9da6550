"""Figures by group, such as speakers or patients: in each group, their mean with an interval, and the worst group.

Samples of one group resemble each other, so the spread of the groups, not the number of samples, says what to expect of
a new one: the mean over groups has an interval by Student's t over groups (Student 1908). A group is what the data name
so; copies that the audit has found are none. Scores are the task's `each`, whose mean over a group is its metric there.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student

from graft import registry
from graft.console import RATES, Figure, figure
from graft.data._sniff import open_data, reader_of, with_columns, without_options
from graft.errors import DataError, UsageError
from graft.intervals import Array, bootstrap_mean, wilson
from graft.tables import aligned
from graft.types import Dataset, Issue, Json, Metric, Predictions, Targets, Task

Rows = NDArray[np.int64]

UNBOUNDED = ("wer", "cer", "word_accuracy")  # shown as rates, but there may be more errors than words
ANY = "group"  # stands for whatever column the reader takes for the groups
MOST = 40  # groups that are shown on the console; the lowest ones, if there are more


@final
class Grouped(NamedTuple):
    """The groups of a data set in the order of their names, the rows of each, and the keys of samples without one."""

    column: str
    rows: dict[str, Rows]
    alone: tuple[str, ...]

    def issues(self) -> list[Issue]:
        if not self.alone:
            return []
        return [Issue("no-group", "warning", f"{len(self.alone)} samples belong to no group, and are left out of the "
                      "figures by group", self.alone, f"fill in the column {self.column}")]  # fmt: skip


def with_group(data: str, column: str) -> str:
    """The same data with a column of groups; "group" is the one that the reader finds itself.

    Raises UsageError for data without columns, and where they name another column already.
    """
    if column == ANY:
        return data
    reader = reader_of(data)
    if "group" not in inspect.signature(registry.find("reader", reader.name)).parameters:
        what = f"{without_options(data)} is no table, and has no column '{column}'"
        raise UsageError(what, f"give a table (.csv or .jsonl) with the columns path, label and {column}")
    return with_columns(data, group=column)


def grouped(data: str, dataset: Dataset, column: str, flag: str) -> Grouped:
    """The groups of an audited data set as `data` itself names them: the audit joins those that share a copy.

    Raises DataError where there are none.
    """
    named = {sample.key: sample.group for sample in open_data(data).samples}
    names = np.array([named.get(sample.key) or "" for sample in dataset.samples])
    rows = {str(name): np.flatnonzero(names == name) for name in np.unique(names) if name}
    if not rows:
        what = f"{dataset.name} has no groups: no column says which samples belong together"
        raise DataError(what, f"name the column: {flag} speaker; or add one that is called group, speaker or patient")
    return Grouped(column, rows, tuple(s.key for s, name in zip(dataset.samples, names, strict=True) if not name))


def by_group(task: Task, predictions: Predictions, targets: Targets, found: Grouped) -> Json:
    """What `table` shows: the task's metric in each group, its mean over groups, and the worst group."""
    each = {}
    for name, rows in found.rows.items():
        at = torch.from_numpy(rows)
        each[name] = task.each(Predictions(predictions.values[at], predictions.labels), targets[at]).numpy()
    return summary(task.metric, found.column, each)


# ------------------------------------------------------------------------------------------------------------ figures


def summary(metric: str, column: str, each: Mapping[str, Array]) -> Json:
    """{group: what each of its samples adds to the metric (n,)} -> JSON of groups, mean and worst."""
    figures = {name: score(values) for name, values in each.items()}
    rows = [{"group": name, "samples": len(each[name]), **found._asdict()} for name, found in figures.items()]
    everything = score(np.concatenate(list(each.values())))
    mean = mean_over([found.value for found in figures.values()], everything, metric)
    worst = min(rows, key=lambda row: (row["value"], row["low"]))
    return {"column": column, "metric": metric, "groups": rows, "mean": mean._asdict() if mean else None,
            "worst": worst}  # fmt: skip


def score(each: Array) -> Metric:
    """The mean of (n,) samples: a rate with Wilson's interval where they are right or wrong, else the bootstrap."""
    if np.isin(each, (0.0, 1.0)).all():
        return wilson(int(each.sum()), len(each))
    return bootstrap_mean(each)


def mean_over(values: Sequence[float], everything: Metric, metric: str) -> Metric | None:
    """The plain mean of G groups, +- t s / sqrt(G) with G - 1 degrees of freedom; None: one group says nothing of
    others. Groups that are all alike leave no spread to go by: the interval is then that of all samples together."""
    count, value = len(values), float(np.mean(values))
    if count < 2:
        return None
    spread = float(np.std(values, ddof=1))
    if spread == 0:
        return Metric(value, min(value, everything.low), max(value, everything.high), f"{everything.method}, all alike")
    half = float(student.ppf(0.975, count - 1)) * spread / count**0.5
    bounded = metric.startswith(RATES) and not metric.startswith(UNBOUNDED)
    low, high = (0.0, 1.0) if bounded else (-np.inf, np.inf)
    return Metric(value, max(low, value - half), min(high, value + half), f"Student's t over {count} groups")


def table(found: Json) -> list[str]:
    """Lines of `summary`: one group each, then the mean and the worst."""
    rows, metric = found["groups"], found["metric"]
    shown = rows if len(rows) <= MOST else sorted(rows, key=lambda row: float(row["value"]))[:MOST]
    lines = [
        [found["column"], "samples", metric],
        *([r["group"], f"{r['samples']:,}", _said(metric, r)] for r in shown),
    ]
    lines += [[f"... and {len(rows) - MOST:,} more (--json)", "", ""]] if len(rows) > MOST else []
    if found["mean"]:
        total = sum(row["samples"] for row in rows)
        lines += [["", "", ""], [f"mean of {len(rows)} groups", f"{total:,}", _said(metric, found["mean"])]]
        lines += [
            [f"worst: {found['worst']['group']}", f"{found['worst']['samples']:,}", _said(metric, found["worst"])]
        ]
    return aligned(lines)


def _said(metric: str, record: Json) -> str:
    return figure(metric, Figure(*(record[name] for name in Figure._fields)))
