"""The trunks that are shipped: what their cards say is what they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from graft import store
from graft.backbones import bundled as module
from graft.backbones.bundled import bundled, names
from graft.errors import IntegrityError, UsageError


@pytest.mark.parametrize("name", names())
def test_a_trunk_is_small_and_is_what_its_card_says(name: str) -> None:
    path = module.FOLDER / f"{name}.safetensors"
    card = json.loads((module.FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    trunk = bundled(name)
    count = sum(p.numel() for p in trunk.parameters())
    assert path.stat().st_size <= 8_000_000 and count <= 3_000_000 and count == card["parameters"]
    assert store.sha256(path) == card["sha256"] and trunk.info.sha256 and trunk.info.licence == card["licence"]
    assert {"data", "recipe", "environment", "valid", "hours", "licence"} <= card.keys()
    assert card["recipe"]["seed"] == 0 and card["environment"]["commit"]
    assert "/" not in card["recipe"]["data"], "no folder of a machine"


@pytest.mark.parametrize("name", names())
def test_random_weights_are_announced_as_random(name: str) -> None:
    torch.manual_seed(1)
    blank, trunk = bundled(name, pretrained=False), bundled(name)
    assert not blank.info.sha256 and not blank.info.pretrained_on and trunk.info.pretrained_on
    assert blank.state_dict().keys() == trunk.state_dict().keys()
    assert not torch.equal(next(blank.parameters()), next(trunk.parameters()))


def test_damaged_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix in ("json", "safetensors"):
        content = bytearray((module.FOLDER / f"tiny64.{suffix}").read_bytes())
        if suffix == "safetensors":
            content[len(content) // 2] ^= 1
        (tmp_path / f"tiny64.{suffix}").write_bytes(content)
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    with pytest.raises(IntegrityError, match="tiny64"):
        bundled("tiny64")


def test_an_unknown_trunk_names_those_that_are_here() -> None:
    with pytest.raises(UsageError) as caught:
        bundled("tiny46")
    assert "tiny64" in caught.value.hint
