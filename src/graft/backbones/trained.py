"""The trunk of a finished run, of `graft fit` or `graft pretrain`, with the weights that it came to: trained:runs/x-1.

The head of a run that learned classes, if it is linear, comes beside it and knows their names: what the run says of its
own classes can be learned from it (terms/distill.py). What is made of it needs the run's folder no more. A run whose
head looks at every word reads long texts in windows; its trunk reads them as its source does, unless `long` says
otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from graft.backbones._rebuild import preprocess, rebuild, verify
from graft.backbones._sounds import HEARD, Sounds
from graft.backbones._tokens import LONG, Tokens
from graft.backbones._weights import weights_digest
from graft.checkpoint import load_tensors
from graft.errors import IntegrityError, UsageError, did_you_mean
from graft.nn.heads import linear
from graft.nn.named import Named
from graft.spec import Spec, parse
from graft.store import read_json
from graft.types import Backbone, Json, Preprocess

PREFIX, HEAD = "backbone.", "head."  # of names in model.safetensors


def trained(folder: str, *, pretrained: bool = True, long: str | None = None, config: Json | None = None) -> Backbone:
    """`long`: "truncate" or "windows"; None: as the trunk of the run was asked for, which mostly is "truncate".
    `config` is what Info.config held: with it and pretrained=False the folder is not needed.

    Raises UsageError where `folder` is no run or `long` no way to read, DataError for one that is not finished,
    IntegrityError for a file that is not what was saved.
    """
    path = Path(folder)
    source = Spec("trained", folder, {} if long is None else {"long": long})
    if config is None or pretrained:
        verify(path)
    record = config["backbone"] if config else read_json(path / "backbone.json")
    made = rebuild(record)
    made.info = replace(made.info, source=source, config={"backbone": record}, source_accuracy=None)
    if config is None:
        made.preprocess = _reading(preprocess(read_json(path / "preprocessing.json")), long or _asked(record))
    if not pretrained:
        made.info = replace(made.info, sha256="", pretrained_on="")
        return made
    _load(made, path)
    before, own = record["pretrained_on"], read_json(path / "data.json")["name"]
    digest, trained_on = weights_digest(made.state_dict()), f"{before}, then {own}" if before else own
    scaled = made.info.standardize or made.info.modality == "audio"  # random weights have no scale worth keeping
    made.info = replace(made.info, sha256=digest, pretrained_on=trained_on, standardize=scaled)
    return made


def _asked(record: Json) -> str:
    return str(parse(record["source"]).options.get("long", "truncate"))


def _reading(made: Preprocess, long: str) -> Preprocess:
    """Raises UsageError for another way to read long texts than there is."""
    if long not in LONG:
        raise UsageError(f"long='{long}' is no way to read long texts", did_you_mean(long, LONG))
    if isinstance(made, Sounds):
        return replace(made, heard=HEARD)  # a run that spells hears all
    return replace(made, long=long) if isinstance(made, Tokens) else made


def _load(made: Backbone, folder: Path) -> None:
    state = load_tensors(folder / "model.safetensors")
    try:
        made.load_state_dict(_under(PREFIX, state))
    except RuntimeError as error:
        what = f"{folder}: {str(error).splitlines()[0]}"
        raise IntegrityError(what, "make the run again with this version") from None
    made.heads = {**made.heads, **_classes(_under(HEAD, state), folder, made.info.dim)}


def _under(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _classes(state: Mapping[str, Tensor], folder: Path, dim: int) -> dict[str, nn.Module]:
    """The head of a run of classes, trained or fitted in one step, if it is linear on pooled features; else nothing."""
    names = tuple(read_json(folder / "labels.json"))
    if parse(read_json(folder / "recipe.json")["task"]).name != "classification":
        return {}
    for standardize in (False, True):
        with torch.random.fork_rng(devices=[]):
            head = linear(dim, len(names), standardize=standardize)
        if _shapes(head.state_dict()) == _shapes(state):
            head.load_state_dict(state)
            return {"classes": Named(head, names)}
    return {}


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}
