"""How a vision encoder of transformers is cut: embeddings, layers, what follows; proved by running, else whole."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from graft.backbones import _readout
from graft.backbones._cut import Cut
from graft.backbones._images import IMAGENET_MEAN, IMAGENET_STD, Images
from graft.backbones._split import NOTE, Call, pooled_by, probing, readouts, run, same, without
from graft.types import Inputs, Json

_MODES = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
Layer = Callable[[Any, Tensor], Any]


def image_size(config: Any) -> int:
    """What the model was made for; 224 where it does not care."""
    size = getattr(config, "image_size", None) or 224
    return int(size if isinstance(size, int) else size[0])


def preprocess_of(record: Json, size: int) -> Images:
    """preprocessor_config.json -> Images; `size` where the record has none. ConvNeXt's crop_pct enlarges the canvas."""
    wanted, crop = record.get("size", size), record.get("crop_size", size)
    mean, std = record.get("image_mean") or IMAGENET_MEAN, record.get("image_std") or IMAGENET_STD
    if record.get("do_normalize") is False:
        mean, std = (0.0,) * 3, (1.0,) * 3
    mode = _MODES.get(record.get("resample", 2), "bilinear")
    crops = bool(record.get("do_center_crop")) and "crop_size" in record
    resize = _side(wanted)
    net = _side(crop) if crops else resize
    if "crop_pct" in record and resize < 384:
        resize = round(resize / record["crop_pct"])
        return Images(net, resize, tuple(mean), tuple(std), mode)
    squash = not crops and not (isinstance(wanted, dict) and "shortest_edge" in wanted)
    return Images(net, resize, tuple(mean), tuple(std), mode, squash)


def _side(size: Any) -> int:
    if isinstance(size, dict):
        return int(size.get("shortest_edge") or size.get("height") or next(iter(size.values())))
    return int(size if isinstance(size, int) else size[0])


def factory(classifier: bool) -> Any:
    """The library's class; with `classifier`, the one that also holds the head the checkpoint brings."""
    from transformers import AutoModel, AutoModelForImageClassification

    return AutoModelForImageClassification if classifier else AutoModel


def build(config: Any, classifier: bool) -> Any:
    """The model with random weights."""
    return factory(classifier).from_config(config, trust_remote_code=False).float().eval()


def base_of(model: Any) -> Any:
    """The encoder inside a model with a head; the model itself where there is none."""
    return model if getattr(model, "classifier", None) is None else getattr(model, model.base_model_prefix)


def cut(model: Any) -> Cut:
    """The first guess that reproduces the encoder, else one stage. `model` may hold a classifier."""
    base = base_of(model)
    with probing(model):
        x = torch.randn(1, 3, *(image_size(base.config),) * 2)
        out = base(pixel_values=x)
        hidden = out.last_hidden_state
        pooled = _reference(base, out)
        head = _head(model, x, pooled)
        for step in (_plain, _with_mask, _with_grid):
            stages = _stages(base, x, hidden, step)
            made = stages and _finish(base, stages, hidden, pooled, head)
            if made and _proved(made, x, pooled):
                return made
    trunk = Call(without(base, _unused(base)), lambda m, y: _reference(m, m(pixel_values=y)))
    return Cut([trunk], _readout.vector, pooled.shape[1], head, (NOTE,))


def _plain(layer: Any, x: Tensor) -> Any:
    return layer(x)


def _with_mask(layer: Any, x: Tensor) -> Any:
    """CLIP's layers ask for a mask; images have none."""
    return layer(x, None)


def _with_grid(layer: Any, x: Tensor) -> Any:
    """Swin's layers want the height and width of the tokens; images are square here."""
    side = math.isqrt(x.shape[1])
    return layer(x, (side, side))


def _dense_pooler(base: Any) -> bool:
    """BERT's pooler (a Linear and a tanh): random in most image checkpoints, and no checkpoint's head takes it."""
    return isinstance(getattr(getattr(base, "pooler", None), "dense", None), nn.Linear)


def _unused(base: Any) -> dict[int, nn.Module | None]:
    return {id(base.pooler): None} if _dense_pooler(base) else {}


def _reference(base: Any, out: Any) -> Tensor:
    """What a head takes: the encoder's own pooling, else the class token, else the mean."""
    hidden, pooled = out.last_hidden_state, getattr(out, "pooler_output", None)
    if isinstance(pooled, Tensor) and not _dense_pooler(base):
        return pooled.flatten(1)
    if hidden.ndim == 4:
        return _readout.maps(Inputs(hidden)).pooled
    marked = any(name.endswith(("cls_token", "class_embedding")) for name, _ in base.named_parameters())
    readout = _readout.first_token if marked or _dense_pooler(base) else _readout.mean_token
    return readout(Inputs(hidden)).pooled


def _head(model: Any, x: Tensor, pooled: Tensor) -> nn.Module | None:
    head = getattr(model, "classifier", None)
    linear = [part for part in head.modules() if isinstance(part, nn.Linear)] if isinstance(head, nn.Module) else []
    exact = len(linear) == 1 and same(run(linear, pooled), model(pixel_values=x).logits)
    return linear[0] if exact else None


def _stages(base: Any, x: Tensor, hidden: Tensor, step: Layer) -> list[nn.Module] | None:
    """The encoder without its longest list of layers and what follows is the embedding; then layer by layer."""
    lists = [(name, part) for name, part in base.named_modules() if isinstance(part, nn.ModuleList)]
    top = [item for item in lists if not any(item[0].startswith(f"{other}.") for other, _ in lists)]
    if not top:
        return None
    path, layers = max(top, key=lambda item: len(item[1]))
    names = [name for name, _ in base.named_children()]
    after = [getattr(base, name) for name in names[names.index(path.partition(".")[0]) + 1 :]]
    gone: dict[int, nn.Module | None] = {id(layers): nn.ModuleList()}
    gone |= {id(part): nn.Identity() for part in after}
    stem = Call(without(base, gone), _last_hidden)
    stages: list[nn.Module] = [stem, *(Call(layer, step) for layer in layers)]
    for count in range(len(after) + 1):
        if same(run([*stages, *after[:count]], x), hidden):
            return [*stages, *after[:count]]
    return None


def _last_hidden(model: Any, x: Tensor) -> Any:
    return model(pixel_values=x).last_hidden_state


class PoolThen(nn.Module):
    """Pool without parameters, then a norm that was trained on what was pooled. (B, ...) -> (B, D)."""

    def __init__(self, readout: Callable[[Inputs], Any], norm: nn.Module) -> None:
        super().__init__()
        self.readout, self.norm = readout, norm

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.norm(self.readout(Inputs(x)).pooled))


def _finish(base: Any, stages: list[nn.Module], hidden: Tensor, pooled: Tensor, head: nn.Module | None) -> Cut | None:
    """Pool by a readout where one agrees with the encoder; else by one of its own parts, as a last stage."""
    dim, ways = pooled.shape[1], readouts(1)[1:]
    for readout in ways:
        if same(pooled_by(readout, hidden), pooled):
            return Cut(stages, readout, dim, head)
    inside = {id(part) for stage in stages for part in stage.modules()}
    for part in (child for child in base.children() if id(child) not in inside):
        options = [part, *(PoolThen(readout, part) for readout in ways)]
        for tail in options:
            if same(run([tail], hidden), pooled):
                return Cut([*stages, tail], _readout.vector, dim, head)
    return None


def _proved(made: Cut, x: Tensor, pooled: Tensor) -> bool:
    out = run(made.stages, x)
    return isinstance(out, Tensor) and same(pooled_by(made.readout, out), pooled)
