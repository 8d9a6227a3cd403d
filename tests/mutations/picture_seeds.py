"""Small images in every format that is decoded, in the kinds that people have: what mutations begin with."""

from __future__ import annotations

import importlib
import io
import struct
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from sacvit_deploy.errors import ImageError
from sacvit_deploy.images.decode import load_image
from tests.data import record
from tests.hostile_files import ORIENTATION, bmp_rle

CPP_TESTS = Path(__file__).parents[2] / "cpp/tests"
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="8"/></x:xmpmeta>'
ODD = 60  # of the odd JPEGs and PNGs, which are thousands; those that are answered
SMALL = 5_000  # bytes


def seeds() -> dict[str, list[bytes]]:
    """Return the files by their format, the same ones in every run with the same Pillow."""
    with Image.open(record.TINY_IMAGES[0]) as picture:
        small = picture.convert("RGB").resize((48, 40))
    tiny = small.resize((20, 16))  # where pixels are stored one by one, so that changes meet what is around them, too
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {kind: [*_KINDS[kind](tiny if kind in ("BMP", "TIFF", "PPM") else small)] for kind in FORMATS}


def image_files() -> list[tuple[str, bytes]]:
    """Return them as a list: the format, the bytes."""
    return [(kind, raw) for kind, files in seeds().items() for raw in files]


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Encode an image as a file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(orientation: int = 6) -> Image.Exif:
    """Return an EXIF block that has an image turned."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[0x010F] = "maker"
    return exif


def deep(image: Image.Image) -> Image.Image:
    """Return 16-bit grey."""
    return Image.fromarray((np.asarray(image.convert("L")).astype(np.uint16) * 257) ^ 0x55)


def faded(image: Image.Image) -> Image.Image:
    """Return the image with an alpha channel that goes from left to right."""
    ramp = np.broadcast_to(np.linspace(0, 255, image.width).astype(np.uint8), (image.height, image.width))
    image = image.convert("RGBA")
    image.putalpha(Image.fromarray(np.ascontiguousarray(ramp)))
    return image


def few_colours(image: Image.Image, count: int = 16) -> Image.Image:
    """Return the image with a palette."""
    return image.quantize(count)


@cache
def odd(module: str, function: str) -> list[bytes]:
    """Return a few of the files that few programs write, which C++ is compared with Python on."""
    if str(CPP_TESTS) not in sys.path:
        sys.path.append(str(CPP_TESTS))  # scripts, no package
    made = getattr(importlib.import_module(module), function)(np.random.default_rng(0), 1)
    files = [raw for name, raw in made if len(raw) < SMALL and "lossless" not in name]
    return [raw for raw in files[:: len(files) // ODD] if whole(raw)]


def whole(raw: bytes) -> bool:
    """Whether a file is an image that is answered."""
    try:
        load_image(raw)
    except ImageError:
        return False
    return True


def _jpegs(small: Image.Image) -> Iterator[bytes]:
    for mode in ("RGB", "L", "CMYK"):
        for options in ({}, {"progressive": True}, {"optimize": True, "quality": 95}, {"restart_marker_rows": 1}):
            yield saved(small.convert(mode), "JPEG", **options)  # type: ignore[arg-type]
    for subsampling in (0, 1):
        yield saved(small, "JPEG", subsampling=subsampling, exif=turned(), comment=b"a comment")
    yield saved(small, "JPEG", xmp=XMP, icc_profile=bytes(200))
    yield saved(small, "JPEG", progressive=True, exif=turned(3))
    yield saved(small, "MPO", save_all=True, append_images=[small])
    yield from odd("odd_jpegs", "jpegs")


def _pngs(small: Image.Image) -> Iterator[bytes]:
    for image in (small, small.convert("L"), small.convert("1"), faded(small), faded(small).convert("LA"), deep(small)):
        yield saved(image, "PNG")
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Title", "words")
    texts.add_text("Long", "words " * 100, zip=True)
    texts.add_itxt("XML:com.adobe.xmp", XMP.decode(), zip=True)
    yield saved(small, "PNG", pnginfo=texts, icc_profile=bytes(200), dpi=(72, 72))
    yield saved(small, "PNG", exif=turned())
    yield saved(few_colours(small), "PNG", transparency=bytes([0, 90, 255]))
    yield saved(few_colours(small, 4), "PNG", bits=2)
    yield saved(small, "PNG", transparency=(0, 0, 0))
    yield saved(small, "PNG", save_all=True, append_images=[small.transpose(Image.Transpose.ROTATE_180)])
    yield from odd("odd_images", "pngs")


def _webps(small: Image.Image) -> Iterator[bytes]:
    for image in (small, faded(small)):
        yield saved(image, "WEBP", quality=60)
        yield saved(image, "WEBP", lossless=True)
        yield saved(image, "WEBP", exif=turned(), xmp=XMP, icc_profile=bytes(200))
        yield saved(image, "WEBP", save_all=True, append_images=[image.transpose(Image.Transpose.ROTATE_180)])


def _gifs(small: Image.Image) -> Iterator[bytes]:
    image = few_colours(small, 64)
    for options in ({}, {"interlace": 1}, {"interlace": 0, "transparency": 3}, {"comment": b"a comment"}):
        yield saved(image, "GIF", **options)  # type: ignore[arg-type]
    yield saved(small.convert("L"), "GIF")
    yield saved(few_colours(small, 2), "GIF")
    later = [few_colours(small.transpose(Image.Transpose.ROTATE_180)), few_colours(small.crop((0, 0, 9, 9)))]
    yield saved(image, "GIF", save_all=True, append_images=later, disposal=2, loop=0, transparency=0)


def _bmps(small: Image.Image) -> Iterator[bytes]:
    for image in (small, small.convert("L"), small.convert("1"), few_colours(small), faded(small)):
        yield saved(image, "BMP")
    yield bmp_rle((48, 40))
    for masks in ((0xF800, 0x7E0, 0x1F), (0x7C00, 0x3E0, 0x1F)):  # 16 bits a pixel
        head = struct.pack("<IiiHHIIiiII", 40, *small.size, 1, 16, 3, 0, 2835, 2835, 0, 0)
        body = struct.pack("<3I", *masks) + small.convert("L").tobytes() * 2
        yield b"BM" + struct.pack("<IHHI", 54 + len(body), 0, 0, 66) + head + body


def _tiffs(small: Image.Image) -> Iterator[bytes]:
    for compression in ("raw", "tiff_lzw", "tiff_deflate", "packbits", "jpeg"):
        yield saved(small, "TIFF", compression=compression)
        yield saved(small.convert("L"), "TIFF", compression=compression)
    for image in (faded(small), few_colours(small), small.convert("CMYK"), deep(small), faded(small).convert("LA")):
        yield saved(image, "TIFF", compression="raw")
        yield saved(image, "TIFF", compression="tiff_lzw", tiffinfo={274: 6, 278: 7})
    for compression in ("group3", "group4", "raw"):
        yield saved(small.convert("1"), "TIFF", compression=compression)
    yield saved(small.convert("F"), "TIFF")
    yield saved(small, "TIFF", save_all=True, append_images=[small], big_tiff=True)


def _ppms(small: Image.Image) -> Iterator[bytes]:
    for image in (small, small.convert("L"), small.convert("1"), deep(small)):
        yield saved(image, "PPM")
    tiny = small.resize((9, 7))
    bits = tiny.convert("1").convert("L").point(lambda value: value & 1)
    for magic, image, most in (("P3", tiny, "255"), ("P2", tiny.convert("L"), "255"), ("P1", bits, "")):
        yield f"{magic}\n# plain\n9 7\n{most}\n{' '.join(map(str, np.asarray(image).ravel()))}\n".encode()
    yield b"P6 9 7 1023\n" + np.asarray(tiny).astype(">u2").tobytes()


_KINDS = {"JPEG": _jpegs, "PNG": _pngs, "WEBP": _webps, "GIF": _gifs, "BMP": _bmps, "TIFF": _tiffs, "PPM": _ppms}
