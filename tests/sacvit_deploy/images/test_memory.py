"""What decoding takes: the estimate is above what is measured, an image over the limit is refused, threads share."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sacvit_deploy.config import Preprocessing
from sacvit_deploy.errors import ImageError
from sacvit_deploy.images.budget import MB, limits
from sacvit_deploy.images.decode import decoding, load_image
from sacvit_deploy.images.memory import _coefficients, _first_scan, webp_size
from sacvit_deploy.images.strips import fit_decoded
from tests.hostile_files import CASES, chunk, encoded, files, turned
from tests.hostile_images import LARGEST, measure, warming

linux = pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")


def written(folder: Path, data: bytes) -> tuple[Path, Path]:
    (folder / "hostile").write_bytes(data)
    (folder / "warm").write_bytes(warming(data))
    return folder / "hostile", folder / "warm"


@linux
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, _, _ in CASES])
def test_the_estimate_is_above_the_peak(tmp_path: Path, name: str) -> None:
    _, size, data = next(files(1.5, name))
    facts = measure(*written(tmp_path, data))
    assert len(data) <= LARGEST
    assert facts["peak"] <= 600
    assert facts["error"] is not None or facts["peak"] <= facts["estimate"], (size, facts)


def begun_png(width: int, height: int) -> bytes:
    """Write a grey PNG whose stream ends behind its first line: the others are zero."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(1 + width))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


# A pointer to each line takes more than the pixels; a squashed strip is averaged, one that is cut to its middle is not
# copied before.
STRIPS = {
    "tall": lambda: begun_png(2, 30_000_000),
    "wide": lambda: begun_png(30_000_000, 2),
    "cut": lambda: encoded("RGB", (30_000, 1800), "JPEG"),
}


@linux
@pytest.mark.slow
@pytest.mark.parametrize("resize", ["squash", "shortest_edge"])
@pytest.mark.parametrize("kind", STRIPS)
def test_the_estimate_is_above_the_peak_of_strips(tmp_path: Path, kind: str, resize: str) -> None:
    facts = measure(*written(tmp_path, STRIPS[kind]()), resize=resize)
    assert facts["error"] is None
    assert facts["peak"] <= facts["estimate"]


@linux
@pytest.mark.slow
@pytest.mark.parametrize("name", ["WebP", "PNG, RGBA"])
def test_four_threads_keep_to_the_budget(tmp_path: Path, name: str) -> None:
    _, _, data = next(files(begin=name))
    facts = measure(*written(tmp_path, data), threads=4, max_memory=500)
    assert facts["error"] is None
    assert facts["estimate"] > 600  # all four together
    assert facts["peak"] <= 500


# --- refusals


def test_an_image_over_the_limit_is_refused_in_a_sentence() -> None:
    data = encoded("RGB", (2000, 1000), "WEBP")
    bounds = limits(None, 40)
    said = r"it has 2000x1000 pixels and would take about \d\d MB to decode, over the limit of 40 MB for one image; "
    with pytest.raises(ImageError, match=said + "--max-memory"), decoding(data, "it", bounds):
        pass
    with decoding(data, "it", limits(None, 100)) as image:
        assert image.size == (2000, 1000)
    for source in (
        np.zeros((3000, 4000, 3), np.uint8),
        Image.new("L", (6000, 4000)),
        encoded("P", (6000, 5000), "PNG"),
    ):
        with pytest.raises(ImageError, match="over the limit of 40 MB"):
            load_image(source, bounds=bounds)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_phones_108_megapixels_are_answered() -> None:
    data = bytearray(turned("RGB", (64, 64), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = (9024).to_bytes(2, "big") + (12032).to_bytes(2, "big")
    data += bytes(60 * MB)  # libjpeg takes what is no scan's data for grey
    bounds = limits(None, 600)
    with decoding(bytes(data), bounds=bounds) as image:
        assert image.size == (9024, 12032)
        assert 4 * 12032 * 9024 + 60 * MB < bounds.memory._used < 600 * MB
        assert fit_decoded(image, 224, Preprocessing()).shape == (224, 224, 3)


def test_a_large_file_is_read_with_its_memory_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sacvit_deploy.images.decode.LARGE", 1000)
    data = encoded("RGB", (600, 400), "BMP")
    (tmp_path / "a.bmp").write_bytes(data)
    bounds = limits(None, 300)
    with decoding(tmp_path / "a.bmp", bounds=bounds) as image:
        assert image.size == (600, 400)
        assert 0 < bounds.memory._used < 100 * MB  # no longer all of it
    assert bounds.memory._used == 0


# --- headers


def test_webp_sizes() -> None:
    for options in ({}, {"lossless": True}, {"exif": b"Exif\0\0MM"}, {"save_all": True}):
        for size in ((1, 1), (300, 7), (16_383, 2)):
            assert webp_size(encoded("RGB", size, "WEBP", **options)) == size
    assert webp_size(encoded("RGBA", (5, 6), "WEBP")) == (5, 6)
    assert webp_size(encoded("RGB", (5, 6), "PNG")) is None
    assert webp_size(b"RIFF\0\0\0\0WEBP") is None


def test_coefficients_of_jpegs_in_several_scans() -> None:
    def coefficients(data: bytes) -> int:
        with Image.open(io.BytesIO(data)) as image:
            return _coefficients(image, image.size, data)

    size, pixels = (640, 480), 640 * 480
    assert coefficients(encoded("RGB", size, "JPEG")) == 0
    assert coefficients(encoded("RGB", size, "JPEG", comment=b"\xff\xda" * 50)) == 0
    for options, share in (({"subsampling": 2}, 3), ({"subsampling": 0}, 6)):
        data = encoded("RGB", size, "JPEG", progressive=True, **options)
        assert share * pixels <= coefficients(data) < 1.2 * share * pixels
    # A sequential JPEG whose first scan has one of the three components keeps them, too.
    data = encoded("RGB", size, "JPEG")
    scan = data.index(b"\xff\xda")
    assert _first_scan(data) == 3
    several = data[: scan + 4] + b"\1" + data[scan + 5 :]
    assert _first_scan(several) == 1
    assert coefficients(several) > 0
    assert _first_scan(data[:scan]) == 0
