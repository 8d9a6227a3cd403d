"""HEIC and AVIF: upright, within the limits, and with a remedy where they can't be read."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from sacvit_deploy.errors import ImageError
from sacvit_deploy.images import isobmff
from sacvit_deploy.images.budget import limits
from sacvit_deploy.images.decode import load_image
from sacvit_deploy.images.isobmff import AVIF, HEIF, isobmff_kind
from sacvit_deploy.images.paths import expand

pillow_heif: Any = pytest.importorskip("pillow_heif", reason="NOT TESTED: HEIC; pip install pillow-heif")
pytestmark = pytest.mark.skipif(not features.check("avif"), reason="NOT TESTED: this Pillow has no AVIF")


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    if kind == AVIF:
        image.save(out, format="AVIF", quality=90, speed=10, **options)
    else:
        pillow_heif.encode(image.mode, image.size, image.tobytes(), out, quality=90, **options)
    return out.getvalue()


@pytest.fixture
def corners() -> Image.Image:
    """Red at the upper left, blue at the lower right, 96 x 64."""
    image = Image.new("RGB", (96, 64), "white")
    image.paste("red", (0, 0, 48, 32))
    image.paste("blue", (48, 32, 96, 64))
    return image


@pytest.mark.parametrize("kind", [AVIF, HEIF])
def test_pixels(kind: str, corners: Image.Image) -> None:
    data = encoded(corners, kind)
    assert isobmff_kind(data) == kind
    decoded = np.asarray(load_image(data), dtype=float)
    assert decoded.shape == (64, 96, 3)
    assert np.abs(decoded - np.asarray(corners, dtype=float)).mean() < 3


@pytest.mark.parametrize("kind", [AVIF, HEIF])
def test_a_phone_held_upright(kind: str, corners: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = corners.transpose(Image.Transpose.ROTATE_90)  # as the sensor saw it
    data = encoded(turned, kind, exif=exif.tobytes())
    decoded = np.asarray(load_image(data), dtype=float)
    assert decoded.shape == (64, 96, 3)
    assert np.abs(decoded - np.asarray(corners, dtype=float)).mean() < 3


@pytest.mark.parametrize("kind", [AVIF, HEIF])
def test_transparency_lies_over_white(kind: str) -> None:
    clear = np.asarray(load_image(encoded(Image.new("RGBA", (64, 64), (0, 0, 0, 0)), kind)))
    assert clear.min() > 250


@pytest.mark.parametrize("kind", [AVIF, HEIF])
def test_limits_are_set_before_decoding(kind: str) -> None:
    data = encoded(Image.new("L", (2000, 2000)).convert("RGB"), kind)
    with pytest.raises(ImageError, match="2000x2000 pixels, over the limit"):
        load_image(data, bounds=limits(1_000_000, None))
    with pytest.raises(ImageError, match="would take about .* MB to decode"):
        load_image(data, bounds=limits(None, 100))


@pytest.mark.parametrize("kind", [AVIF, HEIF])
def test_damage(kind: str, corners: Image.Image) -> None:
    data = encoded(corners, kind)
    for cut in (16, len(data) // 2, len(data) - 1):
        with pytest.raises(ImageError, match="photo is "):
            load_image(data[:cut], "photo")


def test_without_what_reads_them(monkeypatch: pytest.MonkeyPatch, corners: Image.Image) -> None:
    heic, avif = encoded(corners, HEIF), encoded(corners, AVIF)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(isobmff.features, "check", lambda name: False)
    with pytest.raises(ImageError, match=r"a\.heic is a HEIC: .*pip install 'sacvit-deploy\[heif\]'"):
        load_image(heic, "a.heic")
    with pytest.raises(ImageError, match=r"a\.avif is an AVIF, .*pip install 'pillow>=11\.3'"):
        load_image(avif, "a.avif")


def test_brands() -> None:
    def box(*brands: bytes) -> bytes:
        body = brands[0] + b"\0\0\0\0" + b"".join(brands[1:])
        return (8 + len(body)).to_bytes(4, "big") + b"ftyp" + body

    assert isobmff_kind(box(b"mif1", b"avif", b"miaf")) == AVIF
    assert isobmff_kind(box(b"mif1", b"heic")) == HEIF
    assert isobmff_kind(box(b"msf1")) == HEIF
    assert isobmff_kind(box(b"isom", b"mp42")) is None
    assert isobmff_kind(b"\xff\xd8\xff\xe0") is None and isobmff_kind(b"") is None


def test_folders_have_them(tmp_path: Path, corners: Image.Image) -> None:
    for name, kind in (("b.HEIC", HEIF), ("a.avif", AVIF)):
        (tmp_path / name).write_bytes(encoded(corners, kind))
    assert [path.name for path in expand([str(tmp_path)], print)] == ["a.avif", "b.HEIC"]
