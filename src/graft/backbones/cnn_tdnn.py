"""Graft's own small network of sounds with random weights: what `pretrain` starts from, and the from-scratch control.

cnn_tdnn                            16 kHz, for any sounds
cnn_tdnn(rate=8000, dim=192)        8 kHz: telephones, and speech whose upper half was lost somewhere
"""

from __future__ import annotations

import torch
from torch import Tensor

from graft.backbones._mel import LogMel, log_mel
from graft.backbones._sounds import Sounds
from graft.errors import UsageError
from graft.nn.cnn_tdnn import cnn_tdnn as stages_of
from graft.spec import Spec
from graft.types import Backbone, Features, Info, Inputs, Json

LOW, HIGH, FLOOR = 60.0, 0.475, 60.0  # Hz; of the rate; dB below the loudest: what is softer is the room
STACK = 2  # spectra, each 10 ms after the one before, that become one frame


def cnn_tdnn(
    *,
    rate: int = 16_000,
    mels: int = 64,
    widths: tuple[int, ...] = (16, 32, 64),
    dim: int = 128,
    blocks: int = 2,
    dropout: float = 0.1,
    pretrained: bool = True,
    config: Json | None = None,
) -> Backbone:
    """Frames of 20 ms -> their mean and deviation (B, 2 * dim); tokens are frames beside the mean (B, T, 2 * dim).

    `rate` in Hz; `pretrained` and `config` are there because every source has them; these weights are always random.
    Raises UsageError for sizes that make no network.
    """
    _check({"rate": (rate, 2000), "mels": (mels, 8), "dim": (dim, 1), "blocks": (blocks, 0)}, widths)
    front = log_mel(config["front"]) if config else LogMel(
        rate=rate, mels=mels, stack=STACK, low=LOW, high=HIGH * rate, floor=FLOOR, normalise="level")  # fmt: skip
    stages = stages_of(mels, STACK, widths, dim, blocks, dropout)
    asked = {"rate": rate, "mels": mels, "widths": widths, "dim": dim, "blocks": blocks, "dropout": dropout}
    count = sum(p.numel() for stage in stages for p in stage.parameters())
    known = {"front": front.json()}
    info = Info(Spec("cnn_tdnn", None, asked), "audio", 2 * dim, "Apache-2.0", parameters=count, standardize=False,
                config=known)  # fmt: skip
    return Backbone(info, stages, Sounds(rate, front), statistics)


def statistics(inputs: Inputs) -> Features:
    """(B, T, D) -> mean and deviation of the real frames (Snyder et al. 2018, "X-vectors"). Heads of tokens are as wide
    as those of sounds, so a frame comes with the mean of its sound."""
    x, mask = inputs.x, inputs.mask
    assert mask is not None, "sounds have a mask"
    weight = mask.to(x.dtype).unsqueeze(-1)
    count = weight.sum(1).clamp(min=1)
    mean = (x * weight).sum(1) / count
    square = ((x - mean.unsqueeze(1)).square() * weight).sum(1) / count
    pooled = torch.cat([mean, (square + 1e-4).sqrt()], 1)
    tokens: Tensor = torch.cat([x, mean.unsqueeze(1).expand_as(x)], 2)
    return Features(pooled, tokens, (), mask, inputs.places, inputs.truth)


def _check(sizes: dict[str, tuple[int, int]], widths: tuple[int, ...]) -> None:
    for name, (size, least) in sizes.items():
        if size < least:
            raise UsageError(f"cnn_tdnn: {name}={size} makes no network", f"choose {name}={least} or more")
    if not widths or min(widths) < 1:
        raise UsageError(f"cnn_tdnn: widths={widths} make no network", "choose widths=(16, 32, 64)")
