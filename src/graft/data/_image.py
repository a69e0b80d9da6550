"""From stored bytes to an upright RGB picture, or a plain reason why not. Nothing is repaired, padded or guessed.

The format is sniffed from the content, never from the name, and only formats on the list are tried. What had to be
converted on the way is returned as notes, so that the audit can count it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from graft.types import UnreadableSample

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
MAX_PIXELS = 50_000_000
MAX_BYTES = 400_000_000  # 50 million pixels of 16-bit RGB, uncompressed, fit
_ORIENTATION = 0x0112
_FOREIGN = {
    b"%PDF": "a PDF", b"<svg": "an SVG drawing", b"<?xm": "XML", b"<!DO": "a web page", b"<htm": "a web page",
    b"PK\x03\x04": "a ZIP archive", b"8BPS": "a Photoshop file", b"\x1f\x8b": "a gzip archive",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
}  # fmt: skip


class Decoded(NamedTuple):
    """`image`: RGB, upright, loaded. `notes`: any of exif-rotated alpha grey 16-bit float palette cmyk animated."""

    image: Image.Image
    notes: tuple[str, ...] = ()
    about: Mapping[str, Any] = MappingProxyType({})  # of the file, before it was converted: as `about` says it


def decode(source: Path | bytes) -> Decoded:
    """Raises UnreadableSample with a short reason, whatever Pillow raised."""
    data = source if isinstance(source, bytes) else read_file(source)
    if not data:
        raise UnreadableSample("empty file (0 bytes)")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            return _upright_rgb(opened)
    except UnreadableSample:
        raise
    except UnidentifiedImageError:
        raise UnreadableSample(_foreign(data)) from None
    except Image.DecompressionBombError:
        raise UnreadableSample(f"too many pixels (the limit is {MAX_PIXELS:,})") from None
    except Exception as error:  # Pillow raises some dozen types for damaged files; each means the same to the user
        raise UnreadableSample(_reason(error)) from None


def read_file(path: Path) -> bytes:
    """All bytes of a regular file; raises UnreadableSample (a FIFO would hang, a device would never end)."""
    try:
        if not path.is_file():
            raise UnreadableSample("not a regular file" if path.exists() else "the file does not exist")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise UnreadableSample(f"file too large ({size:,} bytes; the limit is {MAX_BYTES:,})")
        return path.read_bytes()
    except OSError as error:
        raise UnreadableSample(f"cannot be opened ({error.strerror})") from None


def _upright_rgb(opened: Image.Image) -> Decoded:
    width, height = opened.size
    if width * height > MAX_PIXELS:  # the header is enough; not one pixel has been unpacked yet
        raise UnreadableSample(f"too many pixels ({width:,} x {height:,}; the limit is {MAX_PIXELS:,})")
    notes = ["16-bit"] if ";16" in str(getattr(opened, "tile", "")) else []  # Pillow keeps the high byte of RGB;16
    if opened.format != "MPO" and getattr(opened, "is_animated", False):
        notes.append("animated")
    said = about(opened)
    turned = _orientation(opened) not in (0, 1)  # before load: Pillow turns TIFF itself, and drops the tag
    opened.load()
    image, more = _rgb(opened)
    if turned:
        notes.append("exif-rotated")
    if turned and _orientation(opened) not in (0, 1):
        image = _turn(image, _orientation(opened))
    return Decoded(image, tuple(dict.fromkeys([*notes, *more])), said)


def about(image: Image.Image) -> dict[str, Any]:
    """Format ("" of a picture that comes from no file), mode, width and height in pixels."""
    return {"format": image.format or "", "mode": image.mode, "width": image.width, "height": image.height}


def _orientation(image: Image.Image) -> int:
    """1-8 as in EXIF, 0 when unknown; a damaged EXIF block does not make the pixels unreadable."""
    try:
        value = image.getexif().get(_ORIENTATION, 0)
    except Exception:
        return 0
    return value if isinstance(value, int) and 1 <= value <= 8 else 0


def _turn(image: Image.Image, orientation: int) -> Image.Image:
    tagged = image.copy()
    tagged.getexif()[_ORIENTATION] = orientation
    return ImageOps.exif_transpose(tagged)


def _rgb(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """Any mode -> RGB, with what that meant."""
    mode = image.mode
    if mode.startswith(("I", "F")):
        return _eight_bits(image).convert("RGB"), ["float" if mode == "F" else "16-bit", "grey"]
    notes = {"P": ["palette"], "PA": ["palette"], "L": ["grey"], "LA": ["grey"], "1": ["grey"], "CMYK": ["cmyk"]}
    found = notes.get(mode, [])
    if "A" in mode.upper().replace("LAB", "") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        if rgba.getchannel("A").getextrema() != (255, 255):
            white = Image.new("RGBA", rgba.size, "white")
            return Image.alpha_composite(white, rgba).convert("RGB"), [*found, "alpha"]
        return rgba.convert("RGB"), found
    return _as_rgb(image), found


def _as_rgb(image: Image.Image) -> Image.Image:
    """A JPEG lets go of its file when its pixels are there, and needs no copy; others may hold all their bytes."""
    if image.mode != "RGB":
        return image.convert("RGB")
    return image if image.format == "JPEG" else image.copy()


def _eight_bits(image: Image.Image) -> Image.Image:
    """Deep grey -> 8 bits. By the range of the type, so that equal values stay equal across files, where it is known:
    16-bit counts /257; floats in 0..1 x255, in 0..255 as they are. Only other ranges are stretched per image."""
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise UnreadableSample("pixels are not finite (NaN or infinity)")
    low, high = float(values.min()), float(values.max())
    if image.mode == "F" and low >= 0 and high <= 255:
        scaled = values * (255 if high <= 1 else 1)
    elif image.mode != "F" and low >= 0 and high <= 65535:
        scaled = values / 257
    else:
        scaled = (values - low) * (255 / max(high - low, 1e-12))
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


def _foreign(data: bytes) -> str:
    if b"ftyp" in data[:12]:
        return f"not an image that Graft reads (a {data[8:12].decode('latin-1')} file; convert it to JPEG or PNG)"
    return not_one(data, "an image")


def not_one(data: bytes, noun: str) -> str:
    """Why bytes are not what they should be, by their first ones."""
    for magic, what in _FOREIGN.items():
        if data.lstrip()[: len(magic)] == magic:
            return f"not {noun} (it is {what})"
    start = data[:16]
    shown = repr(start.decode("ascii", "replace")) if start.isascii() else "bytes " + start[:8].hex(" ")
    return f"not {noun} (starts with {shown})"


def _reason(error: Exception) -> str:
    text = str(error).strip().rstrip(".") or type(error).__name__
    known: dict[str, Any] = {
        "truncated": "truncated image", "Truncated": "truncated image", "broken data stream": "damaged image data",
        "too large": "damaged or hostile metadata", "unrecognized data": "damaged image data",
    }  # fmt: skip
    short = next((plain for sign, plain in known.items() if sign in text), "damaged image")
    return f"{short} ({text[:120]})"
