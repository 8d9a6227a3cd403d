"""Small files that take much memory: how each kind is made, in any size. `tests/hostile_images.py` measures them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from PIL import Image

ORIENTATION = 0x0112
# An interlaced PNG's passes: the first column and row, and the steps to the next ones.
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
ALPHAS = bytes([255, 0, 7, 9])  # of a palette's first colours


def encoded(mode: str, size: tuple[int, int], kind: str, **options: Any) -> bytes:
    """Encode an image of one colour."""
    colour: Any = {"1": 1, "L": 90, "P": 3, "I;16": 30_000, "I": 30_000, "LA": (90, 120)}.get(mode)
    colour = (200, 30, 90, 120)[: len(mode)] if colour is None else colour
    image = Image.new(mode, size, colour)
    if mode == "P":
        image.putpalette(bytes(range(256)) * 3)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    """Return a PNG's chunk."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(size: tuple[int, int], bits: int, colour: int, channels: int, *, interlaced: bool = False) -> bytes:
    """Write an all-zero PNG of any bit depth and colour type, row by row."""
    line = bytes(1 + -(-size[0] * channels * bits // 8))
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(line) for _ in range(size[1])) + packer.flush()
    header = struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, int(interlaced))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def interlaced_png(size: tuple[int, int]) -> bytes:
    """Write an all-zero interlaced RGBA PNG."""
    packer = zlib.compressobj(9)
    parts = []
    for left, top, across, down in ADAM7:
        line = bytes(1 + 4 * (-(-(size[0] - left) // across)))
        parts += [packer.compress(line) for _ in range(-(-(size[1] - top) // down))]
    header = struct.pack(">IIBBBBB", *size, 8, 6, 0, 0, 1)
    body = b"".join(parts) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def png_with_texts(size: tuple[int, int]) -> bytes:
    """Write a PNG with 60 MB of compressed texts before its end."""
    plain = png(size, 8, 2, 3)
    packed = zlib.compress(b"x" * 1_000_000, 9)
    return plain[:-12] + b"".join(chunk(b"zTXt", b"%d\0\0" % at + packed) for at in range(60)) + plain[-12:]


def bmp_rle(size: tuple[int, int]) -> bytes:
    """Write a BMP whose run-length code skips nearly all of its pixels."""
    head = struct.pack("<IiiHHIIiiII", 40, *size, 1, 8, 1, 0, 2835, 2835, 256, 0)
    skip = b"\0\2\0\xff" * (size[1] // 255) + b"\0\2\0" + bytes([size[1] % 255]) + b"\0\1"
    return b"BM" + struct.pack("<IHHI", 54 + 1024 + len(skip), 0, 0, 54 + 1024) + head + bytes(1024) + skip


def bmp_announced(size: tuple[int, int]) -> bytes:
    """Write a BMP of 8x8 pixels whose header has the size given."""
    data = encoded("RGB", (8, 8), "BMP")
    return data[:18] + struct.pack("<ii", *size) + data[26:]


def webp_animated(size: tuple[int, int]) -> bytes:
    """Write a WebP of two frames."""
    return encoded("RGBA", size, "WEBP", save_all=True, append_images=[Image.new("RGBA", size)])


def tiff(mode: str, size: tuple[int, int], compression: str = "tiff_deflate", **tags: int) -> bytes:
    """Write a TIFF; tags: more of them, by `t` and their number."""
    return encoded(mode, size, "TIFF", compression=compression, tiffinfo={int(tag[1:]): tags[tag] for tag in tags})


def tiff_tile(size: tuple[int, int]) -> bytes:
    """Write a TIFF of 64x64 pixels in one tile of the size given."""
    body = zlib.compress(bytes(size[0] * size[1] * 3), 9)
    tags = [
        (256, 4, 64), (257, 4, 64), (259, 3, 8), (262, 3, 2), (277, 3, 3), (284, 3, 1),
        (322, 4, size[0]), (323, 4, size[1]), (324, 4, 8), (325, 4, len(body)),
    ]  # fmt: skip
    at = 8 + len(body) + len(body) % 2
    bits = at + 2 + 12 * (len(tags) + 1) + 4
    entries = [struct.pack("<HHII", *tag[:2], 1, tag[2]) for tag in tags]
    entries = [*entries[:2], struct.pack("<HHII", 258, 3, 3, bits), *entries[2:]]  # in the order of their numbers
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4) + struct.pack("<HHH", 8, 8, 8)
    return b"II*\0" + struct.pack("<I", at) + body + bytes(len(body) % 2) + directory


def turned(mode: str, size: tuple[int, int], kind: str, orientation: int = 6, **options: Any) -> bytes:
    """Encode an image that is to be turned."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encoded(mode, size, kind, exif=exif, **options)


# Name, megapixels (the most that the file's size or the limits allow), and how such a file is made.
CASES: list[tuple[str, float, Callable[[tuple[int, int]], bytes]]] = [
    ("JPEG", 5, lambda size: encoded("RGB", size, "JPEG", optimize=True)),
    ("JPEG, turned", 5, lambda size: turned("RGB", size, "JPEG", optimize=True)),
    ("JPEG, grey", 10, lambda size: encoded("L", size, "JPEG", optimize=True)),
    ("JPEG, CMYK", 4, lambda size: encoded("CMYK", size, "JPEG", optimize=True)),
    ("JPEG, progressive 4:2:0", 16, lambda size: encoded("RGB", size, "JPEG", progressive=True)),
    ("JPEG, progressive 4:4:4", 8, lambda size: encoded("RGB", size, "JPEG", progressive=True, subsampling=0)),
    ("JPEG, progressive CMYK", 4, lambda size: encoded("CMYK", size, "JPEG", progressive=True)),
    ("PNG, 1 bit", 110, lambda size: png(size, 1, 0, 1)),
    ("PNG, grey", 95, lambda size: png(size, 8, 0, 1)),
    ("PNG, 16-bit grey", 48, lambda size: png(size, 16, 0, 1)),
    ("PNG, grey and alpha", 48, lambda size: png(size, 8, 4, 2)),
    ("PNG, 16-bit grey and alpha", 24, lambda size: png(size, 16, 4, 2)),
    ("PNG, palette", 75, lambda size: encoded("P", size, "PNG", compress_level=9)),
    ("PNG, transparent palette", 75, lambda size: encoded("P", size, "PNG", compress_level=9, transparency=ALPHAS)),
    ("PNG, RGB", 32, lambda size: png(size, 8, 2, 3)),
    ("PNG, 16-bit RGB", 16, lambda size: png(size, 16, 2, 3)),
    ("PNG, RGBA", 24, lambda size: png(size, 8, 6, 4)),
    ("PNG, RGBA, turned", 18, lambda size: turned("RGBA", size, "PNG", compress_level=9)),
    ("PNG, 16-bit RGBA", 12, lambda size: png(size, 16, 6, 4)),
    ("PNG, interlaced RGBA", 23, interlaced_png),
    ("PNG, texts", 8, png_with_texts),
    ("WebP", 26, lambda size: encoded("RGB", size, "WEBP")),
    ("WebP, too large", 100, lambda size: encoded("RGB", size, "WEBP", lossless=True)),
    ("WebP, lossless", 26, lambda size: encoded("RGB", size, "WEBP", lossless=True)),
    ("WebP, alpha", 26, lambda size: encoded("RGBA", size, "WEBP")),
    ("WebP, animated", 20, webp_animated),
    ("GIF", 90, lambda size: encoded("P", size, "GIF")),
    ("GIF, transparent", 90, lambda size: encoded("P", size, "GIF", transparency=3)),
    ("TIFF, 1 bit", 110, lambda size: tiff("1", size, "group4")),
    ("TIFF, one strip", 23, lambda size: tiff("RGBA", size, t278=size[1])),
    ("TIFF, RGBA, turned", 14, lambda size: tiff("RGBA", size, t274=6)),
    ("TIFF, 16-bit grey", 28, lambda size: tiff("I;16", size)),
    ("TIFF, LZW CMYK", 1.5, lambda size: tiff("CMYK", size, "tiff_lzw")),
    ("TIFF, palette", 60, lambda size: tiff("P", size)),
    ("TIFF, JPEG inside", 2.5, lambda size: tiff("RGB", size, "jpeg")),
    ("TIFF, one huge tile", 32, tiff_tile),
    ("BMP, run lengths", 60, bmp_rle),
    ("BMP, announced only", 100, bmp_announced),
    ("PPM, announced only", 100, lambda size: b"P6 %d %d 255\n" % size + bytes(64)),
    ("PGM, 12 bit, announced only", 30, lambda size: b"P5 %d %d 4095\n" % size + bytes(64)),
    ("PPM, plain, announced only", 20, lambda size: b"P3 %d %d 255\n" % size + b"7 " * 40_000),
]


def files(scale: float = 1.0, begin: str = "") -> Iterator[tuple[str, tuple[int, int], bytes]]:
    """Yield name, size and bytes of each hostile file whose name begins so.

    Sides are in the ratio of 4 to 3, divided by `scale`.
    """
    for name, megapixels, make in CASES:
        if name.startswith(begin):
            height = round((megapixels * 1e6 * 3 / 4) ** 0.5 / scale)
            size = min(height * 4 // 3, 16_383), height
            yield name, size, make(size)
