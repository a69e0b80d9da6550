"""Keras on the torch backend and Graft on the tutorials' recipe: a frozen VGG16 without top, Dense 1024, Dense 10.

    python benchmarks/peers/vs_keras.py --data $GRAFT_DATA [--rounds 3] [--quick] [--rows NAME] [--threads N]

2,000 CIFAR-10 images to train on and 500 to validate, 32 px as they are, 20 epochs (5 with --quick), batches of 32,
Adam at 1e-4, no augmentation, the same random VGG weights (`largest_gap` compares the features of both trunks: times
are real, accuracies are of random features), the same normalisation. Keras sends every image through the trunk in every
epoch, as the tutorials' code does; Graft runs it once. fp32 in both, or bf16 in both (Keras: mixed_bfloat16). The clock
runs from the PNG files to the trained model, with validation after each epoch; the score is on 1,000 other images.
The environment sees the torch that is installed beside Graft.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _graft import loop, whole
from _side import Bout, Json, Peer, main

KERAS = Peer("Keras (torch)", "keras", ("keras==3.15.1",))
SIDE, BATCH, LR = 32, 32, 1e-4
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def prepare(asked: argparse.Namespace, work: Path) -> list[Bout]:
    from frozen_epochs import subset

    sizes, epochs = ((200, 50, 100), 5) if asked.quick else ((2000, 500, 1000), 20)
    subset(asked.data / "cifar10_png", work / "cifar10", sizes)
    weights = work / "vgg16.safetensors"
    _weights(weights)
    made = []
    for precision in ("fp32", "bf16"):
        shared = {"features": str(work / f"features_{precision}.npy")}
        theirs = {"data": str(work / "cifar10"), "weights": str(weights), "epochs": epochs, "precision": precision}
        ours = {"recipe": _recipe(work / "cifar10", weights, epochs, precision), "native": SIDE}
        made.append(Bout(f"frozen VGG16, {precision}", ours | shared, theirs | shared, 25.0, whole=True))
    return made


def _weights(path: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from torchvision.models import vgg16

    torch.manual_seed(0)
    save_file(vgg16(weights=None).features.state_dict(prefix="features."), path)


def _recipe(data: Path, weights: Path, epochs: int, precision: str) -> Json:
    return {"data": str(data), "backbone": f"local:{weights}(arch='vgg16', size={SIDE})",
            "strategy": f"linear_probe(epochs={epochs}, lr={LR})", "optimizer": "adam", "schedule": "constant",
            "head": "mlp(hidden=(1024,), dropout=0.0, standardize=False)", "weight_decay": 0.0, "batch_size": BATCH,
            "clip": 0.0, "ema": 0.0, "augment": "none", "precision": precision, "device": "cpu"}  # fmt: skip


def peer(job: Json) -> Iterator[Any]:
    import keras
    import numpy as np
    import torchvision  # noqa: F401 - Keras imports it late
    from PIL import Image  # noqa: F401

    yield "imported"
    keras.utils.set_random_seed(0)
    if job["precision"] == "bf16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    (x, y), valid = (_images(Path(job["data"]) / part) for part in ("train", "valid"))
    features, model = _networks(job["weights"])
    model.fit(x, y, batch_size=BATCH, epochs=job["epochs"], validation_data=valid, verbose=0)
    yield "done"
    x, y = _images(Path(job["data"]) / "test")
    np.save(job["features"], features.predict(x[:64], verbose=0).astype("float32"))
    yield {"score": float(model.evaluate(x, y, verbose=0)[1]), "tested": len(y)}


def _networks(weights: str) -> tuple[Any, Any]:
    """The frozen trunk, and it with the two Dense layers, compiled."""
    import keras

    variance = [(255 * value) ** 2 for value in STD]
    before = keras.layers.Normalization(mean=[255 * value for value in MEAN], variance=variance)
    features = keras.Sequential([keras.Input((SIDE, SIDE, 3)), before, _trunk(weights), keras.layers.Flatten()])
    top = [keras.layers.Dense(1024, activation="relu"), keras.layers.Dense(10, dtype="float32")]
    model = keras.Sequential([features, *top])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(LR), loss, metrics=["accuracy"])
    return features, model


def _images(folder: Path) -> tuple[Any, Any]:
    """(N, 32, 32, 3) and (N,), in the order of the files' names."""
    import keras
    import numpy as np

    classes = sorted(path.name for path in folder.iterdir())
    files = [path for name in classes for path in sorted((folder / name).iterdir())]
    pixels = np.stack([keras.utils.img_to_array(keras.utils.load_img(path)) for path in files])
    return pixels, np.array([classes.index(path.parent.name) for path in files])


def _trunk(path: str) -> Any:
    """Keras' own VGG16; its kernels are HWIO, torch's are OIHW."""
    import keras
    from safetensors.numpy import load_file

    trunk = keras.applications.VGG16(include_top=False, weights=None, input_shape=(SIDE, SIDE, 3))
    state = load_file(path)
    names = sorted(state, key=lambda name: (int(name.split(".")[1]), name.endswith("bias")))
    trunk.set_weights([state[n].transpose(2, 3, 1, 0) if state[n].ndim == 4 else state[n] for n in names])
    trunk.trainable = False
    return trunk


if __name__ == "__main__":
    main(__doc__ or "", KERAS, prepare, {"graft": loop, "whole": whole, "peer": peer})
