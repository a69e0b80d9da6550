"""A text encoder of a folder or the hub as a backbone: configuration, weights, tokeniser, and how it is pooled.

Folders of sentence-transformers say in modules.json how they pool; other encoders are pooled by the mean of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from graft.backbones._encoder import Pooling, stages
from graft.backbones._hub import configuration, load_weights, locate, read
from graft.backbones._tokens import LONG, Tokens
from graft.backbones._weights import weights_digest
from graft.errors import DataError, UsageError, did_you_mean
from graft.spec import Spec
from graft.types import Backbone, Info, Json

MOST = 512  # tokens of a window, where a tokeniser names no limit that makes sense
FEW = 512  # features of a small encoder: those are fine-tuned at a higher rate
POOLINGS = ("mean", "cls", "max")
FROM_PADDING = ("roberta", "xlm-roberta", "xlm-roberta-xl", "roberta-prelayernorm", "camembert", "mpnet", "xmod",
                "longformer", "data2vec-text", "ibert", "luke")  # fmt: skip
_MODES = {"mean_tokens": "mean", "cls_token": "cls", "max_tokens": "max"}  # as they were called until 2025


def is_text(config: Json) -> bool:
    """Whether a config.json is that of an encoder of text."""
    sees = ("vision_config", "image_size", "num_channels", "audio_config", "num_mel_bins")
    return "vocab_size" in config and not any(key in config for key in sees)


def describe(name: str, fetch: bool) -> Json:
    """All that a rebuild needs but the tokeniser, which is kept with the preprocessing."""
    parts = _modules(name, fetch)
    folder = parts.get("Transformer", "")
    raw = read(name, _inside(folder, "config.json"), fetch)
    if raw is None:
        raise UsageError(f"transformers:{name} has no config.json", "give a folder that save_pretrained wrote")
    sentence = read(name, _inside(folder, "sentence_bert_config.json"), fetch) or {}
    limits = [_limit(raw), sentence.get("max_seq_length"), _tokenizer_limit(name, folder, fetch)]
    return {
        "model": {key: value for key, value in raw.items() if key not in ("_name_or_path", "transformers_version")},
        "folder": folder,
        "length": min([int(limit) for limit in limits if limit], default=MOST),
        "pooling": _pooling(name, parts, fetch),
        "normalize": "Normalize" in parts,
        "left_out": sorted(set(parts) - {"Transformer", "Pooling", "Normalize"}),
    }


def encoder(
    name: str,
    source: Spec,
    known: Json,
    *,
    pretrained: bool,
    fetch: bool = True,
    pooling: str | None = None,
    length: int | None = None,
    long: str = "truncate",
    licence: str = "see the model card",
    trained_on: str = "",
) -> Backbone:
    """`known` is what `describe` found; without the files at hand (a rebuild) the tokeniser comes later."""
    window = _window(known, length)
    _check(pooling, known, long, name)
    config = configuration(known["model"], name)
    model = load_weights(name, config, known["folder"]) if pretrained else _blank(config)
    cut, notes = stages(model, window)
    preprocess = _tokens(name, known, window, long, fetch)
    count = sum(p.numel() for stage in cut for p in stage.parameters())
    dim = int(config.hidden_size)
    left_out = tuple(f"its {part} layer is left out" for part in known["left_out"])
    digest, trained_on = (_digest(cut), trained_on) if pretrained else ("", "")
    rate = 1e-4 if dim <= FEW else 3e-5
    info = Info(source, "text", dim, licence, digest, count, trained_on, (*notes, *left_out), rate, config=known)
    readout = Pooling(pooling or known["pooling"], known["normalize"], window)
    words = {"words": model.get_input_embeddings()}
    return Backbone(info, cut, preprocess, readout, words)


def _digest(cut: Sequence[Any]) -> str:
    from torch import nn

    return weights_digest(nn.ModuleList(cut).state_dict(prefix="stages."))


def _blank(config: Any) -> Any:
    from transformers import AutoModel

    return AutoModel.from_config(config, trust_remote_code=False).float().eval()


def _window(known: Json, length: int | None) -> int:
    if length is None:
        return int(known["length"])
    most = _limit(known["model"]) or length
    if not 8 <= length <= most:
        raise UsageError(f"length={length} is not a window that this model can read", f"choose 8 to {most} tokens")
    return length


def _limit(raw: Json) -> int | None:
    """Positions that the model has; RoBERTa and its kin count from after the padding's id."""
    most = raw.get("max_position_embeddings")
    if not isinstance(most, int) or most <= 0:
        return None
    kin = raw.get("model_type") in FROM_PADDING or most in (514, 1026, 4098, 8194)
    return most - 2 if kin else most


