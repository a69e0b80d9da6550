"""Weights from a file of yours, for an architecture by name: local:net.pth(arch='resnet18')."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn

from graft.backbones._architectures import assembled, guess, network_of, own_source, with_head
from graft.backbones._cut import Network
from graft.backbones._images import Images
from graft.backbones._weights import State, fit, read_checkpoint, strip_prefixes, weights_digest
from graft.errors import UsageError
from graft.spec import Spec, parse
from graft.types import Backbone

HEADS = ("fc.", "head.", "classifier.", "linear.")  # left out where the architecture has none of that name
Triple = tuple[float, float, float]


def local(
    path: str | None = None,
    *,
    arch: str,
    pretrained: bool = True,
    size: int | None = None,
    mean: Triple | None = None,
    std: Triple | None = None,
) -> Backbone:
    """The named architecture with the tensors of .safetensors, .pt, .pth, .th, .bin or .npz; no code of the file runs.

    Names may carry the usual prefixes (module., model., backbone.) and lie under state_dict, model or ema. `size`,
    `mean`, `std` replace the architecture's usual preprocessing. The file's head, if it fits, is heads["classes"].
    Raises UsageError for an unknown architecture, DataError for a missing file or weights of another architecture,
    IntegrityError for a file that is damaged or holds code.
    """
    wanted = parse(arch)
    _check(path, pretrained, mean, std)
    given = {"size": size, "mean": mean, "std": std}
    source = Spec("local", path, {"arch": arch} | {key: value for key, value in given.items() if value is not None})
    state = read_checkpoint(Path(path)) if pretrained and path else {}
    network = network_of(wanted, size)
    if network is None:
        return _own(wanted, size, source, state, path)
    network = _preprocessed(network, path, mean, std)
    if not state:
        return assembled(network, source, False, None)
    return assembled(network, source, True, _load(network, state, str(path), arch))


def _check(path: str | None, pretrained: bool, mean: Triple | None, std: Triple | None) -> None:
    if pretrained and path is None:
        raise UsageError("local needs a weight file", "local:<file>(arch=...), or pretrained=False for random weights")
    for name, values in (("mean", mean), ("std", std)):
        if values is not None and (len(values) != 3 or (name == "std" and min(values) <= 0)):
            raise UsageError(f"{name}={values} is not three values for red, green and blue", f"{name}=(0.5, 0.5, 0.5)")


def _preprocessed(network: Network, path: str | None, mean: Triple | None, std: Triple | None) -> Network:
    usual = network.preprocess
    changed = Images(usual.size, usual.resize, tuple(mean or usual.mean), tuple(std or usual.std),
                     usual.interpolation, usual.squash)  # fmt: skip
    trained_on = f"the weights of {Path(path).name}" if path else ""
    return replace(network, preprocess=changed, licence="see where the file came from", trained_on=trained_on)


def _own(arch: Spec, size: int | None, source: Spec, state: State, path: str | None) -> Backbone:
    """One of Graft's own sources: the names in the file are those of the backbone itself."""
    made = own_source(arch, size, source)
    if state:
        fit(made, strip_prefixes(state, made.state_dict()), what=str(path), hint=lambda: _hint(state, str(arch)))
        trained_on = f"the weights of {Path(str(path)).name}"
        made.info = replace(made.info, sha256=weights_digest(made.state_dict()), pretrained_on=trained_on,
                            licence="see where the file came from")  # fmt: skip
    return made


def _load(network: Network, state: State, path: str, arch: str) -> nn.Module | None:
    """Copy the trunk, knowingly leave the head; give the head back on its own. Graft's own names work too."""
    stages = nn.ModuleDict({"stages": nn.ModuleList(network.cut(network.model).stages)})
    if not set(stages.state_dict()).isdisjoint(state):
        fit(stages, state, what=path, hint=lambda: _hint(state, arch))
        return None
    own = network.model.state_dict()
    named = strip_prefixes({network.rename(name): tensor for name, tensor in state.items()}, own)
    foreign = tuple(head for head in HEADS if not any(name.startswith(head) for name in own))
    head = with_head(network, named)
    fit(network.model, named, head=(*network.head_names, *foreign), what=path, hint=lambda: _hint(named, arch))
    return head


def _hint(state: State, arch: str) -> str:
    fitting = guess(state)
    return f"they fit arch='{fitting}'" if fitting else f"name the architecture that they belong to, not arch='{arch}'"
