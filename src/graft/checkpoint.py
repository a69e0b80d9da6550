"""Checkpoints that are whole or absent: tensors in safetensors, everything else in JSON, each file with its sha256.

A checkpoint is a folder. It is written under another name, flushed to the disk, and published by one rename. A damaged
one is set aside under a name that says so, and the one before it is used. The contract is in docs/design.md.

    ckpt/phase-000/{model.safetensors, manifest.json}          the end of a finished phase
    ckpt/step-000-00000120/{state.safetensors, manifest.json}  somewhere inside phase 0; the last two are kept
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from graft.errors import IntegrityError
from graft.store import DAMAGED, disk_errors, flush, read_sealed_json, sha256, write_sealed_json
from graft.types import Json

KEEP = 2


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Each tensor as its own contiguous memory: safetensors refuses shared ones."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    try:
        safetensors.torch.save_file(plain, path)
    except safetensors.SafetensorError as error:
        system = re.search(r"os error (\d+)", str(error))  # the library hides the number that says "disk full"
        raise OSError(int(system[1]) if system else errno.EIO, str(error)) from None


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Raises IntegrityError with the reason when the file cannot be read as safetensors."""
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise IntegrityError(f"{path} is damaged: {error}", DAMAGED) from None


def publish(folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], facts: Json) -> None:
    """Write `{file: tensors}` and `facts` as one checkpoint; afterwards it is there as a whole, or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with disk_errors(folder):
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            _fill(temporary, tensors, facts)
            old = temporary.with_name(f"{temporary.name}.old")
            if folder.exists():
                os.rename(folder, old)  # removing it file by file could leave a half
            os.rename(temporary, folder)
            flush(folder.parent)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _fill(folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], facts: Json) -> None:
    for name, content in tensors.items():
        save_tensors(folder / name, content)
        flush(folder / name)
    files = {name: sha256(folder / name) for name in tensors}
    write_sealed_json(folder / "manifest.json", {"format": 1, "files": files, "facts": facts})
    flush(folder)


def read(folder: Path) -> tuple[dict[str, dict[str, Tensor]], Json]:
    """Check every hash, then load. Raises IntegrityError naming the file."""
    manifest = read_sealed_json(folder / "manifest.json")
    for name, digest in manifest["files"].items():
        path = folder / name
        if not path.is_file() or sha256(path) != digest:
            raise IntegrityError(f"{path} is not what was saved", "delete its folder to go on from the one before")
    return {name: load_tensors(folder / name) for name in manifest["files"]}, manifest["facts"]


class Checkpoints:
    """The checkpoints of one run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged: list[str] = []

    def save_step(self, step: int, state: Mapping[str, Tensor], facts: Json) -> None:
        publish(self.folder / f"step-{facts['phase']:03d}-{step:08d}", {"state.safetensors": state}, facts)
        for old in self._steps()[:-KEEP]:
            shutil.rmtree(old)

    def latest_step(self, phase: int) -> tuple[dict[str, Tensor], Json] | None:
        """The newest readable state inside this phase; damaged ones are set aside by name."""
        for folder in reversed(self._steps()):
            found = self._try(folder)
            if found and found[1]["phase"] == phase:
                return found[0]["state.safetensors"], found[1]
        return None

    def save_phase(self, phase: int, model: Mapping[str, Tensor], facts: Json) -> None:
        publish(self.folder / f"phase-{phase:03d}", {"model.safetensors": model}, facts)
        for step in self._steps():
            shutil.rmtree(step)

    def finished(self, phase: int) -> tuple[dict[str, Tensor], Json] | None:
        folder = self.folder / f"phase-{phase:03d}"
        found = self._try(folder) if folder.is_dir() else None
        return (found[0]["model.safetensors"], found[1]) if found else None

    def _steps(self) -> list[Path]:
        return sorted(self.folder.glob("step-???-????????"))

    def _try(self, folder: Path) -> tuple[dict[str, dict[str, Tensor]], Json] | None:
        try:
            return read(folder)
        except IntegrityError:
            aside = folder.with_name(f"damaged-{folder.name}")
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
            self.damaged.append(folder.name)
            return None


def digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """sha256 over names, types, shapes and values: what identifies weights, wherever they are stored."""
    total = hashlib.sha256()
    for name, tensor in tensors:
        plain = tensor.detach().cpu().contiguous()
        total.update(f"{name} {plain.dtype} {tuple(plain.shape)}".encode())
        total.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
