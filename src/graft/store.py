"""Where Graft keeps what it can make again, and how it writes: whole or not at all.

The cache folder is $GRAFT_CACHE, else $XDG_CACHE_HOME/graft, else ~/.cache/graft. GRAFT_OFFLINE=1 forbids the network.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from graft.errors import IntegrityError, ResourceError, UsageError

START = 4096  # bytes of a file that tell whose it is
DAMAGED = "restore it from a copy, or make the run again"


def cache_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("GRAFT_CACHE") or Path(base) / "graft")


def offline() -> bool:
    return os.environ.get("GRAFT_OFFLINE", "") not in ("", "0")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write beside, flush to the disk, rename: a reader sees the old file or the new one, never a half."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_sealed_json(path: Path, value: Any) -> None:
    """JSON that carries its own sha256, so that a damaged byte in it is noticed like one in a file that it lists."""
    write_json(path, {"sha256": json_digest(value), "content": value})


def read_sealed_json(path: Path) -> Any:
    """Raises IntegrityError when it is missing, or not what was written."""
    record = read_json(path)
    if not isinstance(record, dict) or record.keys() != {"sha256", "content"}:
        raise IntegrityError(f"{path} is damaged", DAMAGED)
    if record["sha256"] != json_digest(record["content"]):
        raise IntegrityError(f"{path} is not what was saved", DAMAGED)
    return record["content"]


def json_digest(value: Any) -> str:
    """What a sealed JSON carries of its content."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def read_json(path: Path) -> Any:
    """Raises IntegrityError when the file is missing or is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise IntegrityError(f"{path} is missing", DAMAGED) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise IntegrityError(f"{path} is damaged: {error}", DAMAGED) from None


class Kind(NamedTuple):
    """A file that a verb writes where its user says: `ours` tells by the first bytes whether one that is there is ours
    to replace."""

    noun: str  # "page"
    suffixes: tuple[str, ...]
    ours: Callable[[bytes], bool]
    whose: str  # "report of Graft"
    example: str  # a name for it


def place(path: Path, data: Path, kind: Kind) -> Path:
    """The path as it is. Raises UsageError for another kind of file, for one that is there and not ours to replace, for
    a folder that is not there, and for a place in the folder `data`; beside a table is no such place."""
    hint = f"name another place: --out {kind.example}"
    if path.suffix.lower() not in kind.suffixes:
        raise UsageError(f"{path} is no name for a {kind.noun}", hint)
    if data.is_dir() and path.resolve().is_relative_to(data.resolve()):
        raise UsageError(f"{path} would lie among the data in {data}, which Graft never writes", hint)
    if not path.resolve().parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}", f"mkdir -p {path.parent}")
    if path.is_symlink() or (path.exists() and not (path.is_file() and kind.ours(_start(path)))):
        raise UsageError(f"{path} is there already, and is no {kind.whose}", hint)
    return path


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(START)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name in the same folder; on success it takes the place of `path`."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with disk_errors(path):
            temporary.touch(exist_ok=False)  # not a private file of mkstemp: a run is there to be shared
            yield temporary
            flush(temporary)
            temporary.replace(path)
            flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Make the kernel write a file or a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """A full disk or a forbidden folder is said in words, with the bytes that are left."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            free = shutil.disk_usage(path.parent).free
            hint = f"free some space there ({free:,} bytes are left), then run the same command with --resume"
            raise ResourceError(f"the disk is full: cannot write {path}", hint) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise ResourceError(f"not allowed to write {path}", "choose another folder with --out") from error
        if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP):
            what = f"cannot make {path}: {os.strerror(error.errno).lower()}"
            raise UsageError(what, "choose another folder with --out") from error
        if error.errno == errno.ENOENT and Path(str(error.filename)).parent == path.parent:  # as in /proc
            raise UsageError(f"cannot make {path}", "choose another folder with --out") from error
        raise


def require_space(folder: Path, needed: int) -> None:
    """Refuse before the work rather than after it."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ResourceError(f"{folder} has {free:,} bytes free, and the run needs about {needed:,}",
                            "free some space, or choose another disk with --out")  # fmt: skip
