"""JPEGs that few programs write: for compare_decode.py, which asks both runtimes for each."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

import numpy as np
from odd_images import EXIF, XMP
from PIL import Image

ADOBE = b"Adobe\0\x64\0\0\0\0"


def segment(marker: int, data: bytes) -> bytes:
    """Make one segment."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def lossless(rng: np.random.Generator) -> bytes:
    """Write a lossless grey JPEG: each value is coded as its difference to its left neighbour's."""
    width, height = (int(v) for v in rng.integers(8, 20, 2))
    values = rng.integers(100, 140, (height, width))
    bits = ""
    for y in range(height):
        for x in range(width):
            before = int(values[y, x - 1]) if x else int(values[y - 1, 0]) if y else 128
            difference = int(values[y, x]) - before
            size = abs(difference).bit_length()
            # Sizes 0 to 8 have codes of four bits, which are the sizes themselves.
            bits += f"{size:04b}" + (
                f"{difference if difference > 0 else difference + (1 << size) - 1:0{size}b}" if size else ""
            )
    bits += "1" * (-len(bits) % 8)
    body = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    return (
        b"\xff\xd8"
        + segment(0xC3, struct.pack(">BHHBBBB", 8, height, width, 1, 1, 0x11, 0))
        + segment(0xC4, bytes([0, 0, 0, 0, 9, *[0] * 12]) + bytes(range(9)))
        + segment(0xDA, bytes([1, 1, 0, 1, 0, 0]))
        + body
        + b"\xff\xd9"
    )


def jpeg(rng: np.random.Generator, mode: str, **options: int | bool) -> bytes:
    """Encode noise."""
    width, height = (int(v) for v in rng.integers(1, 50, 2))
    shape = (height, width, len(mode)) if len(mode) > 1 else (height, width)
    buffer = io.BytesIO()
    noise = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8), mode if mode == "CMYK" else None)
    noise.save(buffer, "JPEG", **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def jpegs(rng: np.random.Generator, rounds: int) -> Iterator[tuple[str, bytes]]:
    """Give JPEGs with odd headers, and with odd segments behind the first bytes: a name, the bytes."""
    exif, xmp = b"Exif\0\0" + EXIF, b"http://ns.adobe.com/xap/1.0/\0" + XMP
    segments = [
        *(segment(0xEE, ADOBE + bytes([transform])) for transform in range(4)),
        *(
            segment(0xE1, data)
            for data in (exif, exif[:-9], b"Exif\0\0", b"Exif\0\0" * 2 + EXIF, b"Exif\0\0" * 3 + EXIF, xmp)
        ),
        segment(0xE1, exif[:16]) + segment(0xE1, b"Exif\0\0" + exif[16:]),
        segment(0xE1, xmp) + segment(0xE1, xmp.replace(b"8", b"3")),
        segment(0xE1, exif.replace(b"\x06", b"\x01")) + segment(0xE1, xmp),
        segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"),
        *(segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(size)) for size in (0, 100, 60_000)),
        segment(0xE2, b"MPF\0" + bytes(20)),
        segment(0xED, b"Photoshop 3.0\x008BIM"),
        *(segment(0xFE, bytes(size)) for size in (0, 5, 60_000)),
        segment(0xDD, b"\0\1"),
        segment(0xDD, b"\0"),
        segment(0xDC, b"\0\5"),
        *(segment(marker, bytes(8)) for marker in (0xE7, 0xF0, 0xBF, 0x02, 0xDE, 0xDF, 0xCC)),
        b"\xff" * 9,
        b"\0\0\0",
        b"\xff\xd0",
        b"\xff\xd8",
        b"\xff\xe1\0\0",
        b"\xff\xe1\0\1",
        b"\xff\xfe\xff\xff",
    ]
    for _ in range(rounds):
        yield "lossless jpeg", lossless(rng)
        for odd in segments:
            for mode in ("L", "RGB", "CMYK"):
                raw = jpeg(rng, mode)
                yield f"odd jpeg {mode} with {odd[:12]!r}", raw[:2] + odd + raw[2:]
                at = raw.index(b"\xff\xda")
                yield f"odd jpeg {mode} with {odd[:12]!r} before the scan", raw[:at] + odd + raw[at:]
        for mode in ("L", "RGB", "CMYK"):
            for progressive in (False, True):
                raw = jpeg(rng, mode, progressive=progressive, subsampling=0)
                at = raw.index(b"\xff\xc2" if progressive else b"\xff\xc0")
                for marker in range(0xC0, 0xD0):
                    yield f"odd jpeg {mode} {marker:#x}", raw[: at + 1] + bytes([marker]) + raw[at + 2 :]
                for offset in range(4, 4 + 6 + 3 * len(mode)):
                    for value in (0, 1, 2, 3, 8, 12, 16, 0x12, 0x14, 0x21, 0x22, 0x41, 0x44, 0x51, 255):
                        changed = raw[: at + offset] + bytes([value]) + raw[at + offset + 1 :]
                        yield f"odd jpeg {mode}, byte {offset} of the header is {value}", changed
                yield f"odd jpeg {mode}, more behind", raw + b"more"
                yield f"odd jpeg {mode}, two images", raw + raw
                yield f"odd jpeg {mode}, without an end", raw[:-2]
                for tables in (b"", raw[2:at], segment(0xFE, b"words"), b"between"):
                    yield f"odd jpeg {mode}, behind one without pixels", raw[:2] + tables + b"\xff\xd9" + raw
                for marker in range(0xC0, 0xD0):
                    for rest in (b"\xff\0", raw[at + 2 :]):
                        second = bytes([0xFF, marker]) + rest
                        yield f"odd jpeg {mode}, {marker:#x} behind the last row", raw[:-2] + second + b"\xff\xd9"
