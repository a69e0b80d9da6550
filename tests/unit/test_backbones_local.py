"""Weights from files: every kind of file, names with prefixes, and refusals that say what would fit."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import resnet18

from graft.backbones._weights import weights_digest
from graft.backbones.local import local
from graft.errors import DataError, IntegrityError, UsageError
from graft.nn.darknet import DarknetTiny
from graft.nn.resnet_cifar import ResNetCifar
from graft.types import Inputs

torch.set_num_threads(1)
DATA = os.environ.get("GRAFT_DATA")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return ResNetCifar(20).eval()


def _write(path: Path, state: dict) -> None:
    if path.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    elif path.suffix == ".npz":
        np.savez(path, **{name: tensor.numpy() for name, tensor in state.items()})
    else:
        torch.save(state, path)


@pytest.mark.parametrize("name", ["a.safetensors", "a.npz", "a.pt", "a.pth", "a.th"])
def test_every_kind_of_file(tmp_path, model, name: str) -> None:
    _write(tmp_path / name, model.state_dict())
    made = local(str(tmp_path / name), arch="resnet_cifar(depth=20)").eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(made.heads["classes"](made(Inputs(x)).pooled), model(x))
    assert made.info.sha256 == weights_digest(made.state_dict())


@pytest.mark.parametrize("wrap", [
    lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}, "epoch": 3, "best": 0.9},
    lambda s: {"model": {f"model.{k}": v for k, v in s.items()}},
    lambda s: {"model": {"ignored": 1}, "ema": {f"backbone.{k}": v for k, v in s.items()}},
    lambda s: {f"_orig_mod.module.{k}": v for k, v in s.items()},
    lambda s: {k: v for k, v in s.items() if "num_batches" not in k},
])  # fmt: skip
def test_wrappers(tmp_path, model, wrap) -> None:
    torch.save(wrap(model.state_dict()), tmp_path / "a.pth")
    made = local(str(tmp_path / "a.pth"), arch="resnet_cifar(depth=20)")
    torch.testing.assert_close(made.stages[3][2].conv2.weight, model.layer3[2].conv2.weight)


def test_a_head_of_other_classes_comes_along_and_a_missing_one_does_not_matter(tmp_path) -> None:
    torch.manual_seed(0)
    tuned = resnet18(num_classes=7).eval()
    torch.save(tuned.state_dict(), tmp_path / "a.pth")
    made = local(str(tmp_path / "a.pth"), arch="resnet18").eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(made.heads["classes"](made(Inputs(x)).pooled), tuned(x))
    torch.save({k: v for k, v in tuned.state_dict().items() if not k.startswith("fc.")}, tmp_path / "b.pth")
    assert local(str(tmp_path / "b.pth"), arch="torchvision:resnet18").heads == {}


def test_grafts_own_names(tmp_path) -> None:
    for arch in ("small", "toy", "resnet18"):
        first = local(arch=arch, pretrained=False)
        save_file(first.state_dict(), tmp_path / "a.safetensors")
        second = local(str(tmp_path / "a.safetensors"), arch=arch)
        assert second.info.sha256 == weights_digest(first.state_dict())


def test_it_is_rebuilt_when_the_file_has_gone(tmp_path, model) -> None:
    torch.save(model.state_dict(), tmp_path / "a.pth")
    made = local(str(tmp_path / "a.pth"), arch="resnet_cifar(depth=20)", size=40, mean=(0.5,) * 3, std=(0.5,) * 3)
    (tmp_path / "a.pth").unlink()
    again = made.info.source.with_options(pretrained=False).bind(local)
    assert list(again.state_dict()) == list(made.state_dict()) and again.heads == {}
    assert again.preprocess.json() == made.preprocess.json() and again.preprocess.json()["size"] == 40


@pytest.mark.parametrize(("arch", "hint"), [
    ("resnet_cifar(depth=32)", "they fit arch='resnet_cifar(depth=20)'"),
    ("resnet18", "they fit arch='resnet_cifar(depth=20)'"),
    ("toy", "they fit arch='resnet_cifar(depth=20)'"),
])  # fmt: skip
def test_weights_of_another_architecture(tmp_path, model, arch: str, hint: str) -> None:
    torch.save(model.state_dict(), tmp_path / "a.pth")
    with pytest.raises(DataError, match="missing") as error:
        local(str(tmp_path / "a.pth"), arch=arch)
    assert error.value.hint == hint


def test_torchvision_is_guessed(tmp_path) -> None:
    torch.save(resnet18(num_classes=5).state_dict(), tmp_path / "a.pth")
    with pytest.raises(DataError) as error:
        local(str(tmp_path / "a.pth"), arch="resnet_cifar(depth=20)")
    assert error.value.hint == "they fit arch='resnet18'"


def test_files_that_are_refused(tmp_path, model) -> None:
    with pytest.raises(DataError):
        local(str(tmp_path / "none.pth"), arch="resnet18")
    torch.save(model, tmp_path / "pickled.pth")  # a whole module: reading it would run code
    with pytest.raises(IntegrityError) as error:
        local(str(tmp_path / "pickled.pth"), arch="resnet_cifar")
    assert "save_file" in error.value.hint
    for name in ("a.safetensors", "a.npz", "a.pth"):
        (tmp_path / name).write_bytes(b"not weights at all")
        with pytest.raises(IntegrityError):
            local(str(tmp_path / name), arch="resnet18")
    np.savez(tmp_path / "objects.npz", a=np.array([{}], dtype=object))
    with pytest.raises(IntegrityError):
        local(str(tmp_path / "objects.npz"), arch="resnet18")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(DataError):
        local(str(tmp_path / "empty.pth"), arch="resnet18")
    state = {**model.state_dict(), "bn1.weight": torch.full((16,), torch.nan)}
    torch.save(state, tmp_path / "nan.pth")
    with pytest.raises(DataError, match="finite"):
        local(str(tmp_path / "nan.pth"), arch="resnet_cifar")


def test_arguments_that_are_refused() -> None:
    for arch in ("no_such", "bundled", "resnet_cifar(depth=21)", "resnet_cifar(width=3)"):
        with pytest.raises(UsageError):
            local(arch=arch, pretrained=False)
    for bad in ({"mean": (1.0,)}, {"std": (0.0, 1.0, 1.0)}, {"size": 0}):
        with pytest.raises(UsageError):
            local(arch="resnet18", pretrained=False, **bad)
    with pytest.raises(UsageError):
        local(arch="resnet18")


def test_darknet_mean_and_classifier_commute() -> None:
    torch.manual_seed(0)
    model = DarknetTiny(7).eval()
    x = torch.rand(1, 3, 65, 65)  # odd: the pools of Keras' "same" padding round up
    with torch.no_grad():
        maps = x
        for stage in model.stages():
            maps = stage(maps)
        scores = torch.nn.functional.conv2d(maps, model.linear.weight[:, :, None, None], model.linear.bias)
        assert maps.shape == (1, 128, 5, 5)
        torch.testing.assert_close(model(x), scores.mean((2, 3)))


@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="GRAFT_DATA is not set")
@pytest.mark.parametrize(("depth", "file", "known"), [(20, "resnet20-12fca82f.th", 91.2),
                                                      (56, "resnet56-4bfd9763.th", 93.9)])  # fmt: skip
def test_public_cifar_checkpoints_keep_their_figures(depth: int, file: str, known: float) -> None:
    made = local(f"{DATA}/weights/resnet_cifar10_akamaster/{file}", arch=f"resnet_cifar(depth={depth})").eval()
    folders = sorted(Path(f"{DATA}/cifar10_png/test").iterdir())
    right = total = 0
    for label, folder in enumerate(folders):
        with torch.inference_mode():
            scores = made.heads["classes"](made(made.prepare(Image.open(f) for f in sorted(folder.iterdir()))).pooled)
        right, total = right + int((scores.argmax(1) == label).sum()), total + len(scores)
    assert abs(100 * right / total - known) < 1.5
