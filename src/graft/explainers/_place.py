"""Where a picture may be written: never among the data, and never over a file that is not one of ours."""

from __future__ import annotations

from pathlib import Path

from graft.errors import UsageError

MADE_BY = "graft explain"  # what the file says of itself
_PNG, _START = b"\x89PNG\r\n\x1a\n", 4096
_HINT = "name another place: --out why.png"


def place(path: Path, data: Path) -> Path:
    """The path as it is. Raises UsageError for another kind of file, for one that is there and not ours to replace, for
    a folder that is not there, and for a place in the folder `data`; beside a table is no such place."""
    if path.suffix.lower() != ".png":
        raise UsageError(f"{path} is no name for a picture", _HINT)
    if data.is_dir() and path.resolve().is_relative_to(data.resolve()):
        raise UsageError(f"{path} would lie among the data in {data}, which Graft never writes", _HINT)
    if not path.resolve().parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}", f"mkdir -p {path.parent}")
    if path.is_symlink() or (path.exists() and not _ours(path)):
        raise UsageError(f"{path} is there already, and is no picture of graft explain", _HINT)
    return path


def _ours(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(_START)
    return start.startswith(_PNG) and MADE_BY.encode() in start
