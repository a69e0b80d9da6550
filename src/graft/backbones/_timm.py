"""How a model of timm is cut: its parts in order, or a vision transformer around its blocks, or whole."""

from __future__ import annotations

import math
import re
from typing import Any

import torch
from torch import Tensor, nn

from graft.backbones import _readout
from graft.backbones._cut import Cut, Network, resized
from graft.backbones._images import Images
from graft.backbones._split import Call, pooled_by, probing, readouts, run, same, whole, without
from graft.errors import UsageError, did_you_mean
from graft.types import Json

BLOCKS = ("blocks", "stages", "layers", "features", "network")
_GROUP = re.compile(r"(layer|stages?|s|block)_?\d+$|Mixed_(5b|6a|7a)$")


def network(name: str, *, size: int | None = None) -> Network:
    """The model with random weights, and how to cut it. Raises UsageError for an unknown name or a wrong size."""
    check_name(name)
    model = create(name, size)
    cfg = dict(model.pretrained_cfg)
    classifier = cfg.get("classifier") or ()
    names = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    return Network(
        model,
        cut,
        _preprocess(model, size),
        tuple(f"{n}." for n in names),
        licence=f"code Apache-2.0; weights: {cfg.get('license') or 'see the model card'}",
        trained_on=f"{cfg.get('tag') or 'see the model card'}, {cfg.get('num_classes')} classes",
    )


def check_name(name: str) -> None:
    """Raises UsageError for a name that timm does not know."""
    import timm

    if not timm.is_model(name):
        near = did_you_mean(name.partition(".")[0], timm.list_models())
        hint = near if near.startswith("did you mean") else "see timm.list_models() for the names"
        raise UsageError(f"timm has no model '{name}'", hint)


def create(name: str, size: int | None, **options: Any) -> Any:
    """timm's own factory; `size` reaches the model only where its position embeddings depend on it."""
    import timm

    cfg = timm.get_pretrained_cfg(name)
    fixed = cfg is not None and cfg.fixed_input_size
    if size is not None and fixed:
        options["img_size"] = size
    try:
        return timm.create_model(name, **options).eval()
    except (TypeError, AssertionError, RuntimeError) as error:
        if size is None or not fixed:
            raise
        raise UsageError(f"timm:{name} cannot take images of {size} pixels: {error}", "leave size out") from None


def _preprocess(model: Any, size: int | None) -> Images:
    from timm.data.config import resolve_model_data_config

    resolve: Any = resolve_model_data_config  # timm has no types
    cfg: Json = resolve(model)
    native = int(cfg["input_size"][-1])
    squash = cfg["crop_mode"] == "squash"
    mode = cfg["interpolation"] if cfg["interpolation"] in ("bilinear", "bicubic", "nearest", "lanczos") else "bicubic"
    resize = math.floor(native / cfg["crop_pct"])
    return resized(Images(native, resize, tuple(cfg["mean"]), tuple(cfg["std"]), mode, squash), size)


def cut(model: Any) -> Cut:
    """The first guess that reproduces the model, else one stage. Takes a forward pass or three of one image."""
    with probing(model):
        cfg = model.pretrained_cfg
        side = getattr(getattr(model, "patch_embed", None), "img_size", None) or cfg["input_size"][-2:]
        x = torch.randn(1, 3, *side)
        features = model.forward_features(x)
        pooled = model.forward_head(features, pre_logits=True)
        head = _head(model, pooled, model(x))
        if isinstance(features, Tensor):
            for guess in (_in_order, _around_blocks):
                found = guess(model, x, features)
                made = found and _finish(model, *found, features, pooled, head)
                if made and _proved(made, x, pooled):
                    return made
    return whole(Call(without(model, _classifier(model)), _trunk), pooled.shape[1], head)


def _trunk(model: Any, x: Tensor) -> Any:
    return model.forward_head(model.forward_features(x), pre_logits=True)


