"""Architectures by name, for weights that come as a bare file: what they are, and how their files are read.

resnet_cifar(depth=20)    darknet_tiny    resnet18 (torchvision's)    timm:vit_tiny_patch16_224    small
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from graft.backbones import _readout, _timm, _torchvision
from graft.backbones._cut import Cut, Network, assemble, resized
from graft.backbones._images import Images
from graft.backbones._weights import State, differences, strip_prefixes
from graft.errors import UsageError
from graft.nn.darknet import DIM, DarknetTiny
from graft.nn.resnet_cifar import ResNetCifar
from graft.registry import find, names
from graft.spec import Spec
from graft.types import Backbone

_NOT_HERE = ("local", "bundled", "transformers")  # they need a file or a folder of their own


def network_of(arch: Spec, size: int | None = None) -> Network | None:
    """The architecture under its library's names; None for Graft's own sources. Raises UsageError for unknown ones."""
    if arch.name == "resnet_cifar":
        return arch.bind(resnet_cifar, size)  # type: ignore[no-any-return]
    if arch.name == "darknet_tiny":
        return arch.bind(darknet_tiny, size)  # type: ignore[no-any-return]
    if arch.name == "timm" and arch.target:
        return _timm.network(arch.target, size=size)
    if arch.name == "torchvision" and arch.target:
        return _torchvision.network(arch.target, size=size)
    if arch.target is None and arch.name in _torchvision.model_names():
        return _torchvision.network(arch.name, size=size)
    if arch.name in names("backbone") and arch.name not in _NOT_HERE:
        return None
    raise UsageError(f"there is no architecture '{arch}'", "arch='resnet18', 'resnet_cifar(depth=20)', 'timm:<name>', "
                     "'darknet_tiny' or 'small'")  # fmt: skip


def own_source(arch: Spec, size: int | None, source: Spec) -> Backbone:
    """One of Graft's own networks with random weights, under the source that was asked for."""
    made: Backbone = arch.with_options(pretrained=False).bind(find("backbone", arch.name))
    preprocess = made.preprocess
    if isinstance(preprocess, Images):
        preprocess = resized(preprocess, size)
    return Backbone(replace(made.info, source=source), list(made.stages), preprocess, made.readout)


def resnet_cifar(size: int | None = None, *, depth: int = 20, classes: int = 10) -> Network:
    """He et al.'s network for 32-pixel images; normalised by ImageNet's mean and deviation, as akamaster trained it."""
    model = ResNetCifar(depth, classes).eval()
    return Network(model, _cut_resnet_cifar, resized(Images(32, 32), size), ("linear.",), "unknown", "unknown")


def _cut_resnet_cifar(m: Any) -> Cut:
    return Cut(m.stages(), _readout.maps, m.linear.in_features, m.linear)


def darknet_tiny(size: int | None = None, *, classes: int = 1000) -> Network:
    """Tiny Darknet; inputs are 0..1. Made for 224 pixels, useful from 64."""
    model = DarknetTiny(classes).eval()
    plain = Images(224, 256, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return Network(model, _cut_darknet, resized(plain, size), ("linear.",), "unknown", "ImageNet-1K, 1000 classes")


def _cut_darknet(m: Any) -> Cut:
    return Cut(m.stages(), _readout.maps, DIM, m.linear)


def with_head(network: Network, state: State) -> nn.Module | None:
    """The head that the file brings: of any number of classes when it is one Linear. None when it brings none."""
    cut = network.cut(network.model)
    head = cut.head
    if not isinstance(head, nn.Linear):
        return None
    prefix = next((name for name, part in network.model.named_modules() if part is head), "")
    weight, bias = state.get(f"{prefix}.weight"), state.get(f"{prefix}.bias")
    if weight is None or weight.ndim != 2 or weight.shape[1] != cut.dim:
        return None
    made = nn.Linear(cut.dim, len(weight), bias=bias is not None)
    with torch.no_grad():
        made.weight.copy_(weight)
        if bias is not None:
            made.bias.copy_(bias)
    return made


def guess(state: State) -> str | None:
    """The name of an architecture that these weights fit; nothing is computed, only names and shapes compared."""
    for name, own in _candidates(state):
        named = strip_prefixes(state, own)
        if not differences(own, {key: value for key, value in named.items() if key in own}):
            return name
    return None


def _candidates(state: State) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Architectures without memory behind them, the cheap ones first, heads left out."""
    depth = 6 * len(set(re.findall(r"\blayer1\.(\d+)\.conv1\.", " ".join(state)))) + 2
    if depth > 2:
        yield from _trunk(f"resnet_cifar(depth={depth})", Spec("resnet_cifar", None, {"depth": depth}))
    yield from _trunk("darknet_tiny", Spec("darknet_tiny"))
    for name in _torchvision.model_names():
        yield from _trunk(name, Spec(name))


def _trunk(name: str, arch: Spec) -> Iterator[tuple[str, dict[str, Tensor]]]:
    try:
        with torch.device("meta"):
            network = network_of(arch)
    except (NotImplementedError, RuntimeError):
        return  # a few cannot be built without memory
    assert network is not None
    own = network.model.state_dict()
    yield name, {key: value for key, value in own.items() if not key.startswith(network.head_names)}


def assembled(network: Network, source: Spec, pretrained: bool, head: nn.Module | None) -> Backbone:
    """The backbone with the head of the file, when there is one."""
    made = assemble(network, source, pretrained=pretrained, heads=False)
    made.heads = {"classes": head} if head is not None else {}
    return made
