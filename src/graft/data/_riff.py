"""Where the samples of a WAV file lie, whatever its header says: a recorder that was switched off writes a length of 0,
and a copy that was cut short promises more than there is."""

from __future__ import annotations

import io
import struct
from typing import BinaryIO, NamedTuple

_STREAMED = 0x7FFF_0000  # bytes; who writes to a pipe says so much, or more, and means that it does not know
_CHUNKS = 1000  # no file has more; one of empty chunks alone would take hours
_SLACK = 4096  # bytes after the samples that may be anything, such as the tags of a music player


class Data(NamedTuple):
    """The chunk of samples. `declared` is None where the header does not say how long it is."""

    at: int  # of its size, in bytes from the start of the file
    declared: int | None
    there: int


def data(file: BinaryIO) -> Data | None:
    """None for what is no RIFF file (such as RF64), and where no chunk of samples is found. Bytes, all of them."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if file.read(4) != b"RIFF":
        return None
    at = 12
    for _ in range(_CHUNKS):
        name, length = _chunk(file, at) or (b"", 0)
        if name in (b"data", b""):
            return _data(file, at + 4, length, size) if name else None
        at += 8 + length + length % 2
    return None


def _data(file: BinaryIO, at: int, declared: int, size: int) -> Data:
    """What follows the samples must be chunks again; else it is samples, too."""
    start = at + 4
    rest = size - start - declared
    if declared >= _STREAMED:
        return Data(at, None, min(declared, size - start))
    if (
        rest <= min(_SLACK, declared // 16)
        or _chunks(file, start + declared, size)
        or _chunks(file, start + declared + 1, size)
    ):
        return Data(at, declared, min(declared, size - start))
    return Data(at, declared, size - start)


def _chunks(file: BinaryIO, at: int, size: int) -> bool:
    for _ in range(_CHUNKS):
        found = _chunk(file, at) if size - at >= 8 else None
        if found is None:
            return at <= size + 1
        if not found[0].isascii() or not found[0].decode().isprintable():
            return False
        at += 8 + found[1] + found[1] % 2
    return False


def _chunk(file: BinaryIO, at: int) -> tuple[bytes, int] | None:
    """The name and the length of the chunk at a place."""
    file.seek(at)
    head = file.read(8)
    return struct.unpack("<4sI", head) if len(head) == 8 else None


class Corrected(io.RawIOBase):
    """A file as it is, but for the size of its samples: nothing of the user's is written."""

    def __init__(self, file: BinaryIO, found: Data) -> None:
        self._file, self._at = file, found.at
        self._size = struct.pack("<I", min(found.there, 0xFFFF_FFFE))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):  # before the start: the decoder sees that it is not where it wanted to be
            return self._file.tell()

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer, /) -> int:  # type: ignore[no-untyped-def]
        start = self._file.tell()
        found = self._file.read(len(buffer))
        buffer[: len(found)] = found
        for place, value in enumerate(self._size, self._at - start):
            if 0 <= place < len(found):
                buffer[place : place + 1] = bytes([value])
        return len(found)


class Bytes(io.BytesIO):
    """Bytes as a file that a decoder may seek in, even to places that are not there."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except (OSError, ValueError):
            return self.tell()
