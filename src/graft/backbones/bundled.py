"""Graft's own trunks, made by `graft pretrain` and shipped with the package: they need no network.

bundled:natural64    64-pixel images, see weights/natural64.json for data, recipe, figures and terms
bundled:tiny64    what came before it, and what it began with
bundled:natural48, textures48, characters48, digits48    four equal networks of other sources, 48 pixels
bundled:words8k    sounds at 8 kHz: single spoken words of six languages
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from graft import registry
from graft.checkpoint import digest, load_tensors
from graft.errors import IntegrityError, UsageError, did_you_mean
from graft.spec import Spec, parse
from graft.store import read_json
from graft.store import sha256 as file_sha256
from graft.types import Backbone, Json

FOLDER = Path(__file__).parent / "weights"
DEFAULT = "bundled:natural64"


def names(modality: str | None = None) -> list[str]:
    """All of them, or those for images, or for sounds that a better one has not come after."""
    found = sorted(path.stem for path in FOLDER.glob("*.safetensors"))
    if modality is None:
        return found
    cards = {name: read_json(FOLDER / f"{name}.json") for name in found}
    return [name for name, card in cards.items()
            if card.get("modality", "image") == modality and "superseded_by" not in card]  # fmt: skip


def bundled(name: str, *, pretrained: bool = True, config: Json | None = None) -> Backbone:
    """With `pretrained=False` the same network with random weights: the from-scratch control. `config` is what
    Info.config held; the card says the same."""
    if name not in names():
        raise UsageError(f"there is no bundled trunk '{name}'", did_you_mean(name, names()))
    card = read_json(FOLDER / f"{name}.json")
    blank = parse(card["architecture"])
    made: Backbone = blank.with_options(pretrained=False).bind(registry.find("backbone", blank.name))
    sha256 = ""
    if pretrained:
        if file_sha256(FOLDER / f"{name}.safetensors") != card["sha256"]:
            what = f"the weights of bundled:{name} are not what its card says"
            raise IntegrityError(what, "pip install --force-reinstall graft-ml")
        state = {key: value.float() if value.is_floating_point() else value
                 for key, value in load_tensors(FOLDER / f"{name}.safetensors").items()}  # fmt: skip
        made.load_state_dict(state)
        sha256 = digest(state.items())
    source = Spec("bundled", name, {} if pretrained else {"pretrained": False})
    labelled = card.get("task", "classification").startswith("classification")  # else no accuracy of a classifier
    accuracy = card["valid"].get("accuracy", {}).get("value") if labelled else None
    made.info = replace(made.info, source=source, licence=card["licence"], sha256=sha256,
                        pretrained_on=card.get("pretrained_on", card["data"]) if pretrained else "",
                        source_accuracy=accuracy if pretrained else None,
                        standardize=pretrained or made.info.standardize)  # fmt: skip
    return made
