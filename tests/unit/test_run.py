"""The run folder: what is written can be read back, by itself, with every hash checked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from graft import api, build, run
from graft.backbones.toy import toy
from graft.errors import DataError, IntegrityError, UsageError
from graft.recipe import Recipe, make
from graft.store import read_sealed_json
from graft.types import Dataset, Sample

FLAGS = {
    "backbone": "toy",
    "strategy": "linear_probe(epochs=2)",
    "head": "mlp(hidden=(8,), dropout=0.1)",
    "device": "cpu",
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on a dozen images of three classes."""
    root = tmp_path_factory.mktemp("run")
    generator = torch.Generator().manual_seed(0)
    for label in ("ant", "bee", "fly"):
        (root / "data" / label).mkdir(parents=True)
        for i in range(8):
            blocks = torch.randint(0, 256, (4, 4, 3), dtype=torch.uint8, generator=generator)
            image = blocks.repeat_interleave(5, 0).repeat_interleave(5, 1)
            Image.fromarray(image.numpy()).save(root / "data" / label / f"{i}.png")
    api.fit(str(root / "data"), out=str(root / "run"), **FLAGS)
    return root / "run"


def test_every_file_is_there(done: Path) -> None:
    names = {p.name for p in done.iterdir()}
    assert names >= {*run.SIGNED, "data.json", "environment.json", "splits.jsonl", "issues.json", "metrics.jsonl",
                     "result.json", "sealed.json", "manifest.json", "ckpt"}  # fmt: skip
    assert not [name for name in names if name.startswith(".")], "a temporary file was left"
    assert set(run.SIGNED) <= set(read_sealed_json(done / "manifest.json")["files"])


def test_the_result_has_what_was_promised(done: Path) -> None:
    result = json.loads((done / "result.json").read_text())
    promised = "run backbone strategy task splits valid test baselines seconds issues"
    assert set(promised.split()) <= set(result)
    for part in ("valid", "test"):
        for figure in result[part].values():
            assert {"value", "low", "high"} <= set(figure) and figure["low"] <= figure["value"] <= figure["high"]
    assert {"majority", "centroid"} <= set(result["baselines"])
    assert sum(result["splits"].values()) == 24


def test_the_test_part_was_opened_once_and_each_opening_is_counted(done: Path, tmp_path: Path) -> None:
    assert len(json.loads((done / "sealed.json").read_text())) == 1
    assert [run.open_sealed(tmp_path, "look") for _ in range(3)] == [1, 2, 3]
    assert json.loads((tmp_path / "sealed.json").read_text())[2]["why"] == "look"


def test_a_run_is_read_back_without_its_source(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    loaded = run.load(done)
    assert torch.equal(before, torch.get_rng_state())
    assert loaded.classes == ("ant", "bee", "fly") and not loaded.model.training
    assert loaded.recipe == make(json.loads((done / "recipe.json").read_text()))
    trained = run.load_tensors(done / "model.safetensors")
    assert all(torch.equal(t, trained[n]) for n, t in loaded.model.state_dict().items())


def test_a_recipe_repeats_the_run(done: Path, tmp_path: Path) -> None:
    api.fit(recipe=done / "recipe.json", out=str(tmp_path / "again"))
    first, again = (run.load_tensors(folder / "model.safetensors") for folder in (done, tmp_path / "again"))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_metrics_tell_every_phase_and_epoch(done: Path) -> None:
    events = [json.loads(line) for line in (done / "metrics.jsonl").read_text().splitlines()]
    assert [e["event"] for e in events] == ["epoch", "epoch", "phase_done"]


@pytest.mark.parametrize("name", [*run.SIGNED, "manifest.json"])
@pytest.mark.parametrize("cut", [True, False])
def test_any_damage_is_noticed(name: str, cut: bool, done: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(done, tmp_path / "copy"))
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 4
    (copy / name).write_bytes(content[:-9] if cut else content)
    with pytest.raises(IntegrityError):
        run.load(copy)


def test_every_byte_of_the_manifest_counts(done: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(done, tmp_path / "copy"))
    whole = (copy / "manifest.json").read_bytes()
    for at in range(0, len(whole), 3):
        (copy / "manifest.json").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(IntegrityError):
            run.verify(copy)


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a run folder"):
        run.verify(tmp_path)
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(DataError, match="not finished"):
        run.verify(tmp_path)


# --------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("data", "name"),
    [("flowers/", "flowers"), ("/a/b/flowers", "flowers"), ("digits", "digits"),
     ("x/table.csv(label='y')", "table.csv"), ("hub:user/birds", "birds"), ("torchvision:CIFAR10", "CIFAR10")],
)  # fmt: skip
def test_names(data: str, name: str) -> None:
    assert run.parse_name(data) == name


def test_folders_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (1, 2, 3):
        folder = run.new_folder("flowers/", None)
        assert str(folder) == f"runs/flowers-{number}"
        folder.mkdir(parents=True, exist_ok=True)
    assert run.new_folder("flowers/", "mine") == Path("mine")


# ------------------------------------------------------------------------------------------------------- facts, recipes


def small() -> Dataset:
    samples = tuple(Sample(f"{i}", i, "ab"[i % 2], "train" if i < 6 else "test", digest=f"d{i}") for i in range(8))
    return Dataset("small", "image", samples, ("a", "b"), lambda s: None, lambda s: b"")


def test_counts() -> None:
    splits = run.counts(small())["splits"]
    assert splits["train"] == {"samples": 6, "classes": {"a": 3, "b": 3}}
    assert splits["valid"] == {"samples": 0, "classes": {"a": 0, "b": 0}}


CHANGES: list[Callable[[Sample], Sample]] = [
    lambda s: replace(s, digest="x"), lambda s: replace(s, label="a"), lambda s: replace(s, split="valid"),
]  # fmt: skip


def test_the_fingerprint_is_of_content_and_not_of_names() -> None:
    data = small()
    first = run.fingerprint(data)
    renamed = data.replace(samples=tuple(replace(s, key=f"x{s.key}") for s in reversed(data.samples)))
    assert run.fingerprint(renamed) == first
    for change in CHANGES:
        assert run.fingerprint(data.replace(samples=(change(data.samples[-1]), *data.samples[:-1]))) != first


def test_recipes_are_json_both_ways() -> None:
    recipe = Recipe("x", terms=("l2_sp(alpha=0.1)",), patience=3, mix="mixup", seed=7)
    assert make(json.loads(json.dumps(recipe.json()))) == recipe
    assert set(recipe.json()) == {f.name for f in fields(Recipe)}
    with pytest.raises(UsageError) as caught:
        make({"data": "x", "sede": 1})
    assert caught.value.hint == "did you mean 'seed'?"
    assert run.difference(recipe, replace(recipe, seed=8, batch_size=1)) == ["batch_size: 64 -> 1", "seed: 7 -> 8"]


def test_the_head_depends_on_the_seed_alone() -> None:
    recipe = Recipe("x", backbone="toy")
    task = build.task(replace(recipe, task="classification"), ("a", "b"))
    heads = []
    for state, seed in ((1, 0), (2, 0), (1, 1)):
        torch.manual_seed(state)
        head = build.model(replace(recipe, seed=seed), toy(), task).head
        heads.append(torch.cat([p.flatten() for p in head.parameters()]))
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])
