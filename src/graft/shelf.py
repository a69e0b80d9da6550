"""N rows that are kept: equal ones as one tensor, sequences one after the other; in memory, or in a mapped file.

Rows that do not fit into memory lie in a scratch file without a name: the system reads what is needed of it, writes it
back when memory is short, and forgets it when the process ends.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import MutableMapping, Sequence
from math import prod
from pathlib import Path
from typing import final

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

GIGA = 1 << 30
Some = Tensor | list[Tensor]  # rows (B, ...), or B tensors (T_i, ...)
_in_memory: MutableMapping[Tensor, int] = WeakIdKeyDictionary()  # bytes of each tensor that `room` has given and that
_in_files: MutableMapping[Tensor, int] = WeakIdKeyDictionary()  # is still held by somebody


def memory_budget() -> int:
    """Bytes that all rows together may take: $GRAFT_MEMORY in GB, else a third of the machine's or, if less, half of
    what is free. Where a container has a limit of its own, that is the machine."""
    asked = os.environ.get("GRAFT_MEMORY")
    if asked:
        return int(float(asked) * GIGA)
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = min(whole, _number("/sys/fs/cgroup/memory.max") or whole)
    free = limit - (_number("/sys/fs/cgroup/memory.current") or 0) if limit < whole else limit
    return max(0, min(limit // 3, min(free, _available(whole)) // 2))


def _number(path: str) -> int | None:
    """None for a limit that is not set, or a system that has none."""
    try:
        text = Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _available(otherwise: int) -> int:
    """What programs can still take: the page cache gives way to them."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return otherwise
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), otherwise)


@final
class Shelf:
    """`flat` (N, ...) or, with `sizes` (N,), (sum of sizes, ...); `at` (n,) names the rows that this is a part of."""

    def __init__(self, flat: Tensor, sizes: Tensor | None = None, at: Tensor | None = None) -> None:
        self.flat, self.sizes, self.at = flat, sizes, at
        self.starts = None if sizes is None else sizes.cumsum(0) - sizes

    def take(self, rows: Tensor) -> Some:
        """The rows (n,) as a tensor of their own, or as views of theirs."""
        places = rows if self.at is None else self.at[rows]
        if self.sizes is None or self.starts is None:
            return self.flat.index_select(0, places)
        starts, sizes = self.starts[places].tolist(), self.sizes[places].tolist()
        return [self.flat[start : start + size] for start, size in zip(starts, sizes, strict=True)]

    def put(self, rows: Tensor, found: Some) -> None:
        if isinstance(found, Tensor):
            self.flat[rows if self.at is None else self.at[rows]] = found.to(self.flat)
            return
        for place, one in zip(self.take(rows), found, strict=True):
            place.copy_(one)

    def part(self, rows: Tensor) -> Shelf:
        """The same rows under other numbers: nothing is copied."""
        return Shelf(self.flat, self.sizes, rows if self.at is None else self.at[rows])

    def whole(self) -> Tensor:
        """(n, ...) all equal rows, without a copy where that is possible."""
        return self.flat if self.at is None else self.flat[self.at]

    def row_bytes(self) -> int:
        """The mean size of a row."""
        return self.flat.nbytes // max(1, len(self.flat if self.sizes is None else self.sizes))


def room(
    count: int, shape: Sequence[int], dtype: torch.dtype, *, sizes: Tensor | None = None, times: int = 1,
    scratch: Path | None = None, disk: int = 0,
) -> Shelf | None:  # fmt: skip
    """An empty place for `count` rows of a shape, of sequences for each position of theirs; `times` will be asked for.

    In memory while all that is kept fits into its budget, in a file of `scratch` while such files fit into `disk`
    bytes, else None.
    """
    length = count if sizes is None else int(sizes.sum())
    size = times * length * prod(shape) * dtype.itemsize
    if size + sum(_in_memory.values()) <= memory_budget():
        return _given(torch.empty((length, *shape), dtype=dtype), sizes, _in_memory)
    if scratch is None or size + sum(_in_files.values()) > disk:
        return None
    mapped = _mapped((length, *shape), dtype, scratch)
    return None if mapped is None else _given(mapped, sizes, _in_files)


def _given(flat: Tensor, sizes: Tensor | None, held: MutableMapping[Tensor, int]) -> Shelf:
    held[flat] = flat.nbytes
    return Shelf(flat, sizes)


def _mapped(shape: Sequence[int], dtype: torch.dtype, folder: Path) -> Tensor | None:
    """A tensor in a file that is nameless once it is mapped; None where it cannot be had."""
    size = prod(shape) * dtype.itemsize
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free - size < GIGA:
            return None  # the run itself still has to be written
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".rows-") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, size))  # a full disk is said now, not by a crash while writing
            return torch.from_file(file.name, shared=True, size=prod(shape), dtype=dtype).reshape(*shape)
    except (OSError, RuntimeError, AttributeError):  # not every system can promise the room of a file
        return None
