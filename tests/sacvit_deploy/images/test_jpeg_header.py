"""Which JPEGs a GPU may decode: Pillow's own reading of them is what the header must say."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sacvit_deploy.images.jpeg_header import EOI, MOST_SCANS, SOI, JpegHeader, read_jpeg_header
from sacvit_deploy.images.strips import ORIENTATION, TURNS

from .making import colours, encode

PICTURES = sorted((Path(__file__).parents[3] / "examples/pictures").glob("*.jpg"))
PHOTO = Image.fromarray(colours())
PLAIN = encode(PHOTO, "JPEG")
PROGRESSIVE = encode(PHOTO, "JPEG", progressive=True)
SOS = b"\xff\xda"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        {"subsampling": "4:4:4"},
        {"subsampling": "4:2:2"},
        {"subsampling": "4:2:0", "optimize": True},
        {"icc_profile": b"a profile"},
        {"comment": b"words"},
        {"restart_marker_blocks": 1},
        {"dpi": (300, 300), "qtables": "web_low"},
    ],
    ids=str,
)
def test_ordinary_ones(options: dict[str, object]) -> None:
    for image in (PHOTO, PHOTO.convert("L")):
        kept = {} if image.mode == "L" and "subsampling" in options else options
        assert read_jpeg_header(encode(image, "JPEG", **kept)) == JpegHeader((32, 24))


def test_the_example_pictures() -> None:
    """All but the one in CMYK, with Pillow's sizes."""
    assert len(PICTURES) > 30
    for path in PICTURES:
        header = read_jpeg_header(path.read_bytes())
        with Image.open(path) as image:
            if image.mode == "CMYK":
                assert header is None
            else:
                assert header is not None and header.size == image.size, path.name
                assert header.turn == TURNS.get(image.getexif().get(ORIENTATION, 1))


def test_turns() -> None:
    for orientation in (*range(10), 274):
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        exif[0x010E] = "a description"
        assert read_jpeg_header(encode(PHOTO, "JPEG", exif=exif)) == JpegHeader((32, 24), TURNS.get(orientation))
    broken = encode(PHOTO, "JPEG", exif=b"Exif\0\0II*\0\xff\xff")
    assert read_jpeg_header(broken) == JpegHeader((32, 24))


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body


def with_segment(data: bytes, marker: int, body: bytes) -> bytes:
    return data[:2] + segment(marker, body) + data[2:]


def frame_at(data: bytes) -> int:
    return data.index(b"\xff\xc0\x00\x11")


def changed(at: int, value: int) -> bytes:
    """An ordinary JPEG with a byte of its frame's segment changed, counted from the marker."""
    data = bytearray(PLAIN)
    data[frame_at(PLAIN) + at] = value
    return bytes(data)


