"""Learn low-rank updates of the attention's weights, then fold them in (LoRA, Hu et al. 2021, arXiv:2106.09685).

While they learn, each chosen layer W computes W x + (alpha / rank) * B A x with B starting at zero: A and B move, W
stands still. Afterwards W + (alpha / rank) * B A takes the place of W, so that the saved network is an ordinary one.
"""

from __future__ import annotations

import importlib
from typing import Any

from torch import nn

from graft import parts
from graft.device import seeded
from graft.errors import MissingExtra, UsageError
from graft.strategies._start import AUTO, started
from graft.types import Flow, Group, Model, Phase

NAME = "graft"  # of the one set of adapters


def lora(
    model: Model,
    *,
    rank: int = 8,
    alpha: float = 16.0,
    dropout: float = 0.0,
    last: int | None = None,
    targets: tuple[str, ...] | None = None,
    epochs: int = 10,
    lr: float | None = None,
    start: str | None = AUTO,
) -> Flow:
    """`targets`: how the names of the layers to adapt end, such as ("query", "value"); None: all of the attention.

    `last`: only in the k stages nearest to the head. `start`: the probe that the head begins as; "auto": logistic, or
    a short linear probe where no probe can solve the head; None: at random. `lr`: of the adapters and the head; five
    times that of the trunk, unless told otherwise.

    Raises UsageError where there is nothing to adapt, MissingExtra without peft. A flow that is closed leaves the model
    as it was.
    """
    config = _config(_layers(model, last, targets), rank, alpha, dropout)
    rate = parts.rate(model, 5.0, lr)
    yield from started(model, start)
    tuner = _injected(model, config)
    adapters = tuple(p for name, p in model.backbone.named_parameters() if f".{NAME}." in name)
    try:
        yield Phase("adapters", (parts.group(parts.head(model), rate), Group(adapters, rate)), epochs)
    except GeneratorExit:  # nobody goes on with it: the next flow of this model puts in its own
        tuner.unload()
        raise
    tuner.merge_and_unload()


def in_attention(name: str) -> bool:
    """Whether a layer of this qualified name belongs to attention: `layer.0.attention.self.query`, `blocks.0.attn.qkv`.

    A perceptron inside of it (Swin v2 makes its position biases by one) does not.
    """
    above = [word.lower() for word in name.split(".")[:-1]]
    return any("attn" in word or "attention" in word for word in above) and not any("mlp" in word for word in above)


def _layers(model: Model, last: int | None, targets: tuple[str, ...] | None) -> list[str]:
    """The qualified names, within the backbone, of the linear layers to adapt."""
    linear = _linear(model, last)
    if targets is None:
        found = [name for name in linear if in_attention(name)]
    else:
        found = [name for name in linear if any(f".{name}".endswith(f".{end}") for end in targets)]
        for end in targets:
            if not any(f".{name}".endswith(f".{end}") for name in found):
                raise _nothing(f"there is no linear layer called '{end}' to adapt", linear)
    if not found:
        raise _nothing(f"{model.backbone.info.source} has no linear layers of attention to adapt", linear)
    return found


def _nothing(what: str, linear: list[str]) -> UsageError:
    ends = sorted({name.rpartition(".")[2] for name in linear})
    named = f"name some in targets: {', '.join(ends[:12])}" if ends else "choose another strategy: lp_ft"
    return UsageError(what, named)


def _linear(model: Model, last: int | None) -> list[str]:
    """Names of linear layers that are called; PyTorch's own attention reads the weights of its output layer instead."""
    inside = {id(part) for stage in parts.stages(model, last) for part in stage.modules()}
    plain = (nn.Linear, nn.modules.linear.NonDynamicallyQuantizableLinear)
    return [
        name
        for name, part in model.backbone.named_modules()
        if id(part) in inside and isinstance(part, plain[0]) and not isinstance(part, plain[1])
    ]


def _config(names: list[str], rank: int, alpha: float, dropout: float) -> Any:
    """What peft is asked for, before anything is trained."""
    if rank < 1 or not 0 <= dropout < 1:
        raise UsageError(f"rank={rank}, dropout={dropout} are no adapters", "choose rank >= 1 and 0 <= dropout < 1")
    return _peft().LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=names)


def _injected(model: Model, config: Any) -> Any:
    """The adapters in their places; what is returned can fold them in. Their seed depends on no global generator."""
    with seeded("lora", config.r):
        return _peft().LoraModel(model.backbone, config, NAME)


def _peft() -> Any:
    try:
        return importlib.import_module("peft")
    except ImportError:
        raise MissingExtra("peft", "text") from None
