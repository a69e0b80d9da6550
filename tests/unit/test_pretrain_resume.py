"""Pretraining that is stopped or killed at any moment ends with the same bits. Tasks of pictures are discovered."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import draw_flowers

from graft import api, registry
from graft import phase as phase_module
from graft.backbones import bundled as bundled_module
from graft.checkpoint import load_tensors
from graft.console import Console
from graft.errors import Interrupted
from graft.recipe import PRETEXT
from graft.types import Json

torch.set_num_threads(1)
TINY = "small(size=32, widths=(8, 16), blocks=(1, 1))"
FAST: Json = {"backbone": TINY, "batch_size": 8, "strategy": "full(epochs=2, lr=1e-2, head_lr=1e-2)", "ema": 0.9,
              "optimizer": "adamw", "valid": 0.2, "report": False}  # fmt: skip
TEACHER = "small(size=24, widths=(8, 8), blocks=(1, 1))"
WAYS: dict[str, Json] = {
    **{task: {"task": task} for task in PRETEXT["image"] if task in registry.names("task")},
    "distilled features": {"task": "classification", "terms": (f"distill(teacher='{TEACHER}')",)},
    "distilled once": {"task": "classification", "terms": (f"distill(teacher='{TEACHER}', look='once')",)},
    "supervised, nothing forgotten": {"task": "classification", "terms": ("l2_sp", "distill(alpha=0.1)")},
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three times ten pictures of 36 pixels: the trunk sees 32 of them."""
    return draw_flowers(tmp_path_factory.mktemp("pictures") / "flowers", 10, size=36)


class Ends(Console):
    """A console that does something after a number of steps, of this life or of an epoch."""

    def __init__(self, steps: int, do: Callable[[], None]) -> None:
        super().__init__(quiet=True)
        self.steps, self.do = steps, do

    @contextmanager
    def training(self) -> Iterator[Callable[[Json], None]]:
        left = self.steps

        def tell(event: Json) -> None:
            nonlocal left
            left -= event["event"] == "step"
            if left == 0 and event["event"] == "step":
                self.do()

        yield tell


def stop() -> None:
    os.kill(os.getpid(), signal.SIGINT)


class Dead(Exception):
    """Stands for a power cut: the loop gets no chance to save."""


def die() -> None:
    raise Dead


def pretrain(pictures: Path, out: Path, way: str, **more: Any) -> Json:
    return api.pretrain(str(pictures), out=str(out), **FAST | WAYS[way] | more)


def same(a: Path, b: Path) -> bool:
    """The trunks, and all else that a run keeps: heads, teachers, buffers."""
    files = ("trunk.safetensors", "model.safetensors")
    return all((a / name).read_bytes() == (b / name).read_bytes() for name in files)


def figures(found: Json) -> Json:
    """What a run came to, without its times."""
    phases, looks = ([{key: value for key, value in one.items() if key != "seconds"} for one in found.get(name, [])]
                     for name in ("phases", "watch"))  # fmt: skip
    return {"valid": found["valid"], "phases": phases, "report": found["report"], "watch": looks}


