"""What did the user mean by "flowers/", "data.csv", "torchvision:CIFAR10" or "digits"? Paths that exist come first."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from graft import registry, spec
from graft.data._columns import AUDIO
from graft.data._files import TABLES, UNSUPPORTED_SOUNDS, is_image, is_junk, is_sound, part_of
from graft.errors import DataError, UsageError
from graft.spec import Spec
from graft.types import Dataset

_TEXTS = {".txt": "lines", ".conll": "conll", ".iob": "conll", ".iob2": "conll", ".bio": "conll", ".bio2": "conll"}
_WITHOUT = {"conll": "conll", "lines": "texts", "audio": "audio"}  # what a folder without images and tables holds
_PEEK = 1 << 20  # bytes of a JSON file that show what it is
_ENOUGH = 1000  # images or sounds of a folder that show what it holds


def open_data(text: str) -> Dataset:
    """A path or a reader's spec -> a data set. Raises DataError (no such path) or UsageError (no such reader)."""
    found = reader_of(text)
    return found.bind(registry.find("reader", found.name))  # type: ignore[no-any-return]


def reader_of(text: str) -> Spec:
    """The reader of data, with its options. Raises what `open_data` raises."""
    return _as_path(text.strip()) or _as_spec(text.strip())


def with_columns(data: str, /, **columns: str | Sequence[str] | None) -> str:
    """The same data with more options of its reader: data.csv, text="body" -> data.csv(text='body').

    None is nothing said. Raises UsageError where the data name another column already.
    """
    said = {role: name for role, name in columns.items() if name is not None}
    if not said:
        return data
    path, call = _cut(data.strip())
    options = spec.parse(f"options{call}").options
    for role in said:
        if options.get(role, said[role]) != said[role]:
            what = f"--{role} is {said[role]!r}, but the data say {role}={options[role]!r}"
            raise UsageError(what, f"say it once: {path}({role}={said[role]!r})")
    return str(Spec(path.rstrip("/") or path, None, options).with_options(**said))


def without_options(data: str) -> str:
    """The path or name alone: data.csv(text='body') -> data.csv."""
    return _cut(data.strip())[0]


def options_of(data: str) -> Mapping[str, Any]:
    """The options alone, also of data that are no longer there."""
    return spec.parse(f"options{_cut(data.strip())[1]}").options


def _as_path(text: str) -> Spec | None:
    """`data.csv(label='species')`: the options count only when the text as a whole is no path."""
    if exists(text):
        return Spec(_reader(Path(text).expanduser()), text)
    path, call = _cut(text)
    if not call or not exists(path):
        return None
    return Spec(_reader(Path(path).expanduser()), path, spec.parse(f"options{call}").options)


def _cut(text: str) -> tuple[str, str]:
    """What stands before the options, and these: the longest path that exists, for names may have brackets, too."""
    if exists(text) or not text.endswith(")") or "(" not in text:
        return text, ""
    places = [match.start() for match in re.finditer(r"\(", text)]
    at = next((place for place in reversed(places) if exists(text[:place])), places[0])
    return text[:at], text[at:]


def exists(text: str) -> bool:
    """Whether a text is the path of something that is there."""
    try:
        return bool(text) and Path(text).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long for a path, a NUL, an unknown ~user
        return False


def _reader(path: Path) -> str:
    if path.is_dir():
        return _folder_reader(path)
    suffix = path.suffix.lower()
    media = "folder" if is_image(path.name) else "audio" if is_sound(path.name) else ""
    known = {**TABLES, **_TEXTS}.get(suffix) or media
    if known or suffix == ".json":
        return known or _json_reader(path)
    if suffix in UNSUPPORTED_SOUNDS:
        raise DataError(f"{path} is of a format that Graft does not read ({suffix})", "convert it to wav or flac")
    raise DataError(f"{path} is neither a folder, an image, a sound, a text nor a table ({', '.join(TABLES)})",
                    "give a folder with one folder per class, or a table with the columns path or text, and label"
                    )  # fmt: skip


