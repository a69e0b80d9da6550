"""Decoding: every legal oddity becomes upright RGB, everything else a reason; nothing is repaired."""

import io
import os
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from graft.data._image import MAX_PIXELS, decode
from graft.types import UnreadableSample


def photo(size=(40, 30), seed=0):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 255, (5, 7, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)


def encoded(image, format="PNG", **options):
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def pixels(image):
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_every_format_on_the_list_is_read_whatever_the_name(format, tmp_path):
    path = tmp_path / "picture.txt"
    path.write_bytes(encoded(photo(), format))
    image = decode(path).image
    assert image.mode == "RGB" and image.size == (40, 30)
    assert abs(pixels(image) - pixels(photo())).mean() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_rotation_is_applied_once(orientation, format):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if format == "JPEG" else {"lossless": True} if format == "WEBP" else {}
    found = decode(encoded(photo(), format, exif=exif, **options))
    plain = photo()
    plain.getexif()[0x0112] = orientation
    expected = ImageOps.exif_transpose(plain)
    assert found.image.size == expected.size
    assert abs(pixels(found.image) - pixels(expected)).mean() < 2
    assert ("exif-rotated" in found.notes) == (orientation != 1)


def test_alpha_is_laid_on_white():
    rgba = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    rgba.putpixel((1, 1), (200, 0, 0, 255))
    rgba.putpixel((2, 2), (0, 0, 0, 128))
    found = decode(encoded(rgba))
    assert found.notes == ("alpha",)
    assert found.image.getpixel((0, 0)) == (255, 255, 255) and found.image.getpixel((1, 1)) == (200, 0, 0)
    assert abs(found.image.getpixel((2, 2))[0] - 127) <= 1


def test_opaque_alpha_changes_nothing():
    found = decode(encoded(photo().convert("RGBA")))
    assert found.notes == () and (pixels(found.image) == pixels(photo())).all()


def test_palette_with_transparency():
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 1), 1)
    found = decode(encoded(image, transparency=0))
    assert set(found.notes) == {"palette", "alpha"}
    assert found.image.getpixel((0, 0)) == (255, 255, 255) and found.image.getpixel((1, 1)) == (200, 100, 50)


def test_grey_with_a_transparent_level():
    found = decode(encoded(Image.new("L", (2, 2), 7), transparency=7))
    assert found.image.getpixel((0, 0)) == (255, 255, 255) and set(found.notes) == {"grey", "alpha"}


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_grey_becomes_three_equal_channels(mode):
    found = decode(encoded(photo().convert(mode)))
    grey = pixels(found.image)
    assert "grey" in found.notes and (grey[..., 0] == grey[..., 1]).all() and (grey[..., 1] == grey[..., 2]).all()


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_by_the_range_of_the_type(format):
    values = np.array([[0, 257, 25700, 65535]], np.uint16)
    found = decode(encoded(Image.fromarray(values), format))
    assert pixels(found.image)[0, :, 0].tolist() == [0, 1, 100, 255] and "16-bit" in found.notes


def test_floats_are_scaled_and_not_wrapped():
    unit = decode(encoded(Image.fromarray(np.array([[0, 0.5, 1]], np.float32)), "TIFF"))
    assert pixels(unit.image)[0, :, 0].tolist() == [0, 128, 255] and "float" in unit.notes
    wide = decode(encoded(Image.fromarray(np.array([[-1000, 0, 1000]], np.float32)), "TIFF"))
    assert pixels(wide.image)[0, :, 0].tolist() == [0, 128, 255]
    with pytest.raises(UnreadableSample, match="not finite"):
        decode(encoded(Image.fromarray(np.array([[np.nan, 1]], np.float32)), "TIFF"))


def test_sixteen_bit_colour_is_noted():
    rows = b"".join(b"\0" + struct.pack(">3H", 65535, 32768, 0) * 2 for _ in range(2))
    found = decode(png(2, 2, rows, depth=16))
    assert found.image.getpixel((0, 0)) == (255, 128, 0) and "16-bit" in found.notes


def test_cmyk_and_animated():
    assert decode(encoded(photo().convert("CMYK"), "JPEG")).notes == ("cmyk",)
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    found = decode(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert "animated" in found.notes and found.image.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("size", [(1, 1), (1, 20000), (20000, 1)])
def test_odd_shapes_are_legal(size):
    assert decode(encoded(Image.new("RGB", size))).image.size == size


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "empty file (0 bytes)"),
        (b"hello world", "starts with 'hello world'"),
        (b"%PDF-1.7 and so on", "a PDF"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heic"),
        (bytes(range(128, 200)), "starts with bytes 80 81"),
        (b"\x89PNG\r\n\x1a\n", "not an image"),
    ],
)
def test_what_is_no_image_gets_a_plain_reason(data, reason):
    with pytest.raises(UnreadableSample) as caught:
        decode(data)
    assert reason in str(caught.value)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "PPM", "WEBP", "TIFF"])
def test_truncated_files_are_not_padded(format):
    data = encoded(photo((200, 150)), format)
    with pytest.raises(UnreadableSample):
        decode(data[: len(data) // 2])


def test_bombs_are_refused_before_a_pixel_is_unpacked():
    side = 9000
    assert side * side > MAX_PIXELS
    with pytest.raises(UnreadableSample, match="too many pixels"):
        decode(png(side, side, b"\0"))
    with pytest.raises(UnreadableSample, match="too many pixels"):
        decode(png(60000, 60000, b"\0"))
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "A" * 80_000_000, zip=True)
    with pytest.raises(UnreadableSample, match="metadata"):
        decode(encoded(Image.new("RGB", (4, 4)), pnginfo=info))


def test_500_damaged_files_give_an_image_or_a_reason(tmp_path):
    rng = random.Random(0)
    originals = [encoded(photo((48, 36), i), f) for i, f in enumerate(["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])]
    refused = 0
    for i in range(500):
        data = bytearray(originals[i % len(originals)])
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        kept = bytes(data[: rng.randint(0, len(data))] if rng.random() < 0.4 else data)
        try:
            assert decode(kept).image.mode == "RGB"
        except UnreadableSample as reason:
            refused += 1
            assert 3 < len(str(reason)) < 250
    assert refused > 150


def test_pipes_and_missing_files_do_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("pipe.png", "none.png", ""):
        with pytest.raises(UnreadableSample):
            decode(tmp_path / name)


def png(width, height, rows, depth=8):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">2I5B", width, height, depth, 2, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)
