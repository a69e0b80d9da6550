"""From stored bytes to the wave of a sound, or a plain reason why not. Nothing is repaired, padded or guessed.

The format is sniffed from the content, never from the name, and only formats on the list are tried. What is there is
what can be decoded, whatever the header says. A file is read in blocks: never more than a few megabytes at a time.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from graft.data import _riff
from graft.data._image import not_one
from graft.data._quiet import quiet
from graft.errors import MissingExtra
from graft.types import Sound, UnreadableSample

Wave = NDArray[np.float32]
LOWEST, HIGHEST = 1_000, 768_000  # Hz
LOUDEST = 1e10  # full scale is 1, or 2**31 where integers were written as floats
MAX_CHANNELS = 64
MAX_BYTES = 4_000_000_000
SECONDS = 30.0  # of a block, at most
_VALUES = 1 << 21  # of a block in all its channels, at most
_LEAD = 10  # seconds: on the last page of Ogg Vorbis libvorbisfile finds a place up to 128 frames beside the right one
_ENDLESS = 1 << 60  # frames: what the decoder says where a header gives no length
_LOST = {"FLAC", "OGG", "MP3"}  # whose decoders believe the header; of the others they look at the size of the file
_FORMATS = {b"fLaC": "FLAC", b"OggS": "OGG", b".snd": "AU", b"dns.": "AU", b"caff": "CAF",
            b"riff\x2e\x91\xcf\x11": "W64"}  # fmt: skip
_CONTAINERS = {b"RIFFWAVE": "WAV", b"RIFXWAVE": "WAV", b"RF64WAVE": "WAV", b"FORMAIFF": "AIFF", b"FORMAIFC": "AIFF"}
_FOREIGN = {b"#!AMR": "an AMR file", b"\x30\x26\xb2\x75": "a WMA file", b"\x1a\x45\xdf\xa3": "a WebM or Matroska file",
            b"MThd": "a MIDI file: notes, not a recording", b"\x89PNG": "a PNG image", b"\xff\xd8\xff": "a JPEG image",
            b"GIF8": "a GIF image"}  # fmt: skip


class Header(NamedTuple):
    """What a file says of itself. `frames`: -1 where it does not say."""

    format: str  # WAV, FLAC, OGG, MP3, AIFF, AU, W64, CAF; "" of a sound that comes from no file
    coding: str  # PCM_16, FLOAT, VORBIS, ...
    rate: int
    channels: int
    frames: int


def opened(source: Path | bytes) -> Sound:
    """The header is read, and of formats that can lie, the last frame. Raises UnreadableSample with a short reason for
    what is no sound, has none in it, or has a rate or a number of channels that nobody means."""
    with _decoder(source) as (file, header):
        frames = file.frames
        whole = header.format not in _LOST or (frames < _ENDLESS and _has(file, frames - 1))
    if not whole:
        frames = sum(len(block) for _, block in blocks(source))
    if not frames:
        raise UnreadableSample("no sound in it (0 samples)")
    return Sound(header.rate, frames, header.channels, partial(_read, source, frames))


def blocks(source: Path | bytes) -> Iterator[tuple[Header, Wave]]:
    """The header with each block (n, channels), in order, as far as they can be decoded; NaN is in them as it is."""
    at, size = 0, None
    while size != 0:
        with _decoder(source) as (file, header):
            size = size or _size(header)
            try:
                file.seek(at)
                while len(block := file.read(size, dtype="float32", always_2d=True)):
                    at += len(block)
                    yield header, block
                return
            except (RuntimeError, ValueError):  # some of the block may be sound: smaller ones, up to the last frame
                size //= 8


def _read(source: Path | bytes, frames: int, start: int, stop: int) -> Wave:
    """The mean of all channels, (stop - start,), less where the sound ends before. Raises UnreadableSample."""
    out = np.zeros(max(0, min(stop, frames) - start), np.float32)
    if len(out):
        with _decoder(source) as (file, header):
            before = min(start, _LEAD * header.rate) if header.coding == "VORBIS" else 0
            _fill(out, file, start, before, _size(header))
    return out


def _fill(out: Wave, file: Any, start: int, before: int, step: int) -> None:
    """`before` frames are decoded, and not heard."""
    at = 0
    try:
        file.seek(start - before)
        file.read(before, dtype="float32")
        while at < len(out) and len(block := file.read(min(step, len(out) - at), dtype="float32", always_2d=True)):
            out[at : at + len(block)] = mono(block)
            at += len(block)
    except (RuntimeError, ValueError):
        at = 0
    if at < len(out):
        raise UnreadableSample("damaged sound data (it cannot be decoded to its end)")


def mono(block: Wave) -> Wave:
    """(n, channels) -> (n,), their mean. Raises UnreadableSample for NaN."""
    wave = block[:, 0] if block.shape[1] == 1 else block.mean(1, dtype=np.float32)
    loudest = float(np.abs(wave).max(initial=0.0)) if len(wave) else 0.0
    if not np.isfinite(loudest):
        raise UnreadableSample("samples are not finite (NaN or infinity)")
    if loudest > LOUDEST:
        raise UnreadableSample(f"samples up to {loudest:.0e} are no sound (the bytes of floats in another order?)")
    return wave


def _size(header: Header) -> int:
    return max(1, min(int(SECONDS * header.rate), _VALUES // header.channels))


def _has(file: Any, frame: int) -> bool:
    """Whether a frame can be decoded."""
    try:
        file.seek(max(0, frame))
        return len(file.read(1)) == 1
    except (RuntimeError, ValueError):
        return False


# ------------------------------------------------------------------------------------------------------------- opening


@contextmanager
def _decoder(source: Path | bytes) -> Iterator[tuple[Any, Header]]:
    """The open file of soundfile, and its header. Raises UnreadableSample."""
    library = _soundfile()
    with _stream(source) as stream:
        name = _format(stream)
        found = _riff.data(stream) if name == "WAV" else None
        still = quiet() if name == "MP3" else nullcontext()
        with still, _opened(library, _given(source, stream, found), name) as file:
            yield file, _checked(name, file, found)


def _soundfile() -> Any:
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: without the C library that it wraps
        raise MissingExtra("soundfile", "audio") from None
    return soundfile


@contextmanager
def _stream(source: Path | bytes) -> Iterator[BinaryIO]:
    """An open regular file, read to its end by nobody yet (a FIFO would hang, a device would never end)."""
    if isinstance(source, bytes):
        yield _riff.Bytes(source)
        return
    check_file(source)
    try:
        with source.open("rb", buffering=0) as stream:
            yield stream
    except OSError as error:
        raise UnreadableSample(f"cannot be opened ({error.strerror})") from None


def check_file(path: Path) -> None:
    """Raises UnreadableSample for what is no regular file, or too large."""
    try:
        if not path.is_file():
            raise UnreadableSample("not a regular file" if path.exists() else "the file does not exist")
        size = path.stat().st_size
    except OSError as error:
        raise UnreadableSample(f"cannot be opened ({error.strerror})") from None
    if size > MAX_BYTES:
        raise UnreadableSample(f"file too large ({size:,} bytes; the limit is {MAX_BYTES:,})")


def _given(source: Path | bytes, stream: BinaryIO, found: _riff.Data | None) -> Any:
    """What soundfile opens: a file by its number, for the suffix of a name is not to count."""
    corrected = found is not None and found.declared is not None and found.there > found.declared
    stream.seek(0)
    if found is not None and corrected:
        return _riff.Corrected(stream, found)
    return stream if isinstance(source, bytes) else stream.fileno()


def _opened(library: Any, given: Any, name: str) -> Any:
    try:
        return library.SoundFile(given, closefd=False)
    except (RuntimeError, ValueError, TypeError) as error:
        if getattr(error, "code", 0) in (4, 5):  # "unimplemented", "unsupported encoding"
            raise UnreadableSample(
                f"a coding that Graft does not read (in {name}; convert it to wav or flac)"
            ) from None
        raise UnreadableSample(f"damaged header (of {name})") from None


def _checked(name: str, file: Any, found: _riff.Data | None) -> Header:
    frames = -1 if file.frames >= _ENDLESS else file.frames
    if found is not None:
        frames = -1 if found.declared is None else round(frames * found.declared / max(1, found.there))
    if not LOWEST <= file.samplerate <= HIGHEST:
        why = f"a rate out of range ({file.samplerate:,} Hz; {LOWEST:,} to {HIGHEST:,} Hz are read)"
        raise UnreadableSample(why)
    if file.channels > MAX_CHANNELS:
        raise UnreadableSample(f"too many channels ({file.channels:,}; the limit is {MAX_CHANNELS})")
    return Header(name, file.subtype, file.samplerate, file.channels, frames)


# ------------------------------------------------------------------------------------------------------------ sniffing


def _format(stream: BinaryIO) -> str:
    """By the first bytes, behind the tags of a music player. Raises UnreadableSample."""
    head = stream.read(64)
    if not head:
        raise UnreadableSample("empty file (0 bytes)")
    while head[:3] == b"ID3" and len(head) >= 10:
        size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        stream.seek(size + 10 - len(head), io.SEEK_CUR)
        head = stream.read(64)
    known = _CONTAINERS.get(head[:4] + head[8:12]) or next((f for m, f in _FORMATS.items() if head.startswith(m)), "")
    if known or _is_mp3(head):
        return known or "MP3"
    raise UnreadableSample(_foreign(head))


def _is_mp3(head: bytes) -> bool:
    """The header of a frame of MPEG audio, layer II or III (ISO 11172-3, 2.4.1.3)."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    return version != 1 and layer in (1, 2) and head[2] >> 4 != 15 and head[2] >> 2 & 3 != 3


def _foreign(head: bytes) -> str:
    known = next((what for magic, what in _FOREIGN.items() if head.startswith(magic)), "")
    if head[4:8] == b"ftyp":
        known = "an M4A or MP4 file"
    elif not known and head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xF6 == 0xF0:
        known = "an AAC file"
    if not known:
        return not_one(head, "a sound")
    hint = "" if "image" in known or "MIDI" in known else "; convert it to wav or flac"
    return f"not a sound that Graft reads (it is {known}{hint})"
