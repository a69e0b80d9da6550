"""Which pictures are ours to replace."""

from __future__ import annotations

from graft.store import Kind

MADE_BY = "graft explain"  # what the file says of itself
_PNG = b"\x89PNG\r\n\x1a\n"


def _ours(start: bytes) -> bool:
    return start.startswith(_PNG) and MADE_BY.encode() in start


PICTURE = Kind("picture", (".png",), _ours, "picture of graft explain", "why.png")
