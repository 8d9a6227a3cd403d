"""Cutting JPEGs out of a stream: whole ones, whatever is in them and between them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from sacvit_deploy.errors import ImageError
from sacvit_deploy.sources import jpegs
from sacvit_deploy.sources.jpegs import JpegSplitter


def jpeg(seed: int, size: int = 40, **options: object) -> bytes:
    """A noisy image, in which all markers that may occur in coded data do."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", **options)
    return out.getvalue()


IMAGES = [
    jpeg(0),
    jpeg(1, progressive=True),  # several scans
    jpeg(2, exif=b"Exif\0\0" + jpeg(3, 16)),  # a thumbnail with an end of its own
    jpeg(4, quality=100, restart_marker_blocks=1),
    jpeg(5, size=200),
]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000, 1 << 20])
@pytest.mark.parametrize("between", [b"", b"\r\n--frame\r\nContent-Type: image/jpeg\r\n\r\n", b"\0\xff\xff\xd9"])
def test_images_come_whole(step: int, between: bytes) -> None:
    splitter = JpegSplitter(albums=True)
    data = between + between.join(IMAGES) + between
    found = [image for at in range(0, len(data), step) for image in splitter.feed(data[at : at + step])]
    assert found == IMAGES
    assert splitter.count == len(IMAGES)
    assert not splitter.inside and splitter.rest() == b""


def test_an_image_comes_as_soon_as_it_is_there() -> None:
    splitter = JpegSplitter(albums=True)
    assert splitter.feed(IMAGES[0][:-1]) == []
    assert splitter.inside
    assert splitter.feed(IMAGES[0][-1:]) == [IMAGES[0]]
    assert not splitter.inside


def test_one_that_breaks_off_does_not_cost_the_next() -> None:
    splitter = JpegSplitter(albums=True)
    half = IMAGES[4][: len(IMAGES[4]) // 2].rstrip(b"\xff")
    assert splitter.feed(half + IMAGES[0] + half) == [half, IMAGES[0]]
    assert splitter.rest() == half


def test_what_is_no_jpeg_gives_nothing() -> None:
    splitter = JpegSplitter(albums=True)
    assert splitter.feed(bytes(100_000)) == []
    assert not splitter.inside and splitter.rest() == b""


@pytest.mark.parametrize("seed", range(20))
def test_damage_ends(seed: int) -> None:
    """Whatever the bytes, the cutting ends, and loses none of an image's before it."""
    rng = np.random.default_rng(seed)
    data = bytearray(b"".join(IMAGES[:3]))
    for at in rng.integers(len(IMAGES[0]), len(data), 30):
        data[at] = rng.integers(256)
    assert JpegSplitter(albums=True).feed(bytes(data))[0] == IMAGES[0]


def test_a_photograph_with_several_pictures_is_one() -> None:
    out = io.BytesIO()
    first, second = (Image.open(io.BytesIO(IMAGES[i])) for i in (0, 4))
    first.save(out, "MPO", save_all=True, append_images=[second])
    data = out.getvalue()
    splitter = JpegSplitter(albums=True)
    assert splitter.feed(data) == []
    assert splitter.rest() == data
    assert len(JpegSplitter(albums=False).feed(data)) == 2


def test_one_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpegs, "LIMIT", 1000)
    with pytest.raises(ImageError, match="larger than"):
        JpegSplitter(albums=True).feed(IMAGES[4][:2000])
