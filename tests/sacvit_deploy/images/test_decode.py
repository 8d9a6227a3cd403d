"""Decoding images of every format, mode and orientation; every test writes the file that it reads."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from sacvit_deploy.errors import ImageError
from sacvit_deploy.images.decode import load_image

from .making import chunk, colours, encode, pixels

Array = npt.NDArray[Any]
ORIENTATION = 0x0112

# Pillow warns of what these files are made to have.
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:PIL"),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]


# --- formats and modes


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats(kind: str) -> None:
    np.testing.assert_array_equal(pixels(encode(Image.fromarray(colours()), kind)), colours())


@pytest.mark.parametrize(
    ("kind", "options"), [("JPEG", {"quality": 98, "subsampling": 0}), ("WEBP", {"lossless": True})]
)
def test_photo_formats(kind: str, options: dict[str, Any]) -> None:
    decoded = pixels(encode(Image.fromarray(colours()), kind, **options)).astype(int)
    assert np.abs(decoded - colours()).mean() < 4


def test_grey_becomes_three_equal_channels() -> None:
    grey = colours()[:, :, 0]
    for kind in ("PNG", "TIFF", "PPM", "BMP"):
        np.testing.assert_array_equal(pixels(encode(Image.fromarray(grey), kind)), grey[:, :, None].repeat(3, axis=2))


def test_one_bit() -> None:
    bits = colours()[:, :, 1] > 100
    expected = (bits * 255).astype(np.uint8)[:, :, None].repeat(3, axis=2)
    for kind in ("PNG", "BMP", "TIFF"):
        np.testing.assert_array_equal(pixels(encode(Image.fromarray(bits), kind)), expected)


def test_palette() -> None:
    image = Image.fromarray(colours()).quantize(16)
    assert image.mode == "P"
    np.testing.assert_array_equal(pixels(encode(image, "PNG")), np.asarray(image.convert("RGB")))


def test_palette_with_transparency_lies_on_white() -> None:
    image = Image.new("P", (4, 2))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    decoded = pixels(encode(image, "PNG", transparency=0))
    assert decoded[0, 1].tolist() == [0, 0, 255]
    assert decoded[0, 0].tolist() == decoded[1, 3].tolist() == [255, 255, 255]


def test_palette_with_half_transparency_lies_on_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    decoded = pixels(encode(image, "PNG", transparency=bytes([128, 255])))
    np.testing.assert_allclose(decoded[0].astype(int), [[255, 127, 127], [0, 0, 255]], atol=1)


def test_alpha_lies_on_white() -> None:
    data = np.zeros((2, 2, 4), dtype=np.uint8)
    data[0, 0] = (200, 100, 50, 255)
    data[0, 1] = (200, 100, 50, 0)
    data[1, 0] = (200, 100, 50, 51)
    expected = [[[200, 100, 50], [255, 255, 255]], [[244, 224, 214], [255, 255, 255]]]
    for source in (encode(Image.fromarray(data), "PNG"), encode(Image.fromarray(data), "TIFF"), data):
        np.testing.assert_allclose(pixels(source).astype(int), expected, atol=1)


def test_grey_with_alpha_lies_on_white() -> None:
    data = np.array([[[80, 255], [80, 0]]], dtype=np.uint8)
    decoded = pixels(encode(Image.fromarray(data, "LA"), "PNG"))
    assert decoded.tolist() == [[[80, 80, 80], [255, 255, 255]]]


@pytest.mark.parametrize(("mode", "key"), [("RGB", (0, 0, 0)), ("L", 0)])
def test_colour_key_lies_on_white(mode: str, key: Any) -> None:
    image = Image.new(mode, (2, 1))
    image.putpixel((0, 0), (9, 9, 9) if mode == "RGB" else 9)
    assert pixels(encode(image, "PNG", transparency=key)).tolist() == [[[9, 9, 9], [255, 255, 255]]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_the_eight_bit_image(kind: str) -> None:
    eight = np.arange(256, dtype=np.uint8).reshape(16, 16)
    sixteen = Image.fromarray(eight.astype(np.uint16) * 257)
    assert sixteen.mode == "I;16"
    np.testing.assert_array_equal(pixels(encode(sixteen, kind)), eight[:, :, None].repeat(3, axis=2))


def test_sixteen_bit_colour_is_the_eight_bit_image() -> None:
    np.testing.assert_array_equal(pixels(png_of_16_bits(colours())), colours())


def png_of_16_bits(values: npt.NDArray[np.uint8]) -> bytes:
    """An RGB PNG of bit depth 16, which Pillow can't write."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + (row.astype(">u2") * 257).astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# Ink of cyan, magenta, yellow, black: nothing, each alone at full, all black, half cyan.
