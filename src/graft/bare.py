"""A run without the paths of the machine that made it: what may be shown to others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

from graft import run
from graft.data._sniff import options_of, without_options
from graft.errors import GraftError
from graft.spec import Spec, parse
from graft.types import Json

_FOLDERS = re.compile(r"(?<![\w.:/])(?:~[\w-]*|\.{1,2})?/(?:[^\s/'\",()]+/)+|\b[A-Za-z]:\\(?:[^\s\\'\",()]+\\)+")
_WHOLE = re.compile(r"[/~.\\]|[A-Za-z]:[\\/]")  # how a path begins that is no spec


def data(asked: str) -> str:
    """The argument of `graft fit` by its bare name, with its options: /me/x.csv(text='body') -> x.csv(text='body')."""
    try:
        found = Spec(run.parse_name(without_options(asked)), None, options(options_of(asked)))
    except GraftError:
        return run.parse_name(asked)
    return str(found)


def backbone(asked: str) -> str:
    """One trunk or several, " + " between them. Ids of a hub stay what they are."""
    return " + ".join(map(_trunk, asked.split(" + ")))


def _trunk(asked: str) -> str:
    try:
        found = parse(asked)
    except GraftError:
        return run.parse_name(asked)
    target = found.target
    if target is not None and (found.name in ("local", "trained", "vectors") or is_path(target)):
        target = _last(target)
    return str(Spec(found.name, target, options(found.options)))


def is_path(name: str) -> bool:
    """Whether it names a file or a folder, and no model of a hub such as google/vit-base."""
    return name.startswith(("/", "~", ".")) or name.count("/") > 1 or "\\" in name or Path(name).exists()


def options(given: Mapping[str, Any]) -> Json:
    """Values that are paths by their last part alone."""
    return {key: value_of(value) for key, value in given.items()}


def value_of(value: Any) -> Any:
    """A field of a recipe, or a value in its options: every path in it by its last part, all else as it is."""
    if isinstance(value, str):
        return _said(value)
    if isinstance(value, list | tuple):
        return type(value)(value_of(one) for one in value)
    return {key: value_of(one) for key, one in value.items()} if isinstance(value, dict) else value


def _said(text: str) -> str:
    """A path, or a spec that may have one as its target or in its options: ctc(dictionary='/me/x.txt')."""
    if _WHOLE.match(text):
        return _last(text)
    try:
        found = parse(text)
    except GraftError:
        return _last(text) if is_path(text) else text
    bare = Spec(found.name, found.target and value_of(found.target), options(found.options))
    return text if bare == found else str(bare)


def _last(path: str) -> str:
    return PurePath(path.replace("\\", "/")).name or path


def recipe(record: Json) -> Json:
    """The content of recipe.json."""
    kept = {key: value_of(value) for key, value in record.items()}
    return {**kept, "data": data(record["data"]), "backbone": backbone(record["backbone"])}


def source(record: Json) -> Json:
    """The content of backbone.json; of a trained trunk also that of the one before it."""
    inner = record.get("config") or {}
    config = {**inner, "backbone": source(inner["backbone"])} if inner.get("backbone") else inner
    return {**record, "source": backbone(record["source"]), "config": config}


def sentence(text: str, known: Iterable[str] = ()) -> str:
    """A sentence in which the `known` data and trunks, and folders, have no path."""
    for name in sorted(filter(None, known), key=len, reverse=True):
        bare = backbone(name) if ":" in name.partition("(")[0] else data(name)
        text = text.replace(name, bare)
    return _FOLDERS.sub("", text)