def _proved(made: Cut, x: Tensor, pooled: Tensor) -> bool:
    out = run(made.stages, x)
    return isinstance(out, Tensor) and same(pooled_by(made.readout, out), pooled)


def _head(model: Any, pooled: Tensor, scores: Any) -> nn.Module | None:
    classifier = model.get_classifier()
    exact = isinstance(classifier, nn.Linear) and same(run([classifier], pooled), scores)
    return classifier if exact else None


def _classifier(model: Any) -> dict[int, nn.Module | None]:
    found = model.get_classifier()
    parts = found if isinstance(found, (tuple, list)) else (found,)
    return {id(part): nn.Identity() for part in parts if isinstance(part, nn.Module)}


def _parts(model: nn.Module) -> list[tuple[bool, nn.Module]]:
    """The children in order, the known containers opened. True: begins a stage."""
    parts: list[tuple[bool, nn.Module]] = []
    for name, child in model.named_children():
        if name in BLOCKS and isinstance(child, (nn.Sequential, nn.ModuleList)):
            parts += [(_has_weights(block), block) for block in child]
        else:
            parts.append((_GROUP.match(name) is not None and _has_weights(child), child))
    return parts


def _has_weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def _in_order(model: nn.Module, x: Tensor, features: Tensor) -> tuple[list[nn.Module], set[int]] | None:
    """ResNet, EfficientNet, ConvNeXt, Swin...: each part takes what the one before it gave."""
    groups: list[list[nn.Module]] = [[]]
    used: set[int] = set()
    for begins, part in _parts(model):
        out = run([part], x)
        if not isinstance(out, Tensor):
            return None
        if begins and groups[-1]:
            groups.append([])
        groups[-1].append(part)
        used.add(id(part))
        x = out
        if same(x, features):
            return [nn.Sequential(*group) for group in groups], used
    return None


def _around_blocks(model: Any, x: Tensor, features: Tensor) -> tuple[list[nn.Module], set[int]] | None:
    """Vision transformers: the model without its blocks and what follows is the embedding; then block by block."""
    children = list(model.named_children())
    place = next((i for i, (name, child) in enumerate(children)
                  if name in BLOCKS and isinstance(child, (nn.Sequential, nn.ModuleList))), None)  # fmt: skip
    if place is None:
        return None
    blocks, after = children[place][1], [child for _, child in children[place + 1 :]]
    gone: dict[int, nn.Module | None] = {id(blocks): nn.Sequential()} | {id(part): nn.Identity() for part in after}
    stem = Call(without(model, gone), lambda m, y: m.forward_features(y))
    stages: list[nn.Module] = [stem, *blocks]
    y = run(stages, x)
    for count in range(len(after) + 1):
        tail = run(after[:count], y) if isinstance(y, Tensor) else None
        if same(tail, features):
            used = {id(part) for _, part in children[: place + 1]} | {id(part) for part in after[:count]}
            return [*stages, *([nn.Sequential(*after[:count])] if count else [])], used | {id(model)}
    return None


def _finish(
    model: Any, stages: list[nn.Module], used: set[int], features: Tensor, pooled: Tensor, head: nn.Module | None
) -> Cut:
    """Pool by a readout where one agrees with the model; else by the rest of the model, as a last stage."""
    for readout in readouts(int(getattr(model, "num_prefix_tokens", 1))):
        if same(pooled_by(readout, features), pooled):
            return Cut(stages, readout, pooled.shape[1], head)
    inside = {id(part) for child in model.children() if id(child) in used for part in child.modules()}
    inside |= {id(part) for stage in stages for part in stage.modules()}
    gone = _classifier(model)
    gone.update(dict.fromkeys(inside))
    rest = without(model, gone, parameters=id(model) not in used)
    tail = Call(rest, lambda m, y: m.forward_head(y, pre_logits=True))
    return Cut([*stages, tail], _readout.vector, pooled.shape[1], head)
