"""A checkpoint is whole or absent; any damaged byte is noticed, and the checkpoint before it is used."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from graft import checkpoint
from graft.checkpoint import Checkpoints, digest, load_tensors, publish, read, save_tensors
from graft.errors import IntegrityError, ResourceError

Damage = Callable[[Path], object]


def state(value: float) -> dict[str, Tensor]:
    return {"model/w": torch.full((2, 3), value), "optimizer/0/step": torch.tensor(value)}


def flip(path: Path, at: int | None = None) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if at is None else at] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


DAMAGE: dict[str, Damage] = {"flipped": flip, "cut": cut, "empty": lambda p: p.write_bytes(b""), "gone": os.unlink}


@pytest.fixture
def two(tmp_path: Path) -> Checkpoints:
    """Checkpoints at steps 1 and 2 of phase 0."""
    made = Checkpoints(tmp_path / "ckpt")
    for step in (1, 2):
        made.save_step(step, state(step), {"phase": 0, "step": step})
    return made


def newest(made: Checkpoints) -> tuple[float, int]:
    found = made.latest_step(0)
    assert found is not None
    return float(found[0]["model/w"][0, 0]), found[1]["step"]


def test_tensors_round_trip(tmp_path: Path) -> None:
    base = torch.arange(12.0).view(3, 4)
    tensors = {"a": base, "shared": base, "turned": base.T, "half": base.bfloat16(), "none": torch.empty(0, 3),
               "scalar": torch.tensor(3), "yes": torch.tensor([True])}  # fmt: skip
    save_tensors(tmp_path / "x.safetensors", tensors)
    again = load_tensors(tmp_path / "x.safetensors")
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[k], v) and again[k].dtype == v.dtype for k, v in tensors.items())


def test_the_newest_is_found_and_two_are_kept(two: Checkpoints) -> None:
    assert newest(two) == (2.0, 2)
    two.save_step(10, state(10), {"phase": 0, "step": 10})
    assert newest(two) == (10.0, 10)
    assert sorted(p.name for p in two.folder.iterdir()) == ["step-000-00000002", "step-000-00000010"]
    assert two.latest_step(1) is None and two.finished(0) is None


@pytest.mark.parametrize("name", ["state.safetensors", "manifest.json"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_one_is_set_aside_and_the_one_before_is_used(name: str, damage: str, two: Checkpoints) -> None:
    DAMAGE[damage](two.folder / "step-000-00000002" / name)
    with pytest.raises(IntegrityError) as caught:
        read(two.folder / "step-000-00000002")
    assert caught.value.exit_code == 6 and caught.value.hint
    assert newest(two) == (1.0, 1)
    assert two.damaged == ["step-000-00000002"] and (two.folder / "damaged-step-000-00000002").is_dir()


def test_every_byte_of_the_manifest_counts(two: Checkpoints) -> None:
    path = two.folder / "step-000-00000002" / "manifest.json"
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole)
        flip(path, at)
        with pytest.raises(IntegrityError):
            read(path.parent)
    path.write_bytes(whole)
    assert newest(two) == (2.0, 2)


def test_when_all_are_damaged_the_phase_starts_anew(two: Checkpoints) -> None:
    for folder in list(two.folder.iterdir()):
        cut(folder / "state.safetensors")
    assert two.latest_step(0) is None and len(two.damaged) == 2


def test_a_crash_before_the_rename_leaves_the_old_one(two: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*paths: object) -> None:
        raise SystemExit("power cut")

    monkeypatch.setattr(os, "rename", crash)
    with pytest.raises(SystemExit):
        two.save_step(3, state(3), {"phase": 0, "step": 3})
    monkeypatch.undo()
    assert newest(two) == (2.0, 2)


def test_what_a_crash_leaves_lying_is_not_taken_for_a_checkpoint(two: Checkpoints) -> None:
    half = two.folder / ".step-000-00000003.x1y2z3"
    half.mkdir()
    save_tensors(half / "state.safetensors", state(3))
    assert newest(two) == (2.0, 2)


def test_a_full_disk_is_said_and_leaves_the_old_one(two: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "flush", full)
    with pytest.raises(ResourceError, match="disk is full"):
        two.save_step(3, state(3), {"phase": 0, "step": 3})
    monkeypatch.undo()
    assert newest(two) == (2.0, 2) and len(list(two.folder.iterdir())) == 2


def test_a_finished_phase_replaces_its_steps(two: Checkpoints) -> None:
    two.save_phase(0, {"w": torch.ones(2)}, {"phase": "head"})
    found = two.finished(0)
    assert found is not None and torch.equal(found[0]["w"], torch.ones(2)) and found[1] == {"phase": "head"}
    assert [p.name for p in two.folder.iterdir()] == ["phase-000"]
    flip(two.folder / "phase-000" / "model.safetensors")
    assert two.finished(0) is None and two.damaged == ["phase-000"]


def test_steps_left_by_an_earlier_phase_do_not_push_out_newer_ones(two: Checkpoints) -> None:
    """A crash between publishing a phase and dropping its steps leaves high numbers behind."""
    for step in (500, 501):
        two.save_step(step, state(step), {"phase": 0, "step": step})
    two.save_step(3, state(3), {"phase": 1, "step": 3})
    found = two.latest_step(1)
    assert found is not None and found[1] == {"phase": 1, "step": 3}


def test_publishing_again_replaces(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        publish(tmp_path / "x", {"a.safetensors": {"w": torch.tensor(value)}}, {"value": value})
    tensors, facts = read(tmp_path / "x")
    assert float(tensors["a.safetensors"]["w"]) == 2.0 and facts == {"value": 2.0}


def test_digest_is_of_values_and_not_of_storage() -> None:
    base = torch.arange(6.0).view(2, 3)
    same = digest([("w", base)])
    assert same == digest([("w", base.clone())]) == digest([("w", base.T.contiguous().T)])
    others = [("v", base), ("w", base + 1), ("w", base.view(3, 2)), ("w", base.double()), ("w", base.to(torch.int32))]
    assert len({same, *(digest([item]) for item in others)}) == 1 + len(others)
