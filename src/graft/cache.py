"""Rows of features on disk, found by content; and how much memory they may take.

A key is everything that decides the rows of a view but the bytes of the samples: weights, preprocessing, boundary. A
file is named by the hash of its content, so a damaged or foreign one is noticed and made again.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import final

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from graft.store import cache_dir, sha256

GIGA = 1 << 30


def memory_budget() -> int:
    """Bytes that kept rows may take: $GRAFT_MEMORY in GB, else a third of the machine's."""
    asked = os.environ.get("GRAFT_MEMORY")
    if asked:
        return int(float(asked) * GIGA)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 3


@final
@dataclass
class Cache:
    """Rows on disk. The newest keys are kept when the folder outgrows `budget` bytes ($GRAFT_CACHE_GB, else 10)."""

    folder: Path
    budget: int = 10 * GIGA

    @staticmethod
    def default() -> Cache:
        return Cache(cache_dir() / "features", int(float(os.environ.get("GRAFT_CACHE_GB", "10")) * GIGA))

    def rows(self, key: str) -> dict[str, Tensor]:
        """Everything that is kept under a key, by the digest of the sample."""
        found: dict[str, Tensor] = {}
        for path in sorted((self.folder / key).glob("*.safetensors")):
            try:
                found.update(_read_rows(path))
            except (FileNotFoundError, safetensors.SafetensorError):
                continue  # pruned by another process just now
        with suppress(OSError):  # nothing there yet, or a folder that may only be read
            os.utime(self.folder / key)
        return found

    def add(self, key: str, digests: Sequence[str], rows: Tensor | Sequence[Tensor]) -> None:
        """Publish one file; several processes may do so at once, at worst both keep the same rows.

        Rows of different lengths lie one after the other.
        """
        folder = self.folder / key
        temporary = folder / f".{uuid.uuid4().hex}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            names = {"digests": json.dumps(list(digests))}
            tensors = {"rows": rows.contiguous()} if isinstance(rows, Tensor) else _joined(rows)
            safetensors.torch.save_file(tensors, temporary, names)
            temporary.replace(folder / f"{sha256(temporary)}.safetensors")
            self.prune(keep=key)
        except (OSError, safetensors.SafetensorError):
            with suppress(OSError):
                temporary.unlink(missing_ok=True)  # no room, or not allowed: a cache may be missing, never wrong

    def prune(self, keep: str) -> None:
        """Drop the keys that were not used for longest."""
        folders = sorted((f for f in self.folder.iterdir() if f.is_dir()), key=lambda f: f.stat().st_mtime)
        sizes = {f: sum(p.stat().st_size for p in f.glob("*") if p.exists()) for f in folders}
        total = sum(sizes.values())
        for folder in folders:
            if total <= self.budget or folder.name == keep:
                continue
            shutil.rmtree(folder, ignore_errors=True)
            total -= sizes[folder]


def _read_rows(path: Path) -> dict[str, Tensor]:
    """The rows of one file by digest; none, and the file removed, when its content is not what its name says."""
    if sha256(path) != path.stem:
        path.unlink(missing_ok=True)  # it can be made again
        return {}
    with safetensors.safe_open(path, "pt") as file:
        names, rows = json.loads(file.metadata()["digests"]), file.get_tensor("rows")
        parts = rows.split(file.get_tensor("sizes").tolist()) if "sizes" in file.keys() else rows  # noqa: SIM118
        return dict(zip(names, parts, strict=True))


def _joined(rows: Sequence[Tensor]) -> dict[str, Tensor]:
    return {"rows": torch.cat(list(rows)), "sizes": torch.tensor([len(row) for row in rows])}
