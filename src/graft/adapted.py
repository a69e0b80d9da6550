"""The folder of an adapted run: that of any run, with the samples that its parent had seen, and whose child it is.

adapted.json   the parent's folder and the hash of its manifest, the method, the data; signed like the model
splits.jsonl   the parent's samples, then the new ones: `evaluate` knows both
sealed.json    the openings of the parent's test part until now
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from graft import run
from graft.errors import IntegrityError
from graft.store import read_sealed_json, replacing, require_space, sha256, write_json, write_sealed_json
from graft.types import Dataset, Json, Model, Recipe

ABOUT = "adapted.json"


def write(folder: Path, parent: Path, model: Model, recipe: Recipe, dataset: Dataset, about: Json) -> None:
    """Everything but the result. `dataset` holds the new samples and the parent's classes."""
    require_space(folder, 8 * sum(4 * p.numel() for p in model.parameters()))
    run.begin(folder, recipe, dataset)
    run.begin_model(folder, model.backbone)
    with replacing(folder / "splits.jsonl") as temporary:
        both = [one / "splits.jsonl" for one in (parent, folder)]
        lines = [path.read_text(encoding="utf-8") for path in both if path.exists()]  # a run from the hub has none
        temporary.write_text("".join(lines), encoding="utf-8")
    if (parent / "sealed.json").exists():
        shutil.copyfile(parent / "sealed.json", folder / "sealed.json")
    write_json(folder / ABOUT, about)
    run.save_model(folder, model)
    signed = read_sealed_json(folder / "manifest.json")
    files = {**signed["files"], ABOUT: sha256(folder / ABOUT)}
    write_sealed_json(folder / "manifest.json", {**signed, "files": files})


def prove(folder: Path, said: Callable[[Model], Tensor], model: Model) -> None:
    """Nothing is called saved before it was read back and says the same. Raises IntegrityError."""
    device = next((tensor.device for tensor in model.state_dict().values()), torch.device("cpu"))
    again = run.load(folder).model.to(device)
    if not torch.allclose(said(model), said(again), atol=1e-5):
        what = f"{folder}: the saved model predicts otherwise than the adapted one"
        raise IntegrityError(what, "this is a bug of Graft: please report it with recipe.json and environment.json")
