"""Graft's own trunks, made by `graft pretrain` and shipped with the package: they need no network.

bundled:tiny64    64-pixel images, see weights/tiny64.json for data, recipe, figures and terms
bundled:natural48, textures48, characters48, digits48    four equal networks of other sources, 48 pixels
"""

from __future__ import annotations

from pathlib import Path

from graft import registry
from graft.checkpoint import digest, load_tensors
from graft.errors import IntegrityError, UsageError, did_you_mean
from graft.spec import Spec, parse
from graft.store import read_json
from graft.store import sha256 as file_sha256
from graft.types import Backbone, Info

FOLDER = Path(__file__).parent / "weights"
DEFAULT = "bundled:tiny64"


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def bundled(name: str, *, pretrained: bool = True) -> Backbone:
    """With `pretrained=False` the same network with random weights: the from-scratch control."""
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
    made.info = Info(source, made.info.modality, made.info.dim, card["licence"], sha256, made.info.parameters,
                     card.get("pretrained_on", card["data"]) if pretrained else "",
                     source_accuracy=card["valid"]["accuracy"]["value"] if pretrained else None)  # fmt: skip
    return made
