"""Damaged, oversized and hostile image files: every one is refused with an ImageError that names it."""

from __future__ import annotations

import io
import resource
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from sacvit_deploy.errors import ImageError
from sacvit_deploy.images import reading
from sacvit_deploy.images.budget import limits
from sacvit_deploy.images.decode import load_image

from .making import chunk, colours, encode

# Pillow warns of what these files are made to have.
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:PIL"),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]


# --- damage


def test_a_png_of_damaged_pixels_is_refused() -> None:
    raw = encode(Image.fromarray(np.random.default_rng(5).integers(0, 256, (64, 64, 3), dtype=np.uint8)), "PNG")
    for at in range(raw.index(b"IDAT") + 4, len(raw) // 2, 500):
        with pytest.raises(ImageError, match="is damaged or truncated"):
            load_image(raw[:at] + bytes(40) + raw[at + 40 :])


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {}), ("PNG", {}), ("BMP", {}), ("WEBP", {}), ("GIF", {})])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_truncated_files_are_refused(kind: str, options: dict[str, Any], share: float) -> None:
    noise = np.random.default_rng(5).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    raw = encode(Image.fromarray(noise), kind, **options)
    with pytest.raises(ImageError, match=r"damaged or truncated|not an image"):
        load_image(raw[: int(share * len(raw))])


def test_truncated_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "half.jpg"
    raw = encode(Image.fromarray(colours(200, 200)), "JPEG")
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(ImageError, match=r"half\.jpg is damaged or truncated"):
        load_image(path)


def test_truncated_pil_image_is_an_image_error() -> None:
    raw = encode(Image.fromarray(colours(200, 200)), "JPEG")
    with pytest.raises(ImageError, match="damaged or truncated"):
        load_image(Image.open(io.BytesIO(raw[: len(raw) // 2])))


def test_closed_pil_image_is_an_image_error(tmp_path: Path) -> None:
    Image.fromarray(colours()).save(tmp_path / "a.png")
    image = Image.open(tmp_path / "a.png")
    image.close()
    with pytest.raises(ImageError):
        load_image(image)


def test_host_setting_that_hides_damage_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = encode(Image.fromarray(colours(200, 200)), "JPEG")
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(ImageError, match="LOAD_TRUNCATED_IMAGES"):
        load_image(raw[: len(raw) // 2])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_flipped_bytes_give_an_image_or_an_image_error(kind: str) -> None:
    raw = encode(Image.fromarray(colours(40, 40)), kind)
    rng = np.random.default_rng(1)
    for _ in range(60):
        damaged = bytearray(raw)
        for at in rng.integers(0, len(raw), 3):
            damaged[at] ^= int(rng.integers(1, 256))
        try:
            image = load_image(bytes(damaged))
        except ImageError as error:
            assert "\n" not in str(error)
        else:
            assert image.mode == "RGB"


@pytest.mark.parametrize("content", [b"just some text\n", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"\0" * 100, b"GIF89a"])
def test_no_image_at_all(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "text.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"text\.jpg"):
        load_image(path)


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.png"
    path.touch()
    with pytest.raises(ImageError, match=r"empty\.png is empty"):
        load_image(path)
    with pytest.raises(ImageError, match="is empty"):
        load_image(b"")


def test_paths_that_are_no_readable_file(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(b"x")
    cases = {
        tmp_path: "can't read",  # a folder
        tmp_path / "none.jpg": "does not exist",
        plain / "under.jpg": "can't read",  # below a file: unreadable even for root
        tmp_path / ("n" * 300 + ".jpg"): "can't read",
    }
    for path, message in cases.items():
        for source in (path, str(path)):
            with pytest.raises(ImageError, match=message):
                load_image(source)
    with pytest.raises(ImageError):
        load_image("nul\0byte.jpg")


def test_postscript_is_refused_without_starting_ghostscript(tmp_path: Path) -> None:
    path = tmp_path / "drawing.eps"
    Image.fromarray(colours()).save(path)
    for source in (path, path.read_bytes()):
        with pytest.raises(ImageError, match="supported format"):
            load_image(source)


# --- size limits


def announced(kind: str, width: int, height: int) -> bytes:
    """A small file whose header announces an image of this size."""
    if kind == "PNG":
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64))
    if kind == "BMP":
        header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 2835, 2835, 0, 0)
        return b"BM" + struct.pack("<IHHI", 118, 0, 0, 54) + header + b"\0" * 64
    if kind == "GIF":
        screen, frame = struct.pack("<HHBBB", width, height, 0x80, 0, 0), struct.pack("<HHHHB", 0, 0, width, height, 0)
        return b"GIF89a" + screen + b"\0" * 6 + b"," + frame + b"\x02\x02\x44\x01\0;"
    return b"P6\n%d %d\n255\n" % (width, height) + b"\0" * 64


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "PPM"])
@pytest.mark.parametrize(("width", "height"), [(60000, 60000), (12000, 10000)])
def test_huge_header_is_refused_before_decoding(kind: str, width: int, height: int) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.thread_time()  # not the wall clock, which other processes delay
    with pytest.raises(ImageError, match="over the limit of 110,000,000|more pixels than the limit of 110,000,000"):
        load_image(announced(kind, width, height))
    assert time.thread_time() - start < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_decompression_bomb_is_refused_before_decoding() -> None:
    raw = encode(Image.new("1", (20000, 8000)), "PNG")  # 480 MB as RGB
    assert len(raw) < 100_000
    start = time.thread_time()  # not the wall clock, which other processes delay
    with pytest.raises(ImageError, match="20000x8000 pixels, over the limit"):
        load_image(raw)
    assert time.thread_time() - start < 1


def test_bomb_is_refused_where_the_host_switched_pillows_limit_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(ImageError, match="limit"):
        load_image(announced("PNG", 60000, 60000))


def test_limit_of_pixels_is_exact() -> None:
    hundred = limits(100)
    assert load_image(encode(Image.new("RGB", (10, 10)), "PNG"), bounds=hundred).size == (10, 10)
    for source in (encode(Image.new("RGB", (10, 11)), "PNG"), Image.new("RGB", (101, 1)), np.zeros((11, 10), np.uint8)):
        with pytest.raises(ImageError, match="over the limit of 100; --max-pixels"):
            load_image(source, bounds=hundred)


def test_limit_of_file_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(reading, "MAX_BYTES", 1 << 20)
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate((1 << 20) + 1)
    with pytest.raises(ImageError, match="larger than 1 MB"):
        load_image(path)