GREY_FRAME = segment(0xC0, b"\x08\0\x18\0\x20\x01\x01\x11\0")
REFUSED = {
    "nothing": b"",
    "no JPEG": encode(PHOTO, "PNG"),
    "CMYK": encode(PHOTO.convert("CMYK"), "JPEG"),
    "RGB": encode(PHOTO, "JPEG", keep_rgb=True),
    "several in a file": encode(PHOTO, "MPO", save_all=True, append_images=[PHOTO]),
    "a turn in XMP": with_segment(PLAIN, 0xE1, b"http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation='6'/>"),
    "two EXIF blocks": with_segment(with_segment(PLAIN, 0xE1, b"Exif\0\0II"), 0xE1, b"Exif\0\0II"),
    "12 bits": changed(4, 12),
    "no height": changed(6, 0),  # of 24 lines; the high byte is 0 already
    "two components": changed(9, 2),
    "chroma as large as luma": changed(14, 0x22),
    "arithmetic coding": changed(1, 0xC9),
    "lossless": changed(1, 0xC3),
    "two frames": PLAIN[: frame_at(PLAIN)] + GREY_FRAME + PLAIN[frame_at(PLAIN) :],
    "no segment": PLAIN[:2] + b"junk" + PLAIN[2:],
    "a segment without an end": PLAIN[:2] + b"\xff\xe5\xff\xff" + PLAIN[4:],
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_left_to_pillow(name: str) -> None:
    assert read_jpeg_header(REFUSED[name]) is None


def test_every_truncation_is() -> None:
    """Though a thumbnail inside has an end of its own."""
    exif = Image.Exif()
    thumbnail = b"Exif\0\0" + exif.tobytes() + PLAIN
    data = with_segment(PLAIN, 0xE1, thumbnail)
    assert read_jpeg_header(data) is not None
    for end in range(len(data) - len(EOI) + 1):
        assert read_jpeg_header(data[:end]) is None


def pillow_answers(data: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except Exception:
        return False
    return True


@pytest.mark.parametrize("first", [PLAIN, PROGRESSIVE], ids=["baseline", "progressive"])
@pytest.mark.parametrize("second", [PLAIN, PROGRESSIVE], ids=["baseline", "progressive"])
def test_a_cut_image_with_another_behind_it_is_left_to_pillow(first: bytes, second: bytes) -> None:
    """Cut anywhere: the second one's end is not the first one's. So is a whole one with another behind it."""
    refused = 0
    for cut in range(len(SOI), len(first) + 1):
        joined = first[:cut] + second
        if not pillow_answers(joined):
            refused += 1
            assert read_jpeg_header(joined) is None, cut
        elif cut > first.index(SOS):
            assert read_jpeg_header(joined) is None, cut
    assert refused > 500
    assert read_jpeg_header(first[: len(SOI)] + second[len(SOI) :]) is not None


@pytest.mark.parametrize("data", [PLAIN, PROGRESSIVE], ids=["baseline", "progressive"])
def test_an_end_inside_a_segment_is_none(data: bytes) -> None:
    """A file that is cut off in the tables between its scans, with FF D9 behind: those bytes are the tables'."""
    for cut in range(len(SOI), len(data)):
        ended = data[:cut] + EOI
        assert read_jpeg_header(ended) is None or pillow_answers(ended), cut
    assert read_jpeg_header(data + b"more, and an end" + EOI) is not None  # such as a telephone's own data


def test_a_second_frame_is_left_to_pillow() -> None:
    """Wherever it stands behind the first scan: a decoder that believed it would take memory for its size."""
    large = segment(0xC0, b"\x08\xff\xff\xff\xff\x01\x01\x11\0")
    for data in (PLAIN, PROGRESSIVE):
        for at in range(data.index(SOS), len(data) + 1):
            forged = data[:at] + large + data[at:]
            assert read_jpeg_header(forged) is None, at
        hidden = segment(0xC4, b"\0" * 17 + EOI + large)  # in a table, behind what looks like an end
        at = data.rindex(SOS) if data is PROGRESSIVE else data.index(EOI)
        assert read_jpeg_header(data[:at] + hidden + data[at:]) is None
        assert read_jpeg_header(data[:at] + segment(0xFE, b"words") + data[at:]) is None  # unusual there


def test_many_scans_are_left_to_pillow() -> None:
    """Each costs a decoder a pass over the image, however few bytes it has, and others wait for it meanwhile."""
    last = PROGRESSIVE.rindex(SOS)
    scan, most = PROGRESSIVE[last : -len(EOI)], MOST_SCANS[0xC2]
    assert len(scan) < 100 and PROGRESSIVE.count(SOS) == 10
    for count in (0, 1, most - 10):
        assert read_jpeg_header(PROGRESSIVE[:last] + count * scan + PROGRESSIVE[last:]) is not None
    for count in (most - 9, 50, 50_000):
        assert read_jpeg_header(PROGRESSIVE[:last] + count * scan + PROGRESSIVE[last:]) is None
    twice = PLAIN[: -len(EOI)] + PLAIN[PLAIN.index(SOS) :]
    assert read_jpeg_header(twice) is None and not pillow_answers(twice)


def test_stuffed_bytes_restarts_and_thumbnails_are_no_beginnings() -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (120, 160, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x010E] = "a description"
    for options in ({"quality": 95}, {"progressive": True}, {"restart_marker_blocks": 1}, {"quality": 1}):
        data = encode(noise, "JPEG", **options)
        assert re.search(rb"\xff[\x00\xd0-\xd7]", data[data.index(SOS) :])
        assert read_jpeg_header(data) == JpegHeader((160, 120))
        with_thumbnail = with_segment(data, 0xE1, b"Exif\0\0" + exif.tobytes() + PLAIN)
        assert read_jpeg_header(with_thumbnail) == JpegHeader((160, 120))


@given(
    data=st.binary(max_size=40), at=st.integers(0, len(PLAIN)), removed=st.integers(0, 8), bare=st.booleans()
)  # what is read of any bytes is a header or none, and its size is one that Pillow reads, too
def test_any_bytes(data: bytes, at: int, removed: int, bare: bool) -> None:
    forged = data if bare else PLAIN[:at] + data + PLAIN[at + removed :]
    header = read_jpeg_header(forged)
    if header is not None:
        with Image.open(io.BytesIO(forged)) as image:
            assert image.size == header.size and image.mode in ("L", "RGB")


def test_it_is_cheap() -> None:
    """Of a large file Python reads the segments alone; what is between them one search of the library goes over."""
    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), "JPEG", quality=95)

    class Counted(bytes):
        read = 0

        def __getitem__(self, key):  # type: ignore[no-untyped-def]
            found = super().__getitem__(key)
            Counted.read += len(found) if isinstance(found, bytes) else 1
            return found

    assert read_jpeg_header(Counted(data)) == JpegHeader((800, 600))
    assert Counted.read < 2000 < len(data)
