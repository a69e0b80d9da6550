"""Train, valid and test: what the data give is kept, what is missing is carved out of train.

Stratified by labels; a group is never divided. The order is a hash of seed and content, so names and file order do not
matter, and a new file moves few others.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

import numpy as np

from graft.data import _groups, _kinds
from graft.errors import DataError, UsageError
from graft.types import Dataset, Issue, Sample


def split(
    dataset: Dataset, *, valid: float = 0.15, test: float = 0.15, seed: int = 0, sealed: str | None = None
) -> Dataset:
    """Every sample with its part. `valid` and `test` are shares of what is divided; 0 makes no such part.

    `sealed="valid"` says that the given valid part is the final examination, and becomes the test part.
    Samples that are left out (leaks, and unlabelled ones among labelled) are listed as issues.
    """
    if not (0 <= valid < 1 and 0 <= test < 1 and valid + test < 1):
        raise UsageError(f"valid={valid}, test={test}: the shares must leave something to train on",
                         "use for instance valid=0.15, test=0.15")  # fmt: skip
    kept, issues = _without_leaks(_labelled(_sealed(dataset, sealed)))
    kept = _joined(kept)
    given = {sample.split for sample in kept}
    shares = {part: share for part, share in (("test", test), ("valid", valid)) if part not in given and share > 0}
    pool = [i for i, sample in enumerate(kept) if sample.split in (None, "train")]
    layers = strata(dataset.replace(samples=tuple(kept)))
    named = dataset.kind in ("class", "labels")
    carved = _Carving([kept[i] for i in pool], [layers[i] for i in pool], shares, seed, named)
    for i, part in zip(pool, carved.run(), strict=True):
        kept[i] = replace(kept[i], split=part)
    _require_parts(dataset, kept, shares)
    found = [*issues, *_straddling(kept), *carved.issues]
    earlier = [issue for issue in dataset.issues if issue.code != "leak"]  # found again, and acted on
    return dataset.replace(samples=tuple(kept), issues=(*earlier, *found))


def strata(dataset: Dataset) -> list[str | None]:
    """What each sample is stratified by: its class; of several labels the rarest; of a number its fifth of all.

    None: not labelled, or without any label. Tags, answers and transcripts are one stratum.
    """
    labels = [sample.label for sample in dataset.samples]
    if dataset.kind == "number":
        return _fifths(labels)
    counts = Counter(name for label in labels for name in _kinds.names(dataset.kind, label))
    if dataset.kind in ("tags", "answers", "transcript", "none"):
        return [None if label is None and dataset.kind != "none" else "all" for label in labels]
    found = (_kinds.names(dataset.kind, label) for label in labels)
    return [min(names, key=lambda name: (counts[name], name), default=None) for names in found]


def _fifths(labels: Sequence[float | None]) -> list[str | None]:
    """Equal numbers fall into one fifth, so that fifths may be of unequal size, or empty."""
    values = [label for label in labels if label is not None]
    cuts = np.quantile(values, [0.2, 0.4, 0.6, 0.8]) if values else np.empty(0)
    return [None if label is None else str(int(np.searchsorted(cuts, label, "right")) + 1) for label in labels]


# -------------------------------------------------------------------------------------------------------- given parts


def _sealed(dataset: Dataset, sealed: str | None) -> Dataset:
    have = {sample.split for sample in dataset.samples} - {None}
    if sealed is None or (sealed == "test" and "test" in have):
        return dataset
    if sealed not in have or sealed not in ("valid", "test"):
        raise UsageError(f"sealed={sealed!r}, but the data give {sorted(map(str, have)) or 'no parts'}",
                         "leave it out, or use sealed='valid' with a given valid part")  # fmt: skip
    if "test" in have:
        raise UsageError("sealed='valid', but the data give a test part too", "leave it out: the test part is sealed")
    renamed = [replace(s, split="test") if s.split == "valid" else s for s in dataset.samples]
    return dataset.replace(samples=tuple(renamed))


def _labelled(dataset: Dataset) -> tuple[Dataset, list[Issue]]:
    if not dataset.classes and all(sample.label is None for sample in dataset.samples):
        return dataset, []
    without = tuple(sample.key for sample in dataset.samples if sample.label is None)
    if not without:
        return dataset, []
    issue = Issue("unlabelled", "warning", f"{len(without)} samples without a label are left out", without)
    return dataset.where(lambda sample: sample.label is not None), [issue]


def _without_leaks(labelled: tuple[Dataset, list[Issue]]) -> tuple[list[Sample], list[Issue]]:
    """Leave out what the audit found to be a leak, and what digests and groups of copies show without it."""
    dataset, issues = labelled
    content = [s.group if s.in_copies else s.digest or s.key for s in dataset.samples]
    earlier = [issue for issue in dataset.issues if issue.code == "leak"]
    known = {key: how for issue in earlier for key, how in zip_longest(issue.keys, issue.details, fillvalue="")}
    found = _groups.leaks(dataset.samples, content, known, _groups.words(dataset.modality).noun)
    lost = {key for issue in found for key in issue.keys}
    return [sample for sample in dataset.samples if sample.key not in lost], issues + found


def _joined(samples: Sequence[Sample]) -> list[Sample]:
    """A sample without a part, whose group has one, follows its group: groups are never divided by us."""
    part = {s.group: s.split for s in samples if s.group and s.split in ("valid", "test")}
    return [replace(s, split=part[s.group]) if s.split is None and s.group in part else s for s in samples]


def _straddling(samples: Sequence[Sample]) -> Iterator[Issue]:
    parts: dict[str, set[str | None]] = defaultdict(set)
    for sample in samples:
        if sample.group:
            parts[sample.group].add(sample.split)
    divided = tuple(sorted(group for group, found in parts.items() if len(found) > 1))
    if divided:
        what = f"{len(divided)} groups stand on two sides of the given split; scores may be too good"
        yield Issue("group-straddles", "warning", what, divided, "leave out the split column to let Graft split")


def _require_parts(dataset: Dataset, samples: Sequence[Sample], shares: dict[str, float]) -> None:
    have = {sample.split for sample in samples}
    missing = [part for part in ("train", *shares) if part not in have]
    if missing:
        raise DataError(f"{dataset.name} has too few samples for a {missing[0]} part ({len(samples)} in all)",
                        "add samples: every class needs at least three that are not copies")  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ carving


@dataclass(frozen=True)
class _Unit:
    """Samples that stay together: one group, or one sample. `rows` are positions in the pool."""

    rows: tuple[int, ...]
    labels: Counter[str | None]  # of strata
    order: bytes


class _Carving:
    """Units in the order of their hash; each goes to test, else to valid, while these need samples of its classes."""

    def __init__(
        self, pool: Sequence[Sample], strata: Sequence[str | None], shares: dict[str, float], seed: int, named: bool
    ) -> None:
        self.size = len(pool)
        self.units = sorted(_units(pool, strata, seed), key=lambda unit: unit.order)
        self.left = Counter(label for unit in self.units for label in unit.labels)  # units that train still has
        self.issues = list(self._lonely()) if shares and named else []
        self.need = {part: self._quota(part, share, shares) for part, share in shares.items()}

    def run(self) -> list[str]:
        """The part of each sample of the pool."""
        parts = ["train"] * self.size
        waiting = []
        for unit in self.units:
            part = next((part for part in self.need if self._wants(part, unit)), None)
            if part is None:
                waiting.append(unit)
            else:
                self._place(unit, part, parts)
        self._fill(waiting, parts)
        return parts

    def _quota(self, part: str, share: float, shares: dict[str, float]) -> Counter[str | None]:
        """Samples per class, rounded; at least one as soon as every part can have a unit of the class."""
        totals: Counter[str | None] = Counter()
        for unit in self.units:
            totals.update(unit.labels)
        first = 2 + list(shares).index(part)  # train keeps one unit, and test is served before valid
        return Counter({c: max(1, round(share * n)) if self.left[c] >= first else 0 for c, n in totals.items()})

    def _wants(self, part: str, unit: _Unit) -> bool:
        """Whether at least half of the unit is needed, and train keeps a unit of each of its classes."""
        useful = sum(min(count, self.need[part][label]) for label, count in unit.labels.items())
        return 2 * useful >= unit.labels.total() and useful > 0 and self._spare(unit)

    def _spare(self, unit: _Unit) -> bool:
        return all(self.left[label] > 1 for label in unit.labels)

    def _place(self, unit: _Unit, part: str, parts: list[str]) -> None:
        for row in unit.rows:
            parts[row] = part
        for label, count in unit.labels.items():
            self.left[label] -= 1
            self.need[part][label] = max(0, self.need[part][label] - count)

    def _fill(self, waiting: list[_Unit], parts: list[str]) -> None:
        """Where all groups of a class were too large for its quota, the smallest one still goes."""
        placed: dict[str, set[str | None]] = {part: set() for part in self.need}
        for unit in self.units:
            if parts[unit.rows[0]] in placed:
                placed[parts[unit.rows[0]]] |= set(unit.labels)
        for unit in sorted(waiting, key=lambda unit: (len(unit.rows), unit.order)):
            for part, have in placed.items():
                lacking = {label for label in unit.labels if self.need[part][label] > 0} - have
                if lacking and self._spare(unit):
                    self._place(unit, part, parts)
                    have |= set(unit.labels)
                    break

    def _lonely(self) -> Iterator[Issue]:
        lonely = tuple(sorted(str(label) for label, units in self.left.items() if units == 1))
        if lonely:
            what = "classes with one sample or group are only trained on; their score cannot be measured"
            yield Issue("train-only-class", "warning", what, lonely, "add samples that are not copies")


def _units(pool: Sequence[Sample], strata: Sequence[str | None], seed: int) -> Iterator[_Unit]:
    members: dict[tuple[bool, str | int], list[int]] = defaultdict(list)
    for row, sample in enumerate(pool):
        members[(True, sample.group) if sample.group else (False, row)].append(row)
    for rows in members.values():
        contents = sorted({pool[row].digest or pool[row].key for row in rows})
        order = hashlib.sha256("\n".join([str(seed), *contents]).encode()).digest()
        yield _Unit(tuple(rows), Counter(strata[row] for row in rows), order)
