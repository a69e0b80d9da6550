"""What a run has seen of other data before, found by the content of the samples, whatever these are called by now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from graft import run
from graft.types import Dataset, Issue

_WORDS = {"train": "the run was trained on these samples: the score is too high",
          "valid": "the run was chosen by these samples: the score is somewhat too high",
          "test": "these samples are the run's sealed test part, now opened once more"}  # fmt: skip

Seen = Mapping[str, Sequence[str]]  # the run's part ("train", "valid", "test") -> the names of the samples


def before(folder: Path, dataset: Dataset) -> dict[str, list[str]]:
    """Names of the samples of an audited data set whose content the run had, by its own split."""
    parts = {line["sha256"]: line["split"] for line in run.splits(folder)}
    seen: dict[str, list[str]] = {}
    for sample in dataset.samples:
        if sample.digest in parts:
            seen.setdefault(parts[sample.digest], []).append(sample.key)
    return seen


def unknown(folder: Path) -> list[Issue]:
    """What is to be said where the run does not tell what it has seen."""
    if (folder / "splits.jsonl").exists():
        return []
    what = "whether the run has learned from these samples is not known: a run from the hub does not list its own"
    return [Issue("seen-unknown", "note", what, (), "evaluate on samples that were recorded later")]


def issues(seen: Seen) -> list[Issue]:
    """What that says of a score of the run on these samples."""
    return [Issue("seen-before", "note" if name == "test" else "warning", _WORDS[name], tuple(keys))
            for name, keys in seen.items()]  # fmt: skip