INK = np.array([[0] * 4, [255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 255, 0], [0, 0, 0, 255], [128, 0, 0, 0]], np.uint8)
ON_PAPER = np.array([[255] * 3, [0, 255, 255], [255, 0, 255], [255, 255, 0], [0, 0, 0], [127, 255, 255]])


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_cmyk_shows_its_inks(kind: str) -> None:
    data = INK[:, None, :].repeat(16, axis=0).repeat(16, axis=1)
    raw = encode(Image.fromarray(data, "CMYK"), kind, **({"quality": 98} if kind == "JPEG" else {}))
    # Adobe's programs, and Pillow with them, store CMYK JPEGs inverted and mark them so.
    assert (b"Adobe" in raw) == (kind == "JPEG")
    decoded = pixels(raw)[8::16, 8].astype(int)
    np.testing.assert_allclose(decoded, ON_PAPER, atol=6)


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "LAB", "RGBX", "La", "RGBa", "PA"])
def test_rare_modes_of_pil_images_give_an_image_or_an_image_error(mode: str) -> None:
    try:
        image = load_image(Image.new(mode, (8, 8)))
    except ImageError:
        return
    assert image.mode == "RGB"
    assert image.size == (8, 8)


def test_floating_point_images_are_refused() -> None:
    image = Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8))
    for source in (image, encode(image, "TIFF")):
        with pytest.raises(ImageError, match="floating-point"):
            load_image(source)


# --- animation and EXIF


@pytest.mark.parametrize(("kind", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})])
def test_first_frame_of_several_counts(kind: str, options: dict[str, Any]) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "green")]
    raw = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    with Image.open(io.BytesIO(raw)) as image:
        assert getattr(image, "n_frames", 1) == 3
    assert (pixels(raw) == (255, 0, 0)).all()


def test_stereo_jpeg_shows_its_first_image() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    raw = encode(frames[0], "MPO", save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(pixels(raw).astype(int), np.full((16, 16, 3), (255, 0, 0)), atol=3)


def stored(upright: Array, orientation: int) -> Array:
    """The pixels as a camera stores them under an EXIF orientation: the inverse of what a viewer does."""
    inverse: dict[int, Callable[[Array], Array]] = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),  # the viewer turns clockwise
        7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }
    return np.ascontiguousarray(inverse[orientation](upright))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_gives_the_upright_image(orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = Image.fromarray(stored(colours(), orientation))
    np.testing.assert_array_equal(pixels(encode(image, "PNG", exif=exif)), colours())
    jpeg = encode(image, "JPEG", exif=exif, quality=98, subsampling=0)
    assert np.abs(pixels(jpeg).astype(int) - colours()).mean() < 4
    opened = Image.open(io.BytesIO(jpeg))
    np.testing.assert_array_equal(pixels(opened), pixels(jpeg))


@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0",
        b"Exif\0\0garbage",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\xff\xff\xff\xff\x06\0\0\0",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\0abc\0\0\0\0\0",  # the orientation is a text
    ],
)
def test_broken_exif_shows_the_image_as_stored(block: bytes) -> None:
    image = Image.fromarray(colours())
    np.testing.assert_array_equal(pixels(encode(image, "JPEG", exif=block)), pixels(encode(image, "JPEG")))


# --- arrays and PIL images


def test_arrays_of_every_shape() -> None:
    grey = colours()[:, :, 0]
    three = grey[:, :, None].repeat(3, axis=2)
    np.testing.assert_array_equal(pixels(colours()), colours())
    np.testing.assert_array_equal(pixels(grey), three)
    np.testing.assert_array_equal(pixels(grey[:, :, None]), three)
    np.testing.assert_array_equal(pixels(colours()[::-1, ::2]), colours()[::-1, ::2])  # not contiguous
    np.testing.assert_array_equal(pixels(np.asfortranarray(colours())), colours())


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((8, 8, 5), np.uint8), "H x W"),
        (np.zeros((8, 8, 2), np.uint8), "H x W"),
        (np.zeros(8, np.uint8), "H x W"),
        (np.zeros((), np.uint8), "H x W"),
        (np.zeros((0, 8, 3), np.uint8), "no pixels"),
        (np.zeros((8, 0), np.uint8), "no pixels"),
        (np.zeros((0, 0, 1), np.uint8), "no pixels"),
    ],
)
def test_arrays_that_are_no_image(array: Array, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        load_image(array)


@pytest.mark.parametrize("source", [None, 7, 0.5, ["a.jpg"], object()])
def test_other_types_are_refused_by_name(source: Any) -> None:
    with pytest.raises(ImageError, match=type(source).__name__):
        load_image(source)


def test_bytes_in_other_wrappers() -> None:
    raw = encode(Image.fromarray(colours()), "PNG")
    np.testing.assert_array_equal(pixels(bytearray(raw)), colours())
    np.testing.assert_array_equal(pixels(memoryview(raw)), colours())


def test_the_users_pil_image_stays_as_it_was() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    image = Image.open(io.BytesIO(encode(Image.fromarray(colours()), "PNG", exif=exif)))
    assert pixels(image).shape == (32, 24, 3)
    assert image.size == (32, 24)
    assert image.getexif()[ORIENTATION] == 6
    np.testing.assert_array_equal(np.asarray(image), colours())