def _folder_reader(path: Path) -> str:
    """By its images and sounds, whichever are more; without any by what else is there. The image reader says best that
    there is nothing."""
    seen: dict[str, str] = {}
    media: Counter[str] = Counter()
    places: set[str] = set()  # of sounds
    for here, name in _names(path):
        suffix = os.path.splitext(name)[1].lower()
        if is_image(name) or is_sound(name):
            media["folder" if is_image(name) else "audio"] += 1
            places |= {here} if is_sound(name) else set()
        elif suffix == ".txt" or (Path(here) == path and suffix in (*TABLES, *_TEXTS)):
            seen.setdefault(TABLES.get(suffix, _TEXTS.get(suffix, "")), name)
        elif suffix in UNSUPPORTED_SOUNDS:
            seen.setdefault("audio", name)
        if media.total() >= _ENOUGH or media["folder"] >= _ENOUGH // 10 and not media["audio"]:
            break
    if media:
        reader = "audio" if media["audio"] > media["folder"] else "folder"
        return "tables" if reader == "audio" and len(places) == 1 and _has_train(path) else reader
    table = seen.get("csv") or seen.get("jsonl")
    if table is not None:
        return _tables_reader(path, table)
    return next((reader for kind, reader in _WITHOUT.items() if kind in seen), "folder")


def _names(path: Path) -> Iterator[tuple[str, str]]:
    """Every file below a folder that is no junk, and the folder it is in."""
    for here, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not is_junk(name)]
        yield from ((here, name) for name in names if not is_junk(name))


def _has_train(path: Path) -> bool:
    return any(part_of(p.name) == "train" for p in path.iterdir() if p.suffix.lower() in TABLES)


def _tables_reader(path: Path, table: str) -> str:
    """One data set where a table is named for its train part; else Graft cannot know which one is meant."""
    if _has_train(path):
        return "tables"
    raise DataError(f"{path} holds tables, and no images", f"give the table itself: {path / table}")


def _json_reader(path: Path) -> str:
    """Questions have passages, and a manifest of sounds is one object per line; else it should be the parts of a data
    set."""
    try:
        with path.open("rb") as file:
            start = file.read(_PEEK)
    except OSError as error:
        raise DataError(f"{path} cannot be opened ({error.strerror})", f"check it: ls -l {path}") from None
    if b'"paragraphs"' in start:
        return "squad"
    return "jsonl" if _is_manifest(start) else "json_splits"


def _is_manifest(start: bytes) -> bool:
    try:
        first = json.loads(start.lstrip().partition(b"\n")[0])
    except (ValueError, RecursionError):
        return False
    return isinstance(first, dict) and any(is_sound(str(first.get(name, ""))) for name in AUDIO["audio"])


def _as_spec(text: str) -> Spec:
    name = re.match(r"[A-Za-z_][\w-]*", text)
    known = name is not None and name[0].replace("-", "_") in registry.names("reader")
    if known and re.fullmatch(r"[\w-]+(:.*|\(.*\))?", text, re.DOTALL):
        return spec.parse(text)
    if re.match(r"[a-zA-Z]+://", text):
        raise DataError(f"web addresses are not fetched: {text}", "download and unpack it, then give the folder")
    path = without_options(text)
    near = _sibling(path)
    if near or not text or re.search(r"[/\\]|^[.~]|\.\w{1,6}$", path):
        raise DataError(f"there is no folder or file '{path}'", near or _beside(path))
    return _unknown(text)


def _unknown(text: str) -> Spec:
    found = spec.parse(text)
    try:
        registry.find("reader", found.name)
    except UsageError as error:
        what = f"there is no file or folder '{text}', nor a reader of that name"
        raise UsageError(what, error.hint) from None
    return found


def _sibling(text: str) -> str:
    """ "did you mean" for the nearest name in the deepest folder that does exist."""
    path = Path(text).expanduser() if not text.startswith("~") else Path(text)
    for wrong in (path, *path.parents):
        try:
            names = [p.name for p in wrong.parent.iterdir() if not p.name.startswith(".")]
        except OSError:
            continue
        near = difflib.get_close_matches(wrong.name, names, n=1, cutoff=0.6)
        return f"did you mean '{wrong.parent / near[0]}'?" if near else ""
    return ""


def _beside(text: str) -> str:
    folder = next((p for p in Path(text).expanduser().parents if p.is_dir()), Path("."))
    return f"see what is there: ls {folder}"
