"""What a run has seen of other data before, found by the content of the samples, whatever these are called by now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from graft import run
from graft.recipe import pretext
from graft.spec import parse
from graft.store import read_json
from graft.types import Dataset, Issue, Recipe

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


def by_trunks(recipe: Recipe, dataset: Dataset) -> list[Issue]:
    """What the runs whose trunks, or whose teachers, are used have learned from these samples: with their labels it is
    a leak, as the sealed test part is among them."""
    if dataset.kind == "none":
        return []
    found = [_learned(Path(folder), dataset) for folder in dict.fromkeys(_runs(recipe))]
    return [issue for issue in found if issue]


def _runs(recipe: Recipe) -> list[str]:
    """The folders of trained:RUN, as a backbone or as a term's teacher."""
    teachers = [str(parse(term).options.get("teacher", "")) for term in recipe.terms]
    asked = [parse(text) for text in (*recipe.backbone.split(" + "), *filter(None, teachers))]
    return [one.target for one in asked if one.name == "trained" and one.target]


def _learned(folder: Path, dataset: Dataset) -> Issue | None:
    keys = tuple(key for name, keys in before(folder, dataset).items() if name != "test" for key in keys)
    if not keys:
        return None
    what = f"{len(keys):,} of these {len(dataset):,} samples are among those that the trunk of {folder} learned from"
    if pretext(read_json(folder / "recipe.json")["task"]):
        return Issue("trunk-saw-samples", "note", f"{what}, without their labels", keys)
    hint = "take other samples, or a trunk that has not seen them: every figure here is too high"
    return Issue("trunk-saw-labels", "warning", f"{what}, with their labels", keys, hint)


def issues(seen: Seen) -> list[Issue]:
    """What that says of a score of the run on these samples."""
    return [Issue("seen-before", "note" if name == "test" else "warning", _WORDS[name], tuple(keys))
            for name, keys in seen.items()]  # fmt: skip
