"""A library's model, and the backbone that is cut out of it.

Weights are loaded into the library's own model, under its own names; the stages share its modules. So a checkpoint
needs no renaming, and the names of the backbone depend on the architecture alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import nn

from graft.backbones._images import Images
from graft.backbones._weights import weights_digest
from graft.errors import UsageError
from graft.spec import Spec
from graft.types import Backbone, Features, Info, Inputs, Json

Readout = Callable[[Inputs], Features]


class Cut(NamedTuple):
    """`head` maps Features.pooled to the class scores, exactly; None where no such module exists."""

    stages: list[nn.Module]
    readout: Readout
    dim: int
    head: nn.Module | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Network:
    """`head_names`: how the names of parameters that the backbone does without begin."""

    model: nn.Module
    cut: Callable[[nn.Module], Cut]
    preprocess: Images
    head_names: tuple[str, ...]
    licence: str = "unknown"
    trained_on: str = ""
    rename: Callable[[str], str] = str  # old names of parameters to today's


def assemble(
    network: Network, source: Spec, *, pretrained: bool, config: Json | None = None, heads: bool = True
) -> Backbone:
    """The backbone of a network; the head comes along only where its weights came too."""
    cut = network.cut(network.model)
    stages = nn.ModuleList(cut.stages)
    info = Info(
        source,
        "image",
        cut.dim,
        licence=network.licence,
        sha256=weights_digest(stages.state_dict(prefix="stages.")) if pretrained else "",
        parameters=sum(p.numel() for p in stages.parameters()),
        pretrained_on=network.trained_on if pretrained else "",
        notes=cut.notes,
        config=config or {},
    )
    brought = {"classes": cut.head} if pretrained and heads and cut.head is not None else {}
    return Backbone(info, cut.stages, network.preprocess, cut.readout, brought)


def resized(preprocess: Images, size: int | None) -> Images:
    """The same preprocessing at another resolution, the canvas in proportion. Raises UsageError below 1 pixel."""
    if size is None or size == preprocess.size:
        return preprocess
    if size < 1:
        raise UsageError(f"size={size} is not a size in pixels", f"leave size out for {preprocess.size}")
    resize = round(preprocess.resize * size / preprocess.size)
    return Images(size, resize, preprocess.mean, preprocess.std, preprocess.interpolation, preprocess.squash)


def groups_before(layers: Sequence[nn.Module], begins: Callable[[nn.Module], bool]) -> list[nn.Module]:
    """Consecutive layers as groups; a new one begins before each layer that says so."""
    groups: list[list[nn.Module]] = [[]]
    for layer in layers:
        if groups[-1] and begins(layer):
            groups.append([])
        groups[-1].append(layer)
    return [nn.Sequential(*group) for group in groups]


def groups_after(layers: Sequence[nn.Module], ends: Callable[[nn.Module], bool]) -> list[nn.Module]:
    """Consecutive layers as groups; a group ends with each layer that says so."""
    ended = [False] + [ends(layer) for layer in layers]
    places = {id(layer): before for layer, before in zip(layers, ended, strict=False)}
    return groups_before(layers, lambda layer: places[id(layer)])


def halves(layer: nn.Module) -> bool:
    """Does it hold a convolution or a pooling of stride 2?"""
    strides = [part.stride for part in layer.modules() if isinstance(part, (nn.Conv2d, nn.MaxPool2d))]
    return any(stride in (2, (2, 2)) for stride in strides)


def linear_of(classifier: nn.Module) -> nn.Module:
    """A classifier without its dropout: the Linear itself where nothing else is left."""
    if not isinstance(classifier, nn.Sequential):
        return classifier
    layers = [layer for layer in classifier if not isinstance(layer, (nn.Dropout, nn.Identity))]
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)
