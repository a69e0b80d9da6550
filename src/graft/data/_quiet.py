"""The decoder of mp3 writes to stderr what it thinks of a file, also of good ones; nobody can act on that."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

_lock = threading.Lock()
_inside = 0
_before: int | None = None


@contextmanager
def quiet() -> Iterator[None]:
    """C's own stderr leads nowhere meanwhile; Python's goes on, as that of a progress bar must. Many threads may be
    inside; where the C library has another name for it, nothing happens."""
    global _inside, _before
    streams = _streams()
    with _lock:
        _inside += 1
        if streams and _inside == 1:
            _before, streams[0].value = streams[0].value, streams[1]
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if streams and not _inside:
                streams[0].value = _before


@lru_cache(maxsize=1)
def _streams() -> tuple[ctypes.c_void_p, int] | None:
    """The variable `stderr` of the C library, and a stream that leads nowhere."""
    try:
        library = ctypes.CDLL(None)
        library.fopen.restype = ctypes.c_void_p
        nowhere = library.fopen(os.devnull.encode(), b"w")
        return (ctypes.c_void_p.in_dll(library, "stderr"), nowhere) if nowhere else None
    except (OSError, TypeError, ValueError, AttributeError):
        return None
