"""Tiny Darknet from the Keras export (tensors.npz) to safetensors under Graft's names.

    python benchmarks/convert_darknet.py tensors.npz darknet_tiny.safetensors
    then: local:darknet_tiny.safetensors(arch='darknet_tiny')

Keras keeps a kernel as (height, width, in, out), torch as (out, in, height, width). The last 1x1 convolution becomes a
Linear: the mean over the map and a 1x1 convolution commute.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from graft.nn.darknet import DarknetTiny

NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def convert(source: Path) -> dict[str, Tensor]:
    """The tensors by torch's names, checked against the architecture."""
    with np.load(source, allow_pickle=False) as archive:
        keras = {name: torch.from_numpy(archive[name]) for name in archive.files}
    model = DarknetTiny()
    names = {id(module): name for name, module in model.named_modules()}
    found: dict[str, Tensor] = {}
    for number, unit in enumerate(model.units(), start=1):
        found[f"{names[id(unit)]}.conv.weight"] = keras[f"conv2d_{number}/kernel"].permute(3, 2, 0, 1).contiguous()
        for ours, theirs in NORM.items():
            found[f"{names[id(unit)]}.norm.{ours}"] = keras[f"batch_normalization_{number}/{theirs}"].clone()
    found["linear.weight"] = keras["conv2d_16/kernel"][0, 0].T.contiguous()
    found["linear.bias"] = keras["conv2d_16/bias"].clone()
    report = model.load_state_dict(found, strict=False)
    assert not report.unexpected_keys, report.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in report.missing_keys), report.missing_keys
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    save_file(convert(arguments.source), arguments.target, {"source": "ml5js/ml5-data-and-models", "licence": "MIT"})
    print(f"wrote {arguments.target}")


if __name__ == "__main__":
    main()