def _tokenizer_limit(name: str, folder: str, fetch: bool) -> int | None:
    found = (read(name, _inside(folder, "tokenizer_config.json"), fetch) or {}).get("model_max_length")
    return int(found) if found and found < 1e6 else None  # "no limit" is written as 1e30


def _check(asked: str | None, known: Json, long: str, name: str) -> None:
    if asked is not None and asked not in POOLINGS:
        raise UsageError(f"there is no pooling '{asked}'", did_you_mean(asked, POOLINGS))
    if asked is None and known["pooling"] not in POOLINGS:
        what = f"{name} pools in a way that is not known here: {known['pooling']}"
        raise UsageError(what, "name another one: (pooling='mean')")
    if long not in LONG:
        raise UsageError(f"long='{long}' is no way to read long texts", did_you_mean(long, LONG))


# ------------------------------------------------------------------------------------------- sentence-transformers


def _modules(name: str, fetch: bool) -> dict[str, str]:
    """Kind -> folder of the parts of a sentence-transformers model; empty where it is none."""
    listed = read(name, "modules.json", fetch, optional=True)
    if not isinstance(listed, list):
        return {}
    return {str(part["type"]).rpartition(".")[2]: str(part.get("path", "")) for part in listed}


def _pooling(name: str, parts: dict[str, str], fetch: bool) -> str:
    """How it pools: one of POOLINGS, or another word, which `encoder` then refuses."""
    record = read(name, _inside(parts["Pooling"], "config.json"), fetch) if "Pooling" in parts else None
    if record is None:
        return "mean"
    found = record.get("pooling_mode", [])
    old = [key.removeprefix("pooling_mode_") for key, on in record.items() if key.startswith("pooling_mode_") and on]
    modes = [found] if isinstance(found, str) else [*found, *(_MODES.get(mode, mode) for mode in old)]
    return "+".join(map(str, modes)) or "mean"


def _inside(folder: str, filename: str) -> str:
    return f"{folder}/{filename}" if folder else filename


# ------------------------------------------------------------------------------------------------------- tokeniser


def _tokens(name: str, known: Json, window: int, long: str, fetch: bool) -> Tokens:
    folder, size = known["folder"], int(known["model"]["vocab_size"])
    if not fetch:
        return Tokens("", window, long=long)  # a rebuild: the run folder holds it
    path = locate(name, _inside(folder, "tokenizer.json"), fetch)
    text = path.read_text(encoding="utf-8", errors="replace") if path else _converted(name, folder)
    vocabulary = _vocabulary(Tokens(text, window), name)
    if max(vocabulary.values()) >= size or len(vocabulary) < 0.9 * size:
        raise DataError(f"the tokeniser of {name} has {len(vocabulary):,} tokens, and its weights know {size:,}: "
                        "they do not belong together", "fetch tokenizer.json and the weights of one model")  # fmt: skip
    pad = known["model"].get("pad_token_id")
    masks = [vocabulary[token] for token in ("[MASK]", "<mask>") if token in vocabulary]
    return Tokens(text, window, int(pad or 0), masks[0] if masks else None, long)


def _vocabulary(made: Tokens, name: str) -> dict[str, int]:
    """Of what may be no tokeniser at all, or one without words."""
    try:
        return made.vocabulary or {"": -1}
    except Exception as error:  # noqa: BLE001 - the library raises nothing more special
        what = f"the tokenizer.json of {name} is damaged: {str(error).strip()[:160]}"
        raise DataError(what, "fetch tokenizer.json of this model again") from None


def _converted(name: str, folder: str) -> str:
    """An old folder has vocab.txt or a sentencepiece model; the library turns them into a fast tokeniser."""
    from transformers import AutoTokenizer

    try:
        found: Any = AutoTokenizer.from_pretrained(name, subfolder=folder, trust_remote_code=False,
                                                   local_files_only=Path(name).is_dir())  # fmt: skip
        return str(found.backend_tokenizer.to_str())
    except (OSError, ValueError, ImportError, AttributeError) as error:
        what = f"{name} has no tokeniser that can be read: {str(error).strip().splitlines()[0][:160]}"
        raise DataError(what, "fetch tokenizer.json of this model") from None
