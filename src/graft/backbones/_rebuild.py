"""A backbone from the JSON of a run: without the network, without the weights that it began with, checked by hash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from graft import registry
from graft.backbones._cepstra import cepstra
from graft.backbones._hf_waves import waves
from graft.backbones._hf_windows import spectrograms
from graft.backbones._images import images
from graft.backbones._mel import log_mel
from graft.backbones._pictures import pictures
from graft.backbones._sounds import Front, Sounds
from graft.backbones._terms import terms
from graft.backbones._tokens import tokens
from graft.backbones._words import words
from graft.errors import DataError, IntegrityError, UsageError
from graft.spec import parse
from graft.store import read_sealed_json, sha256
from graft.types import Backbone, Info, Json, Preprocess


def rebuild(record: Json) -> Backbone:
    """The architecture that backbone.json names, with random weights; `record` is its content.

    The preprocessing is that of the source until `preprocess` replaces it.
    """
    asked = parse(record["source"])
    extra: dict[str, Any] = {"config": record["config"]} if record.get("config") else {}
    with torch.random.fork_rng(devices=[]):
        backbone: Backbone = asked.with_options(pretrained=False, **extra).bind(registry.find("backbone", asked.name))
    backbone.info = Info(**{**record, "source": asked, "notes": tuple(record["notes"])})
    return backbone


def preprocess(record: Json) -> Preprocess:
    """What a preprocessing's `json` wrote."""
    kinds: dict[str, Callable[[Json], Preprocess]] = {"tokens": tokens, "words": words, "terms": terms,
                                                      "sounds": _sounds}  # fmt: skip
    return kinds.get(record.get("kind", ""), images)(record)


def _sounds(record: Json) -> Sounds:
    fronts: dict[str, Callable[[Json], Front]] = {
        "log_mel": log_mel, "pictures": pictures, "mfcc": cepstra, "waves": waves, "spectrograms": spectrograms
    }  # fmt: skip
    return Sounds(record["rate"], fronts[record["front"]["kind"]](record["front"]), record["heard"])


def verify(folder: Path) -> None:
    """Raises UsageError when this is no run, DataError when it is not finished, IntegrityError when a file is not what
    was saved."""
    if not (folder / "recipe.json").is_file():
        raise UsageError(f"{folder} is not a run folder", "give a folder that `graft fit` made, such as runs/flowers-1")
    if not (folder / "manifest.json").is_file():
        raise DataError(f"{folder} is not finished: it has no trained model yet", f"graft fit --resume --out {folder}")
    for name, expected in read_sealed_json(folder / "manifest.json")["files"].items():
        if not (folder / name).is_file() or sha256(folder / name) != expected:
            raise IntegrityError(
                f"{folder / name} is not what was saved", "restore it from a copy, or make the run again"
            )
