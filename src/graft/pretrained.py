"""A pretrained trunk as two files: half-precision weights without the head, and a card of facts."""

from __future__ import annotations

from pathlib import Path

import torch

from graft import bare, run
from graft.backbones.bundled import FOLDER
from graft.checkpoint import save_tensors
from graft.errors import ResourceError
from graft.job import HEADLINES
from graft.registry import names
from graft.spec import Spec, parse
from graft.store import read_json, replacing, sha256, write_json
from graft.types import Json


def export_trunk(folder: Path, result: Json) -> Path:
    """Write trunk.safetensors (float16) and trunk.json beside the run; `bundled:` reads this pair."""
    model = run.load(folder).model
    state = {
        name: t.to(torch.float16) if t.is_floating_point() else t for name, t in model.backbone.state_dict().items()
    }
    broken = [name for name, tensor in state.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise ResourceError(f"{broken[0]} does not fit into half precision", "lower the rate, and pretrain again")
    path = folder / "trunk.safetensors"
    with replacing(path) as temporary:
        save_tensors(temporary, state)
    write_json(folder / "trunk.json", _card(folder, result, path))
    return path


def _card(folder: Path, result: Json, path: Path) -> Json:
    """What can be said of the weights; no folder of the machine that made them is in it."""
    data, backbone = read_json(folder / "data.json"), read_json(folder / "backbone.json")
    recipe, begun = read_json(folder / "recipe.json"), _begun(backbone)
    before = f"{backbone['pretrained_on']}, then " if begun and backbone["pretrained_on"] else ""
    return {
        "architecture": _architecture(backbone),
        "modality": backbone["modality"],
        "parameters": backbone["parameters"],
        "task": bare.value_of(recipe["task"]),
        "began_with": begun,
        "teachers": _teachers(recipe["terms"]),
        "data": data["name"],
        "data_fingerprint": data["fingerprint"],
        "pretrained_on": f"{before}{data['name']}",
        "samples": result["splits"],
        "recipe": {**bare.recipe(recipe), "data": data["name"]},
        "valid": {name: result["valid"][name] for name in HEADLINES if name in result["valid"]},
        "watch": _watched(result),
        "hours": round(_seconds(result) / 3600, 2),
        "environment": read_json(folder / "environment.json"),
        "sha256": sha256(path),
        "licence": f"{_licence(backbone)}; the terms of the source {_noun(backbone)} are those of their owners",
    }


def _architecture(record: Json) -> str:
    """The spec that makes the network with random weights: of a file of ours what is said of it, of a bundled trunk its
    card, of a run what that began with. `record` is the content of backbone.json."""
    source = parse(record["source"])
    if source.name == "trained":
        return _architecture(record["config"]["backbone"])
    if source.name == "bundled":
        return str(read_json(FOLDER / f"{source.target}.json")["architecture"])
    if source.name == "local":
        own = source.options.keys() == {"arch"} and parse(source.options["arch"]).name in names("backbone")
        return str(source.options["arch"] if own else Spec("local", None, source.options))
    return str(source)


def _begun(record: Json) -> Json | None:
    """The weights that training began with; None for random ones."""
    if not record["sha256"]:
        return None
    known = {key: record[key] for key in ("sha256", "pretrained_on", "licence")}
    return {"source": bare.backbone(record["source"]), **known}


def _teachers(terms: list[str]) -> list[str]:
    """The trunks that were learned from, by their bare names."""
    asked = [parse(term).options.get("teacher") for term in terms]
    return [bare.backbone(teacher) for teacher in asked if teacher is not None]


def _watched(result: Json) -> Json | None:
    """The last look at the trunk, as it is kept; None where nobody looked."""
    looks = result.get("watch") or [None]
    return looks[-1] and {key: value for key, value in looks[-1].items() if key not in ("event", "seconds")}


def _seconds(result: Json) -> float:
    """Of all lives of a run that was interrupted: phases count them together, the result only the last one."""
    return float(max(result["seconds"], sum(phase["seconds"] for phase in result["phases"])))


def _licence(record: Json) -> str:
    """Ours, where we began with random weights; else that of the weights we began with, which goes on."""
    own = record["licence"].partition(" for these weights")[0] if record["sha256"] else "Apache-2.0"
    return f"{own} for these weights" if own == "Apache-2.0" else f"{own}, as the weights that these began with"


def _noun(backbone: Json) -> str:
    return "recordings" if backbone["modality"] == "audio" else "images"
