"""The library transformers, and where its models lie: a folder, the hub's cache, the hub. Safetensors only, and no code
of a checkpoint is ever run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from graft import store
from graft.backbones._weights import OFFLINE_CHOICES, require_network
from graft.errors import DataError, ResourceError, UsageError
from graft.types import Json

EXPECTED = ("pooler.", "classifier.", "mask_token")  # may be missing from a checkpoint, and are not used
FOREIGN = ("auto_map", "attn_implementation", "experts_implementation")  # would name code, here or on the hub


def configuration(raw: Json, name: str) -> Any:
    from transformers import AutoConfig

    kind = raw.get("model_type", "")
    if "auto_map" in raw and not kind:
        raise UsageError(f"transformers:{name} brings its own code, which is never run", "choose another model")
    if raw.get("quantization_config"):
        raise UsageError(f"the weights of {name} are quantised, and cannot be fine-tuned", "take the original weights")
    plain = {key: value for key, value in raw.items() if key not in FOREIGN and not key.startswith("_")}
    try:
        return AutoConfig.for_model(**plain)
    except (ValueError, KeyError, TypeError) as error:
        first = str(error).splitlines()[0][:160]
        raise UsageError(f"transformers does not know the model type '{kind}' of {name}: {first}",
                         "pip install -U transformers") from None  # fmt: skip


def read(name: str, filename: str, fetch: bool, *, optional: bool = False) -> Any:
    """A JSON file of a folder, of the hub's cache, or (`fetch`) of the hub; None where the model has none.

    `optional`: nor is it looked for where nothing of the model is within reach.
    """
    if optional and not fetch and not Path(name).is_dir() and not cached(name):
        return None
    path = locate(name, filename, fetch)
    if path is None:
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not JSON: {error}", "fetch the model again") from None
    return found


def locate(name: str, filename: str, fetch: bool) -> Path | None:
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

    if Path(name).is_dir():
        path = Path(name) / filename
        return path if path.is_file() else None
    try:
        kept = try_to_load_from_cache(name, filename)
        if isinstance(kept, str):
            return Path(kept)
        if kept is not None or cached(name):
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


def cached(name: str) -> bool:
    """Do the weights lie in the hub's cache?"""
    from huggingface_hub import try_to_load_from_cache

    files = ("model.safetensors", "model.safetensors.index.json")
    return any(isinstance(try_to_load_from_cache(name, file), str) for file in files)


@contextmanager
def quiet() -> Iterator[None]:
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


def load_weights(name: str, config: Any, folder: str = "", factory: Any = None) -> Any:
    """A model with the weights of a folder or the hub; the library adapts old names itself.

    Raises DataError where there is no safetensors file, or a part of the encoder is not in it.
    """
    from safetensors import SafetensorError
    from transformers import AutoModel

    local = Path(name).is_dir() or store.offline() or cached(name)
    try:
        with quiet():
            model, report = (factory or AutoModel).from_pretrained(
                name, config=config, subfolder=folder, use_safetensors=True, trust_remote_code=False,
                local_files_only=local, output_loading_info=True,
            )  # fmt: skip
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        save = "from_pretrained(FOLDER).save_pretrained(FOLDER, safe_serialization=True)"
        hint = f"fetch model.safetensors; pickles (pytorch_model.bin) are never opened: convert one you trust: {save}"
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"transformers:{name} does not load: {first}", hint) from None
    inner = getattr(model, "classifier", None) is not None
    prefix = f"{model.base_model_prefix}." if inner else ""
    missing = [key.removeprefix(prefix) for key in report["missing_keys"]]
    missing = [key for key in missing if not key.startswith(EXPECTED) and "mask_token" not in key]
    if missing:
        raise DataError(f"the weights of {name} lack {len(missing)} tensors: {', '.join(missing[:3])}",
                        "check that config.json and the weights belong together")  # fmt: skip
    broken = [key for key, t in model.state_dict().items() if t.is_floating_point() and not t.isfinite().all()]
    if broken:
        raise DataError(f"the weights of {name} hold values that are not finite: {broken[0]}", "fetch them again")
    return model.float().eval()
