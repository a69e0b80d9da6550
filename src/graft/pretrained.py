"""A pretrained trunk as two files: half-precision weights without the head, and a card of facts."""

from __future__ import annotations

from pathlib import Path

import torch

from graft import run
from graft.backbones.bundled import FOLDER
from graft.checkpoint import save_tensors
from graft.errors import ResourceError
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
    data, backbone = read_json(folder / "data.json"), read_json(folder / "backbone.json")
    return {
        "architecture": _architecture(parse(backbone["source"])),
        "modality": backbone["modality"],
        "parameters": backbone["parameters"],
        "data": data["name"],
        "data_fingerprint": data["fingerprint"],
        "samples": result["splits"],
        "recipe": {**read_json(folder / "recipe.json"), "data": data["name"]},
        "valid": {name: result["valid"][name] for name in ("accuracy", "top5") if name in result["valid"]},
        "hours": round(result["seconds"] / 3600, 2),
        "environment": read_json(folder / "environment.json"),
        "sha256": sha256(path),
        "licence": f"Apache-2.0 for these weights; the terms of the source {_noun(backbone)} are those of their owners",
    }


def _architecture(source: Spec) -> str:
    """What makes the network with random weights: of a file of ours what is said of it, of a bundled trunk its card."""
    if source.name == "local":
        return str(source.options["arch"])
    if source.name == "bundled":
        return str(read_json(FOLDER / f"{source.target}.json")["architecture"])
    return str(source)


def _noun(backbone: Json) -> str:
    return "recordings" if backbone["modality"] == "audio" else "images"
