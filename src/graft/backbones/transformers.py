"""Any vision encoder of transformers, from the hub or from a folder: transformers:facebook/dinov2-small."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from graft import store
from graft.backbones._cut import Network, assemble, resized
from graft.backbones._images import images
from graft.backbones._transformers import base_of, build, cut, image_size, preprocess_of
from graft.backbones._weights import OFFLINE_CHOICES, require_network
from graft.errors import DataError, MissingExtra, ResourceError, UsageError
from graft.spec import Spec
from graft.types import Backbone, Json

_RECORD = "preprocessor_config.json"
_EXPECTED = ("pooler.", "classifier.", "mask_token")  # may be missing from a checkpoint, and are not used


def transformers(
    name: str, *, pretrained: bool = True, size: int | None = None, config: Json | None = None
) -> Backbone:
    """(B, 3, S, S) -> the class token, the mean or the encoder's own pooling; stages as far as they can be proved.

    `name` is a folder or an id of the hub; weights are read from safetensors only, and no code of the checkpoint ever
    runs. `config` is what Info.config held: with it and pretrained=False neither files nor the network are touched.
    Raises MissingExtra, UsageError for what is no vision encoder, ResourceError when nothing is within reach.
    """
    try:
        import transformers as library  # noqa: F401
    except ImportError:
        raise MissingExtra("transformers", "transformers") from None
    known = config or _describe(name, fetch=pretrained)
    made = _config(known["model"], name)
    _check_size(size, known, made, name)
    model = _load(name, made, known["classifier"]) if pretrained else build(made, known["classifier"])
    network = Network(model, cut, resized(images(known["preprocess"]), size), (), known["licence"], known["trained_on"])
    source = Spec("transformers", name, {} if size is None else {"size": size})
    return assemble(network, source, pretrained=pretrained, config=known)


def _describe(name: str, fetch: bool) -> Json:
    """All that a rebuild needs: the model's configuration, its preprocessing, whether a classifier comes along."""
    raw = _read(name, "config.json", fetch)
    if raw is None:
        hint = "give a folder that save_pretrained wrote, or an id of the hub"
        raise UsageError(f"transformers:{name} has no config.json", hint)
    model = raw.get("vision_config") or raw  # CLIP and its kin: the half that sees
    if model.get("model_type") == "vit_mae":
        model = {**raw, "model_type": "vit"}  # its encoder is a ViT; as vit_mae it would hide random patches
    record = _read(name, _RECORD, fetch)
    size = image_size(_config(model, name))
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


def _config(raw: Json, name: str) -> Any:
    from transformers import AutoConfig

    kind = raw.get("model_type", "")
    if "auto_map" in raw and not kind:
        raise UsageError(f"transformers:{name} brings its own code, which is never run", "choose another model")
    try:
        return AutoConfig.for_model(**raw)
    except (ValueError, KeyError, TypeError) as error:
        first = str(error).splitlines()[0][:160]
        raise UsageError(f"transformers does not know the model type '{kind}' of {name}: {first}",
                         "pip install -U transformers") from None  # fmt: skip


def _check_size(size: int | None, known: Json, config: Any, name: str) -> None:
    """Position embeddings are of one size."""
    fixed = hasattr(config, "patch_size")
    native = images(known["preprocess"]).size
    if size is not None and fixed and size != native:
        raise UsageError(f"transformers:{name} takes images of exactly {native} pixels, not {size}", f"size={native}")


def _read(name: str, filename: str, fetch: bool) -> Json | None:
    """A JSON file of a folder, of the hub's cache, or (`fetch`) of the hub; None where the model has none."""
    path = _locate(name, filename, fetch)
    if path is None:
        return None
    try:
        found: Json = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not JSON: {error}", "fetch the model again") from None
    return found


def _locate(name: str, filename: str, fetch: bool) -> Path | None:
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

    if Path(name).is_dir():
        path = Path(name) / filename
        return path if path.is_file() else None
    try:
        cached = try_to_load_from_cache(name, filename)
        if isinstance(cached, str):
            return Path(cached)
        if cached is not None or _cached(name):
            return None  # known not to exist, or a model that came without it
        if not fetch:
            raise UsageError(f"transformers:{name} with pretrained=False needs config=", "or a folder with config.json")
        require_network(os.environ.get("HF_ENDPOINT", "https://huggingface.co"), f"transformers:{name}")
        return Path(hf_hub_download(name, filename))
    except EntryNotFoundError:
        return None
    except HFValidationError:
        raise UsageError(f"'{name}' is neither a folder nor an id of the hub", "check the path") from None
    except (HfHubHTTPError, OSError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ResourceError(f"cannot fetch transformers:{name}: {first}", OFFLINE_CHOICES) from None


def _cached(name: str) -> bool:
    """Do the weights lie in the hub's cache?"""
    from huggingface_hub import try_to_load_from_cache

    files = ("model.safetensors", "model.safetensors.index.json")
    return any(isinstance(try_to_load_from_cache(name, file), str) for file in files)


def _load(name: str, config: Any, classifier: bool) -> Any:
    """The library adapts old names itself. Raises DataError when a part of the encoder is not in the file."""
    from transformers import AutoModel, AutoModelForImageClassification

    factory: Any = AutoModelForImageClassification if classifier else AutoModel
    local = Path(name).is_dir() or store.offline() or _cached(name)
    try:
        with _quiet():
            model, report = factory.from_pretrained(
                name, config=config, use_safetensors=True, trust_remote_code=False, local_files_only=local,
                output_loading_info=True,
            )  # fmt: skip
    except (OSError, ValueError, RuntimeError) as error:
        hint = f"fetch model.safetensors of this model, or {OFFLINE_CHOICES}"
        raise DataError(f"transformers:{name} does not load: {str(error).strip().splitlines()[0]}", hint) from None
    prefix = f"{model.base_model_prefix}." if base_of(model) is not model else ""
    missing = [key.removeprefix(prefix) for key in report["missing_keys"]]
    missing = [key for key in missing if not key.startswith(_EXPECTED) and "mask_token" not in key]
    if missing:
        raise DataError(f"the weights of {name} lack {len(missing)} tensors: {', '.join(missing[:3])}",
                        "check that config.json and the weights belong together")  # fmt: skip
    return model.float().eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """The library's progress bars and its table of unused weights are not the user's business: ours are errors."""
    logging: Any = import_module("transformers.utils.logging")  # it has types in part only
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