@pytest.mark.parametrize("way", WAYS)
def test_stopped_again_and_again_it_ends_with_the_same_bits(
    way: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Ctrl-C in the first epoch, by a power cut in the second, whose last step is then done again."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    expected = pretrain(pictures, whole, way)
    with pytest.raises(Interrupted):
        pretrain(pictures, broken, way, console=Ends(2, stop))
    monkeypatch.setattr(phase_module, "SAVE_EVERY", 0.0)
    with pytest.raises(Dead):
        pretrain(pictures, broken, way, console=Ends(2, die), resume=True)
    found = pretrain(pictures, broken, way, resume=True)
    assert same(whole, broken) and figures(found) == figures(expected)
    assert not any(name.startswith("terms") for name in load_tensors(broken / "model.safetensors"))


@pytest.mark.parametrize("way", [name for name in WAYS if "distilled" not in name][:3])
def test_watching_changes_nothing_and_goes_on_too(way: str, pictures: Path, tmp_path: Path) -> None:
    whole, watched, broken = (tmp_path / name for name in ("whole", "watched", "broken"))
    pretrain(pictures, whole, way)
    expected = pretrain(pictures, watched, way, watch=str(pictures))
    with pytest.raises(Interrupted):
        pretrain(pictures, broken, way, watch=str(pictures), console=Ends(3, stop))
    found = pretrain(pictures, broken, way, watch=str(pictures), resume=True)
    assert same(whole, watched) and same(watched, broken) and expected["watch"]
    assert figures(found) == figures(expected)


@pytest.mark.parametrize("options", [
    {"optimizer": "sgd", "schedule": "one_cycle", "ema": 0.0}, {"accumulate": 2, "patience": 1, "schedule": "constant"},
    {"strategy": "discriminative(head_epochs=0, epochs=2)"}, {"precision": "bf16"}, {"batchnorm": "train", "ema": 0.99},
])  # fmt: skip
@pytest.mark.parametrize("way", ["byol"])
def test_with_other_recipes(way: str, options: Json, pictures: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    pretrain(pictures, whole, way, **options)
    with pytest.raises(Interrupted):
        pretrain(pictures, broken, way, console=Ends(3, stop), **options)
    pretrain(pictures, broken, way, resume=True, **options)
    assert same(whole, broken)


def test_continued_from_a_trunk_that_has_learned(pictures: Path, tmp_path: Path) -> None:
    """Its BatchNorm keeps the statistics that it came with, and a resumed run begins with the same weights."""
    first = tmp_path / "first"
    pretrain(pictures, first, "simclr", strategy="full(epochs=1)")
    for name, more in {"whole": {}, "broken": {"console": Ends(3, stop)}}.items():
        try:
            pretrain(pictures, tmp_path / name, "byol", backbone=f"trained:{first}", **more)
        except Interrupted:
            pretrain(pictures, tmp_path / name, "byol", backbone=f"trained:{first}", resume=True)
    assert same(tmp_path / "whole", tmp_path / "broken")


KILLED = """
import os, signal, sys
sys.path[:0] = {path!r}
import torch
torch.set_num_threads(1)
from pathlib import Path
from graft import device, phase
from tests.unit.test_pretrain_resume import Ends, pretrain
device.fast_bf16 = lambda: False
phase.SAVE_EVERY = 0.0
pretrain(Path({data!r}), Path({out!r}), {way!r}, console=Ends({steps}, lambda: os.kill(os.getpid(), signal.SIGKILL)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_process_that_is_killed_goes_on_in_another(way: str, pictures: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    script = KILLED.format(path=sys.path, data=str(pictures), out=str(broken), way=way, steps=5)
    ended = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr[-2000:]
    assert list((broken / "ckpt").glob("step-*")) and not (broken / "result.json").exists()
    found, expected = pretrain(pictures, broken, way, resume=True), pretrain(pictures, whole, way)
    assert same(whole, broken) and figures(found) == figures(expected)


# ------------------------------------------------------------------------------------------------------------ the card


def card_of(folder: Path) -> Json:
    found: Json = json.loads((folder / "trunk.json").read_text())
    return found


def shelved(folder: Path, shelf: Path, name: str) -> Any:
    """The exported pair as a bundled trunk: dropped into the folder of weights."""
    shelf.mkdir(exist_ok=True)
    for suffix in ("safetensors", "json"):
        (shelf / f"{name}.{suffix}").write_bytes((folder / f"trunk.{suffix}").read_bytes())
    return bundled_module.bundled(name)


def assert_is_the_trunk_of(folder: Path, made: Any) -> None:
    trunk = {name: t for name, t in load_tensors(folder / "model.safetensors").items() if name.startswith("backbone.")}
    assert {f"backbone.{name}" for name in made.state_dict()} == trunk.keys()
    for name, tensor in made.state_dict().items():
        kept = trunk[f"backbone.{name}"]
        assert torch.equal(tensor, kept.half().float() if kept.is_floating_point() else kept)


def test_the_card_of_a_trunk_that_learned_without_labels(pictures: Path, tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    out = tmp_path / "run"
    found = pretrain(pictures, out, "simclr", watch=str(pictures), backbone="small(size=32, expand=24)",
                     strategy="full(epochs=1)")  # fmt: skip
    card = card_of(out)
    assert card["task"] == "simclr" and card["began_with"] is None and card["teachers"] == []
    assert card["valid"]["retrieval"] == found["valid"]["retrieval"] and card["valid"]["retrieval"].keys() >= {"low"}
    assert card["watch"]["knn"] == found["watch"][-1]["knn"] and card["watch"]["phase"] == "end"
    assert card["recipe"]["watch"] == "flowers" and card["recipe"]["seed"] == 0
    assert card["environment"].keys() >= {"commit"} and len(card["data_fingerprint"]) == 64 and card["hours"] >= 0
    assert card["data"] == card["pretrained_on"] == "flowers" and card["licence"].startswith("Apache-2.0 for these")
    assert str(pictures.parent) not in json.dumps(card) and str(tmp_path) not in json.dumps(card)
    shelf = tmp_path / "weights"
    monkeypatch.setattr(bundled_module, "FOLDER", shelf)
    made = shelved(out, shelf, "new32")
    assert_is_the_trunk_of(out, made)
    assert made.info.dim == 24 and made.info.source_accuracy is None and made.info.pretrained_on == "flowers"


def test_the_card_of_one_that_went_on_and_had_a_teacher(pictures: Path, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    first, second = tmp_path / "first", tmp_path / "second"
    pretrain(pictures, first, "simclr", strategy="full(epochs=1)")
    pretrain(pictures, second, "distilled once", backbone=f"trained:{first}", strategy="full(epochs=1)",
             terms=(f"distill(teacher='trained:{first}', look='once')",))  # fmt: skip
    card, before = card_of(second), json.loads((second / "backbone.json").read_text())
    assert card["began_with"] == {"source": "trained:first", "sha256": before["sha256"], "licence": "Apache-2.0",
                                  "pretrained_on": "flowers"}  # fmt: skip
    assert card["teachers"] == ["trained:first"] and card["pretrained_on"] == "flowers, then flowers"
    assert card["architecture"] == TINY and card["task"] == "classification" and card["valid"]["accuracy"]["method"]
    assert str(tmp_path) not in json.dumps(card)
    monkeypatch.setattr(bundled_module, "FOLDER", tmp_path / "weights")
    assert_is_the_trunk_of(second, shelved(second, tmp_path / "weights", "second"))


@pytest.mark.parametrize(
    ("arch", "options", "architecture"),
    [("small(size=32, expand=32)", "", "small(size=32, expand=32)"),
     ("small(expand=32)", ", size=32", "local(arch='small(expand=32)', size=32)"),
     ("resnet_cifar(depth=8)", "", "local(arch='resnet_cifar(depth=8)')")],
)  # fmt: skip
def test_weights_of_a_file_are_what_it_began_with(
    arch: str, options: str, architecture: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from graft.backbones.local import local
    from graft.checkpoint import save_tensors

    save_tensors(tmp_path / "net.safetensors", local(arch=arch, pretrained=False).state_dict())
    backbone = f"local:{tmp_path / 'net.safetensors'}(arch={arch!r}{options})"
    out = tmp_path / "run"
    pretrain(pictures, out, "simclr", backbone=backbone, strategy="full(epochs=1)")
    card = card_of(out)
    assert card["architecture"] == architecture
    assert card["began_with"]["source"] == f"local:net.safetensors(arch={arch!r}{options})"
    assert len(card["began_with"]["sha256"]) == 64 and "began with" in card["licence"]
    assert str(tmp_path) not in json.dumps(card)
    monkeypatch.setattr(bundled_module, "FOLDER", tmp_path / "weights")
    assert_is_the_trunk_of(out, shelved(out, tmp_path / "weights", "new"))


def test_a_bundled_trunk_that_went_on(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    pretrain(pictures, out, "simclr", backbone="bundled:digits48", strategy="full(epochs=1, last=5)")
    card = card_of(out)
    assert card["began_with"]["source"] == "bundled:digits48" and card["architecture"].startswith("small(size=48")
    assert card["licence"].startswith("Apache-2.0 for these weights; ") and ", then flowers" in card["pretrained_on"]
    monkeypatch.setattr(bundled_module, "FOLDER", tmp_path / "weights")
    made = shelved(out, tmp_path / "weights", "more48")
    assert_is_the_trunk_of(out, made)
    assert made.preprocess.json()["size"] == 48
