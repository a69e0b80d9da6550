"""fastai's Learner and Graft on a folder of JPEGs: ResNet-18, one whole epoch, fine_tune(1), five frozen epochs.

    python benchmarks/peers/vs_fastai.py --data $GRAFT_DATA [--rounds 3] [--quick] [--rows NAME] [--threads N]

Hymenoptera (ants, bees), 224 photographs to train on (fastai drops an incomplete batch: there is none), batches of 32,
224 px, the same random weights (published ones need a network: times are real, accuracies are of random features), a
linear head on both sides, AdamW, one-cycle. Whole epochs: random resized crops (from 0.35 of the area) and mirror
images; the other rows: the centre alone, the same pixels. The clock runs from the files to the trained model,
validation after each epoch included; the score is on a test part that neither side sees.

fastai has no bf16 on a processor (its callback opens an autocast of CUDA): it runs in fp32 in all rows. "bf16 against
fp32" is Graft in bf16 beside that, with the goals, for they are of what each can do here. Left as fastai has it: one
loader process for each core, BatchNorm of frozen layers in training mode (train_bn=True; Graft keeps them as they are),
which also sends gradients through the frozen trunk; the row "BN frozen" is without. The environment sees the torch that
is installed beside Graft.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _graft import loop, whole
from _side import Bout, Json, Peer, main

FASTAI = Peer("fastai", "fastai", ("fastai==2.8.12",))
BATCH, LR = 32, 2e-3


def prepare(asked: argparse.Namespace, work: Path) -> list[Bout]:
    """Class folders under train, valid and test, and the weights."""
    each, tested = (16, 8) if asked.quick else (112, 1000)
    for folder in sorted((asked.data / "hymenoptera" / "train").iterdir()):
        _copy(sorted(folder.glob("*.jpg"))[:each], work / "data" / "train" / folder.name)
        rest = sorted((asked.data / "hymenoptera" / "val" / folder.name).glob("*.jpg"))
        _copy(rest[0::2][:tested], work / "data" / "valid" / folder.name)
        _copy(rest[1::2][:tested], work / "data" / "test" / folder.name)
    _weights(work / "resnet18.safetensors")
    return [bout for precision in ("fp32", "bf16") for bout in _bouts(work, precision)]


def _copy(files: list[Path], folder: Path) -> None:
    folder.mkdir(parents=True)
    for file in files:
        shutil.copy(file, folder)


def _weights(path: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from torchvision.models import resnet18

    torch.manual_seed(0)
    save_file(resnet18(weights=None).state_dict(), path)


def _bouts(work: Path, precision: str) -> Iterator[Bout]:
    """The goals are for what each side can do on a processor, so they stand with bf16."""
    job = {"data": str(work / "data"), "weights": str(work / "resnet18.safetensors")}
    fast, about = precision == "bf16", {"precision": {"graft": precision, "peer": "fp32"}}
    ran = "bf16 against fp32" if fast else "fp32"
    for what, frozen, train_bn, goal in (
        ("whole epoch", None, True, 2.3), ("fine_tune(1)", 1, True, None), ("5 frozen + 1", 5, True, 7.0),
        ("5 frozen + 1, BN frozen", 5, False, None),
    ):  # fmt: skip
        theirs = job | {"frozen": frozen, "train_bn": train_bn}
        ours = {"recipe": _recipe(job, precision, frozen)}
        yield Bout(f"{what}, {ran}", ours, theirs, goal if fast else None, train_bn, about)


def _recipe(job: Json, precision: str, frozen: int | None) -> Json:
    """fine_tune's rates: the head at LR, then all at half of it; fastai spreads the trunk's from a hundredth on."""
    whole = f"full(epochs=1, lr={LR}, head_lr={LR})"
    strategy = whole if frozen is None else f"lp_ft(head_epochs={frozen}, epochs=1, head_lr={LR}, lr={LR / 2})"
    return {"data": job["data"], "backbone": f"local:{job['weights']}(arch='resnet18', size=224)", "strategy": strategy,
            "augment": "basic(scale=0.35)" if frozen is None else "none", "optimizer": "adamw", "weight_decay": 1e-2,
            "schedule": "one_cycle", "batch_size": BATCH, "clip": 0.0, "ema": 0.0, "batchnorm": "train",
            "precision": precision, "device": "cpu"}  # fmt: skip


def peer(job: Json) -> Iterator[Any]:
    import torch
    from fastai.vision.all import accuracy, get_image_files
    from torchvision.models import resnet18  # noqa: F401 - loaded by vision_learner anyway

    yield "imported"
    torch.manual_seed(0)
    learn = _learner(job)
    with learn.no_bar(), learn.no_logging():
        if job["frozen"] is None:
            learn.unfreeze()
            learn.fit_one_cycle(1, LR)
        else:
            learn.fine_tune(1, LR, freeze_epochs=job["frozen"])
        yield "done"
        test = learn.dls.test_dl(get_image_files(Path(job["data"]) / "test"), with_labels=True)
        right = learn.validate(dl=test)[1]
    assert learn.metrics[0].func is accuracy
    yield {"score": float(right), "tested": test.n}


def _learner(job: Json) -> Any:
    from fastai.vision.all import Flip, ImageDataLoaders, Normalize, RandomResizedCrop, accuracy, imagenet_stats
    from fastai.vision.all import vision_learner as learner_of
    from safetensors.torch import load_file
    from torch import nn
    from torchvision.models import resnet18

    whole = job["frozen"] is None
    views = [Flip()] if whole else []
    item = RandomResizedCrop(224, min_scale=0.35) if whole else _centre()
    dls = ImageDataLoaders.from_folder(job["data"], train="train", valid="valid", bs=BATCH, item_tfms=item,
                                       batch_tfms=[*views, Normalize.from_stats(*imagenet_stats)])  # fmt: skip
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 2))
    learn = learner_of(dls, resnet18, pretrained=False, custom_head=head, metrics=accuracy, train_bn=job["train_bn"])
    network = resnet18()
    network.load_state_dict(load_file(job["weights"]))
    learn.model[0].load_state_dict(nn.Sequential(*list(network.children())[:-2]).state_dict())
    return learn


def _centre() -> Any:
    """Graft's pixels, which are torchvision's: the shorter side to 256, the centre of 224."""
    from fastai.vision.all import ItemTransform, PILImage
    from torchvision.transforms import v2

    class Centre(ItemTransform):
        whole = v2.Compose([v2.Resize(256), v2.CenterCrop(224)])

        def encodes(self, pair: Any) -> Any:
            return (PILImage(self.whole(pair[0])), *pair[1:])

    return Centre()


if __name__ == "__main__":
    main(__doc__ or "", FASTAI, prepare, {"graft": loop, "whole": whole, "peer": peer})
