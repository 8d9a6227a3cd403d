"""What decoding an image takes in memory at its peak, estimated from its header alone.

The factors are from measurements (`python -m tests.hostile_images` prints them anew), rounded up.
"""

from __future__ import annotations

import contextlib
import struct
from typing import Any

from PIL import Image

from sacvit_deploy.images.strips import ORIENTATION, STRIP, TURNS

MB = 1 << 20
SLACK = 8 * MB  # rows, tables, what the allocator leaves between blocks
PNG_TEXT = 64 * MB  # Pillow's own limit for unpacked texts, which may come after the pixels
CONVERTED = 28  # bytes for a pixel of the strip that is turned and made RGB
LINES = 2048, 65_536  # bytes for a pixel of the longer side, all its lines resized to the model's width; longest side
ISOBMFF = 28  # bytes for a pixel: frames of 10 bits at 4:4:4 with alpha, 16-bit RGBA, and Pillow's copy of it
WEBP = 18  # bytes for a pixel: libwebp's canvases and frame buffers, and Pillow's copies of them


def estimate(image: Image.Image, size: tuple[int, int], data: bytes, *, whole: bool) -> int:
    """Return the most bytes that decoding, turning, converting and resizing an image takes, with its file's `data`.

    image: opened; pixels that it has already are its owner's. size: width and height of the whole image, where `image`
    is to be decoded at a fraction. whole: all of it is made RGB at once.
    """
    pixels = image.width * image.height
    total = converting(size, image.size) + len(data)
    if whole and not _is_plain(image):
        total += stored(image.size, 4)
    if image.format == "WEBP":
        return total + WEBP * pixels
    if image.format in ("AVIF", "HEIF"):
        return total + ISOBMFF * pixels
    tiles = getattr(image, "tile", None)
    if not tiles:
        return total
    native = stored(image.size, native_bytes(image.mode))
    total += native
    if image.format in ("JPEG", "MPO"):
        return total + _coefficients(image, size, data)
    if image.format == "PNG":
        return total + PNG_TEXT
    if image.format == "GIF":
        return total + 3 * pixels  # the frame, and the screen that it is put on
    if image.format == "TIFF":
        return total + _tiff(image, native)
    codec = tiles[0][0]
    if codec in ("bmp_rle", "ppm", "ppm_plain"):  # Python code with two copies of the values
        return total + 3 * native + (96 * MB if codec == "ppm_plain" else 0)
    return total


def estimate_webp(size: tuple[int, int], data: bytes, *, whole: bool) -> int:
    """Return `estimate` for a WebP of (width, height), for which it must not be opened."""
    pixels = size[0] * size[1]
    return len(data) + SLACK + max(WEBP * pixels, 4 * pixels + converting(size, size) + whole * 4 * pixels)


def converting(size: tuple[int, int], decoded: tuple[int, int]) -> int:
    """Return the bytes that turning, converting and resizing takes for an image of (width, height), in strips."""
    return SLACK + CONVERTED * min(decoded[0] * decoded[1], STRIP) + LINES[0] * min(max(size), LINES[1])


def _is_plain(image: Image.Image) -> bool:
    turned = False
    # A PNG without a block in front of its pixels would be decoded for one behind them, and its damage suppressed.
    if image.format != "PNG" or "exif" in image.info:
        with contextlib.suppress(Exception):
            turned = image.getexif().get(ORIENTATION) in TURNS
    return image.mode == "RGB" and "transparency" not in image.info and not turned


def native_bytes(mode: str) -> int:
    """Return the bytes of a pixel in Pillow's memory."""
    return 1 if mode in ("1", "L", "P") else 2 if mode.startswith("I;16") else 4


def stored(size: tuple[int, int], each: int) -> int:
    """Return the bytes of (width, height) pixels of `each` bytes in Pillow: lines of whole words, a pointer to each."""
    return size[1] * (-(-size[0] * each // 4) * 4 + 8)


def _coefficients(image: Any, size: tuple[int, int], data: bytes) -> int:
    """Return the bytes of a JPEG's coefficients, all of which are kept where its components come in several scans."""
    layers: int = image.layers
    if not image.info.get("progressive") and (not data or _first_scan(data) >= layers):
        return 0
    blocks: list[tuple[int, int]] = [(across, down) for _, across, down, _ in image.layer]
    most = max(across for across, _ in blocks) * max(down for _, down in blocks)
    padded = (size[0] + 32) * (size[1] + 32)  # to whole blocks of up to 4x8 pixels
    return 2 * padded * sum(across * down for across, down in blocks) // max(1, most)


def _first_scan(data: bytes) -> int:
    """Return the number of components in a JPEG's first scan; 0 if there is none before the data's end."""
    at = 2
    while at + 5 <= len(data):
        if data[at] != 0xFF or data[at + 1] in (0x00, 0xFF) or 0xD0 <= data[at + 1] <= 0xD9 or data[at + 1] == 0x01:
            at += 1
        elif data[at + 1] == 0xDA:
            return data[at + 4]
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return 0


def _tiff(image: Any, native: int) -> int:
    """Return the bytes of a TIFF's largest strip or tile, twice, and of the copy that Pillow turns upright."""
    tags = image.tag_v2
    width, height = _tag(tags, 256, image.width), _tag(tags, 257, image.height)
    across, down = _tag(tags, 322, width), _tag(tags, 323, min(height, _tag(tags, 278, height)))
    bits = max(8, _tag(tags, 258, 1)) * _tag(tags, 277, 1)
    block = across * down * max(4, -(-bits // 8))
    return 2 * block + (native if tags.get(ORIENTATION) in TURNS else 0)


def _tag(tags: Any, number: int, default: int) -> int:
    """Return a TIFF tag's largest value."""
    value = tags.get(number, default)
    return max((int(item) for item in value), default=default) if isinstance(value, tuple) else int(value)


def webp_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height from a WebP's header, None for other files: Pillow sets memory aside in opening it."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return None
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<HH", data[26:30])
    return width & 0x3FFF, height & 0x3FFF
