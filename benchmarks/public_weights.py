"""Do foreign checkpoints give, through Graft, the figures that they are known for?

    python benchmarks/public_weights.py --data $GRAFT_DATA [--photographs tiny-imagenet-200/train]

1. akamaster's CIFAR-10 ResNets: top-1 of the checkpoint's own head on the 2,000 test images of cifar10_png.
   Published on all 10,000: 91.73 % and 93.39 %.
2. Tiny Darknet: 20-way 15-shot nearest class mean on 64-pixel photographs of Tiny ImageNet, and the same with random
   weights. Skipped without --photographs.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from _report import report
from convert_darknet import convert
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from graft.backbones.local import local
from graft.device import permutation
from graft.intervals import wilson
from graft.types import Backbone

CIFAR = {20: ("resnet20-12fca82f.th", 91.73), 56: ("resnet56-4bfd9763.th", 93.39)}


def features(backbone: Backbone, files: Sequence[Path], stop: int | None = None, batch: int = 100) -> Tensor:
    """(N, D) pooled output of the stages up to `stop`, in eval mode."""
    backbone.eval()
    return torch.cat([_pooled(backbone, files[i : i + batch], stop) for i in range(0, len(files), batch)])


def _pooled(backbone: Backbone, files: Sequence[Path], stop: int | None) -> Tensor:
    with torch.inference_mode():
        inputs = backbone.prepare(Image.open(file) for file in files)
        pooled: Tensor = backbone.readout(backbone.encode(inputs, stop=stop)).pooled
    return pooled.clone()


def cifar(data: Path) -> Iterator[dict[str, Any]]:
    folders = sorted(path for path in (data / "cifar10_png" / "test").iterdir() if path.is_dir())
    files = [(file, label) for label, folder in enumerate(folders) for file in sorted(folder.iterdir())]
    targets = torch.tensor([label for _, label in files])
    for depth, (name, published) in CIFAR.items():
        start = time.perf_counter()
        checkpoint = data / "weights" / "resnet_cifar10_akamaster" / name
        backbone = local(str(checkpoint), arch=f"resnet_cifar(depth={depth})")
        with torch.inference_mode():
            scores = backbone.heads["classes"](features(backbone, [file for file, _ in files]))
        right = int((scores.argmax(1) == targets).sum())
        rate = wilson(right, len(files))
        yield {"what": f"ResNet-{depth} (akamaster), CIFAR-10 top-1", "images": len(files),
               "top1": 100 * rate.value, "interval95": [100 * rate.low, 100 * rate.high], "published": published,
               "weights_sha256": backbone.info.sha256, "seconds": time.perf_counter() - start}  # fmt: skip


def darknet(data: Path, photographs: Path, episodes: int = 5) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "darknet_tiny.safetensors"
        save_file(convert(data / "weights" / "darknet_tiny" / "tensors.npz"), file)
        backbones = {f"ImageNet weights, {size} px": local(str(file), arch="darknet_tiny", size=size)
                     for size in (64, 128)}  # fmt: skip
    torch.manual_seed(0)
    backbones["random weights, 64 px"] = local(arch="darknet_tiny", size=64, pretrained=False)
    for name, backbone in backbones.items():
        start = time.perf_counter()
        for space, accuracies in nearest_mean(backbone, photographs, episodes).items():
            yield {"what": f"Tiny Darknet, {name}, 20-way 15-shot nearest mean on {space}", "episodes": episodes,
                   "accuracy": mean(accuracies), "deviation": stdev(accuracies), "chance": 5.0,
                   "seconds": time.perf_counter() - start}  # fmt: skip


def nearest_mean(backbone: Backbone, photographs: Path, episodes: int) -> dict[str, list[float]]:
    """Per cent, by episode: 20 classes at random, 15 examples each to learn from and 15 others to be judged on."""
    found: dict[str, list[float]] = {}
    classes = sorted(path for path in photographs.iterdir() if path.is_dir())
    for episode in range(episodes):
        chosen = permutation(len(classes), "episode", episode)[:20].tolist()
        files = [file for i in chosen for file in _thirty(classes[i], episode)]
        for space, stop in (("the last map of 512 channels", -1), ("the 128 features", None)):
            pooled = features(backbone, files, stop)
            found.setdefault(space, []).append(_accuracy(pooled.view(20, 30, -1)))
    return found


def _thirty(folder: Path, episode: int) -> list[Path]:
    files = sorted((folder / "images" if (folder / "images").is_dir() else folder).glob("*.JPEG"))
    return [files[i] for i in permutation(len(files), folder.name, episode)[:30].tolist()]


def _accuracy(x: Tensor) -> float:
    """(20, 30, D): the first 15 of each class make its mean, the other 15 are judged; per cent."""
    x = torch.nn.functional.normalize(x, dim=-1)
    means, queries = x[:, :15].mean(1), x[:, 15:].reshape(300, -1)
    nearest = torch.cdist(queries, means).argmin(1).view(20, 15)
    return float((nearest == torch.arange(20).view(20, 1)).float().mean()) * 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("GRAFT_DATA"), help="default: $GRAFT_DATA")
    parser.add_argument("--photographs", type=Path, help="a folder of folders, one a class")
    parser.add_argument("--out", type=Path, help="default: results/public_weights.json")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give --data, or set GRAFT_DATA")
    rows = list(cifar(Path(arguments.data)))
    if arguments.photographs:
        rows += darknet(Path(arguments.data), arguments.photographs)
    report("public_weights", rows, {"test": "cifar10_png/test"}, arguments.out)


if __name__ == "__main__":
    main()
