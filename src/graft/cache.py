"""Rows of features on disk, found by content.

A key is everything that decides the rows of a view but the bytes of the samples: weights, preprocessing, boundary. A
file is named by the hash of its content, so a damaged or foreign one is noticed and made again.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Container, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import final

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from graft.shelf import GIGA, Some
from graft.store import cache_dir, sha256


@final
@dataclass
class Cache:
    """Rows on disk. The newest keys are kept when the folder outgrows `budget` bytes ($GRAFT_CACHE_GB, else 10)."""

    folder: Path
    budget: int = 10 * GIGA

    @staticmethod
    def default() -> Cache:
        return Cache(cache_dir() / "features", int(float(os.environ.get("GRAFT_CACHE_GB", "10")) * GIGA))

    def files(self, key: str, wanted: Container[str], share: float = 0.0) -> Iterator[tuple[list[str], Some]]:
        """File by file what is kept under a key: the digests of the samples, and their rows.

        Files of which no more than `share` is wanted are not read.
        """
        for path in sorted((self.folder / key).glob("*.safetensors")):
            try:
                found = _read(path) if _wanted(path, wanted, share) else None
            except (FileNotFoundError, safetensors.SafetensorError):
                continue  # pruned by another process just now
            if found is not None:
                yield found
        with suppress(OSError):  # nothing there yet, or a folder that may only be read
            os.utime(self.folder / key)

    def add(self, key: str, digests: Sequence[str], rows: Some) -> None:
        """Publish one file; several processes may do so at once, at worst both keep the same rows.

        Rows of different lengths lie one after the other. What is larger than half of the budget is not kept.
        """
        folder = self.folder / key
        temporary = folder / f".{uuid.uuid4().hex}"
        tensors = {"rows": rows.contiguous()} if isinstance(rows, Tensor) else _joined(rows)
        if not self.room(key, tensors["rows"].nbytes):
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            safetensors.torch.save_file(tensors, temporary, {"digests": json.dumps(list(digests))})
            temporary.replace(folder / f"{sha256(temporary)}.safetensors")
            self.prune(keep=key)
        except (OSError, safetensors.SafetensorError):
            with suppress(OSError):
                temporary.unlink(missing_ok=True)  # no room, or not allowed: a cache may be missing, never wrong

    def room(self, key: str, size: int) -> bool:
        """Whether so many bytes more are kept under a key."""
        return _size(self.folder / key) + size <= self.budget // 2

    def prune(self, keep: str) -> None:
        """Drop the keys that were not used for longest."""
        folders = sorted((f for f in self.folder.iterdir() if f.is_dir()), key=lambda f: f.stat().st_mtime)
        sizes = {f: _size(f) for f in folders}
        total = sum(sizes.values())
        for folder in folders:
            if total <= self.budget or folder.name == keep:
                continue
            shutil.rmtree(folder, ignore_errors=True)
            total -= sizes[folder]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*") if path.exists())


def _wanted(path: Path, names: Container[str], share: float) -> bool:
    """By the header, which is read in no time. Whether it is true is seen when all of the file is read."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            held = json.loads(file.metadata()["digests"])
    except (safetensors.SafetensorError, TypeError, KeyError, ValueError):
        return True  # damaged
    return sum(name in names for name in held) > share * len(held)


def _read(path: Path) -> tuple[list[str], Some] | None:
    """The digests and rows of one file; None, and the file removed, when its content is not what its name says."""
    if sha256(path) != path.stem:
        path.unlink(missing_ok=True)  # it can be made again
        return None
    with safetensors.safe_open(path, "pt") as file:
        names, rows = json.loads(file.metadata()["digests"]), file.get_tensor("rows")
        ragged = "sizes" in file.keys()  # noqa: SIM118
        return names, list(rows.split(file.get_tensor("sizes").tolist())) if ragged else rows


def _joined(rows: Sequence[Tensor]) -> dict[str, Tensor]:
    return {"rows": torch.cat(list(rows)), "sizes": torch.tensor([len(row) for row in rows])}
