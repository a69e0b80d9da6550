"""Labels and groups in the names of files: `{label}_{group}_{}` reads 7_jackson_32.wav as a seven, said by jackson.

A pattern with slashes is held against the folders above the file, too. A field is as short as it can be.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from graft.data._files import SOUNDS, SPLITS
from graft.errors import DataError, UsageError
from graft.types import Issue, Sample

_FIELDS = ("label", "group", "split")
_EXAMPLE = "write for instance pattern='{label}_{group}_{}'; {} is anything"


def compiled(pattern: object) -> re.Pattern[str]:
    """Raises UsageError for what is no pattern, names no field or an unknown one, or cannot tell two fields apart."""
    if not isinstance(pattern, str):
        raise UsageError(f"pattern={pattern!r} must be a text", _EXAMPLE)
    stem, suffix = os.path.splitext(pattern)
    parts = re.split(r"\{(\w*)\}", stem if suffix.lower() in SOUNDS else pattern)
    between, fields = parts[0::2], parts[1::2]
    named = [field for field in fields if field]
    wrong = next((field for field in named if field not in _FIELDS), None)
    why = ""
    if wrong is not None:
        why = f"has the field {{{wrong}}}; fields are {{label}}, {{group}} and {{split}}"
    elif not named:
        why = "names neither {label} nor {group} nor {split}"
    elif len(set(named)) < len(named):
        why = "has one field twice"
    elif not all(between[1:-1]) or any(sign in "".join(between) for sign in "{}"):
        why = "has two fields with nothing between them, or a stray bracket"
    if why:
        raise UsageError(f"pattern={pattern!r} {why}", _EXAMPLE)
    fields = [f"(?P<{field}>[^/]+?)" if field else "[^/]*?" for field in fields]
    return re.compile("".join(_woven([re.escape(text) for text in between], fields)))


def _woven(texts: Sequence[str], fields: Sequence[str]) -> list[str]:
    return [part for pair in zip(texts, [*fields, ""], strict=True) for part in pair]


def applied(pattern: str, samples: Sequence[Sample], name: str) -> tuple[list[Sample], list[Issue]]:
    """The samples with what their names say; those that do not match keep what they have, and are listed. Raises
    DataError when none matches."""
    rule = compiled(pattern)
    found, strange = [], []
    for sample in samples:
        said = _said(rule, pattern, sample.key)
        if said is None:
            strange.append(sample.key)
        found.append(replace(sample, **(said or {})))
    if len(strange) == len(samples):
        what = f"no file of {name} has a name of the form {pattern!r}; the first one is {samples[0].key}"
        raise DataError(what, _EXAMPLE)
    what = f"names that are not of the form {pattern!r} say nothing of their sounds"
    issues = [Issue("strange-name", "warning", what, tuple(strange), "rename them")] if strange else []
    return found, issues


def _said(rule: re.Pattern[str], pattern: str, key: str) -> dict[str, Any] | None:
    """The fields of one name, or None."""
    stem = "/".join(os.path.splitext(key)[0].split("/")[-1 - pattern.count("/") :])
    match = rule.fullmatch(stem)
    if match is None:
        return None
    said = {field: value.strip() for field, value in match.groupdict().items()}
    if "split" in said:
        said["split"] = SPLITS.get(said["split"].lower(), "")
    return said if all(said.values()) else None
