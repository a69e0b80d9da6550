"""Any encoder of images, text or sound of transformers, from the hub or a folder: transformers:facebook/dinov2-small.

transformers:sentence-transformers/all-mpnet-base-v2    transformers:FOLDER(pooling='cls', long='windows')
transformers:facebook/wav2vec2-base    transformers:microsoft/wavlm-base-plus(window=10.0)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from graft.backbones import _hf_audio
from graft.backbones._cut import Network, assemble, resized
from graft.backbones._hub import configuration, load_weights, read
from graft.backbones._images import images
from graft.backbones._text import describe, encoder, is_text
from graft.backbones._transformers import build, cut, factory, image_size, preprocess_of
from graft.errors import MissingExtra, UsageError
from graft.spec import Spec
from graft.types import Backbone, Json

_RECORD = "preprocessor_config.json"
OPTIONS = {"image": ("size",), "text": ("pooling", "length", "long"), "audio": ("window",)}


def transformers(
    name: str,
    *,
    pretrained: bool = True,
    size: int | None = None,
    pooling: str | None = None,
    length: int | None = None,
    long: str = "truncate",
    window: float | None = None,
    config: Json | None = None,
) -> Backbone:
    """Images (B, 3, S, S) -> the class token, the mean or the encoder's own pooling. Texts -> "mean", "cls" or "max"
    of their tokens; `length` tokens are read, and of what is `long` the rest is cut, or it is read in windows. Sounds
    -> the mean of their frames; those longer than `window` seconds, None: 20, are heard in windows.

    `name` is a folder or an id of the hub; weights are read from safetensors only, and no code of the checkpoint ever
    runs. `config` is what Info.config held: with it and pretrained=False neither files nor the network are touched.
    Raises MissingExtra, UsageError for what is no encoder, ResourceError when nothing is within reach.
    """
    try:
        import transformers as library  # noqa: F401
    except ImportError:
        raise MissingExtra("transformers", "text") from None
    raw = config["model"] if config else read(name, "config.json", pretrained) or {}
    text = is_text(raw) or (not raw and read(name, "modules.json", pretrained, optional=True))
    modality = "audio" if _hf_audio.is_audio(raw) else "text" if text else "image"
    asked = {"size": size, "pooling": pooling, "length": length, "long": None if long == "truncate" else long,
             "window": window}  # fmt: skip
    options = {key: value for key, value in asked.items() if value is not None}
    _check_options(options, modality, name)
    source, trained_on = Spec("transformers", name, options), f"see the model card of {Path(name).name}"
    if modality == "audio":
        found = config or _hf_audio.describe(name, raw, pretrained)
        return _hf_audio.encoder(name, source, found, pretrained=pretrained, window=window, trained_on=trained_on)
    if modality == "text":
        return encoder(name, source, config or describe(name, pretrained), pretrained=pretrained, fetch=config is None,
                       pooling=pooling, length=length, long=long, trained_on=trained_on)  # fmt: skip
    return _vision(name, source, config or _describe(name, fetch=pretrained), size, pretrained)


def _check_options(given: Json, modality: str, name: str) -> None:
    for option in given:
        if option not in OPTIONS[modality]:
            what = f"transformers:{name} is an encoder of {modality}, which has no option '{option}'"
            raise UsageError(what, f"its options: {', '.join(OPTIONS[modality])}")


def _vision(name: str, source: Spec, known: Json, size: int | None, pretrained: bool) -> Backbone:
    made = configuration(known["model"], name)
    _check_size(size, known, made, name)
    model = (
        load_weights(name, made, factory=factory(known["classifier"]))
        if pretrained
        else build(made, known["classifier"])
    )
    network = Network(model, cut, resized(images(known["preprocess"]), size), (), known["licence"], known["trained_on"])
    return assemble(network, source, pretrained=pretrained, config=known)


def _describe(name: str, fetch: bool) -> Json:
    """All that a rebuild needs: the model's configuration, its preprocessing, whether a classifier comes along."""
    raw = read(name, "config.json", fetch)
    if raw is None:
        hint = "give a folder that save_pretrained wrote, or an id of the hub"
        raise UsageError(f"transformers:{name} has no config.json", hint)
    model = raw.get("vision_config") or raw  # CLIP and its kin: the half that sees
    if model.get("model_type") == "vit_mae":
        model = {**raw, "model_type": "vit"}  # its encoder is a ViT; as vit_mae it would hide random patches
    record = read(name, _RECORD, fetch)
    size = image_size(configuration(model, name))
    preprocess = preprocess_of(record or {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}, size)
    kinds = raw.get("architectures") or []
    labels = len(raw.get("id2label") or {})
    return {
        "model": {key: value for key, value in model.items() if key not in ("_name_or_path", "transformers_version")},
        "preprocess": json.loads(json.dumps(preprocess.json())),
        "classifier": "vision_config" not in raw and any(kind.endswith("ForImageClassification") for kind in kinds),
        "licence": "see the model card",
        "trained_on": f"see the model card of {Path(name).name}" + (f", {labels} classes" if labels else ""),
    }


def _check_size(size: int | None, known: Json, config: Any, name: str) -> None:
    """Position embeddings are of one size."""
    fixed = getattr(config, "patch_size", None) is not None
    native = images(known["preprocess"]).size
    if size is not None and fixed and size != native:
        raise UsageError(f"transformers:{name} takes images of exactly {native} pixels, not {size}", f"size={native}")
