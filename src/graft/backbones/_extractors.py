"""The feature extractors of transformers that a sound may go through, from their JSON, of which nothing is run as code.

Only what a class of the list takes is kept of a preprocessor_config.json: the filters that old files spell out are made
again.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from typing import Any

from graft.backbones._hub import read
from graft.errors import DataError, UsageError
from graft.types import Json

KINDS = ("Wav2Vec2FeatureExtractor", "ASTFeatureExtractor", "WhisperFeatureExtractor")
RECORD = "preprocessor_config.json"
_RANDOM = ("dither",)  # what would make the features of a sound differ from time to time
_TYPE = "feature_extractor_type"


def described(name: str, kind: str, fetch: bool) -> tuple[Json, tuple[str, ...]]:
    """What builds the extractor of a checkpoint, of the class `kind` where it does not say, and notes on it.

    Raises UsageError for another class than those of KINDS, DataError for a sampling rate that is none.
    """
    found = read(name, RECORD, fetch) or (read(name, "processor_config.json", fetch) or {}).get("feature_extractor")
    if not found:
        note = f"it has no {RECORD}: its sounds are prepared as is usual for such models"
        return {_TYPE: kind, **_plain(kind, {})}, (note,)
    asked = found.get(_TYPE) or kind
    if asked != kind:
        what = f"transformers:{name} prepares sounds by {asked}, which is not known here for such a model"
        raise UsageError(what, f"known is {kind}: check {RECORD}")
    made = {_TYPE: kind, **_plain(kind, found)}
    return made, _checked(name, found, made)


def built(record: Json) -> Any:
    """The extractor; `record` is what `described` gave. AST's lowest filters are empty, which its library warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return _class(record[_TYPE])(**{key: value for key, value in record.items() if key != _TYPE})


def _checked(name: str, found: Json, made: Json) -> tuple[str, ...]:
    rate = made["sampling_rate"]
    if type(rate) is not int or rate < 1:
        raise DataError(f"{RECORD} of {name} says that its sounds have {rate!r} samples in a second, which cannot be",
                        "fetch it again: most models were trained on 16000")  # fmt: skip
    if "sampling_rate" in found:
        return ()
    return (f"its {RECORD} does not say a sampling rate: {rate:,} Hz are taken, as is usual for such models",)


def _plain(kind: str, found: Json) -> Json:
    """Every argument of the class, with what was found or its default; an older library may have had others."""
    known = inspect.signature(_class(kind).__init__).parameters.values()
    usual = {one.name: one.default for one in known if one.default is not one.empty and one.name not in _RANDOM}
    return {key: found.get(key, value) for key, value in usual.items()}


def _class(kind: str) -> Any:
    assert kind in KINDS, kind
    return getattr(importlib.import_module("transformers"), kind)
