"""Pictures as people have them, bad ones included: every file here is written by the test that reads it."""

from __future__ import annotations

import io
import resource
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageFile

from sacvit_deploy.errors import ImageError
from sacvit_deploy.images import decode
from sacvit_deploy.images.decode import load_image

Array = npt.NDArray[Any]
ORIENTATION = 0x0112

# Pillow warns of what these files are made to have.
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:PIL"),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]


def colours(height: int = 24, width: int = 32) -> npt.NDArray[np.uint8]:
    """A picture without symmetry: every pixel differs, and so does every corner."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 255 // height, columns * 255 // width, (rows + columns) % 7 * 30], axis=2).astype(np.uint8)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(source: Any) -> Array:
    image = load_image(source)
    assert image.mode == "RGB"
    return np.asarray(image)


# --- formats and modes


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats(kind: str) -> None:
    np.testing.assert_array_equal(pixels(encode(Image.fromarray(colours()), kind)), colours())


@pytest.mark.parametrize(
    ("kind", "options"), [("JPEG", {"quality": 98, "subsampling": 0}), ("WEBP", {"lossless": True})]
)
def test_photo_formats(kind: str, options: dict[str, Any]) -> None:
    found = pixels(encode(Image.fromarray(colours()), kind, **options)).astype(int)
    assert np.abs(found - colours()).mean() < 4


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
    found = pixels(encode(image, "PNG", transparency=0))
    assert found[0, 1].tolist() == [0, 0, 255]
    assert found[0, 0].tolist() == found[1, 3].tolist() == [255, 255, 255]


def test_palette_with_half_transparency_lies_on_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    found = pixels(encode(image, "PNG", transparency=bytes([128, 255])))
    np.testing.assert_allclose(found[0].astype(int), [[255, 127, 127], [0, 0, 255]], atol=1)


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
    found = pixels(encode(Image.fromarray(data, "LA"), "PNG"))
    assert found.tolist() == [[[80, 80, 80], [255, 255, 255]]]


@pytest.mark.parametrize(("mode", "key"), [("RGB", (0, 0, 0)), ("L", 0)])
def test_colour_key_lies_on_white(mode: str, key: Any) -> None:
    image = Image.new(mode, (2, 1))
    image.putpixel((0, 0), (9, 9, 9) if mode == "RGB" else 9)
    assert pixels(encode(image, "PNG", transparency=key)).tolist() == [[[9, 9, 9], [255, 255, 255]]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_the_eight_bit_picture(kind: str) -> None:
    eight = np.arange(256, dtype=np.uint8).reshape(16, 16)
    sixteen = Image.fromarray(eight.astype(np.uint16) * 257)
    assert sixteen.mode == "I;16"
    np.testing.assert_array_equal(pixels(encode(sixteen, kind)), eight[:, :, None].repeat(3, axis=2))


def test_sixteen_bit_colour_is_the_eight_bit_picture() -> None:
    np.testing.assert_array_equal(pixels(png_of_16_bits(colours())), colours())


def png_of_16_bits(values: npt.NDArray[np.uint8]) -> bytes:
    """An RGB PNG of bit depth 16, which Pillow can't write."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + (row.astype(">u2") * 257).astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


# Ink of cyan, magenta, yellow, black: nothing, each alone at full, all black, half cyan.
INK = np.array([[0] * 4, [255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 255, 0], [0, 0, 0, 255], [128, 0, 0, 0]], np.uint8)
ON_PAPER = np.array([[255] * 3, [0, 255, 255], [255, 0, 255], [255, 255, 0], [0, 0, 0], [127, 255, 255]])


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_cmyk_shows_its_inks(kind: str) -> None:
    data = INK[:, None, :].repeat(16, axis=0).repeat(16, axis=1)
    raw = encode(Image.fromarray(data, "CMYK"), kind, **({"quality": 98} if kind == "JPEG" else {}))
    # Adobe's programs, and Pillow with them, store CMYK JPEGs inverted and mark them so.
    assert (b"Adobe" in raw) == (kind == "JPEG")
    found = pixels(raw)[8::16, 8].astype(int)
    np.testing.assert_allclose(found, ON_PAPER, atol=6)


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "LAB", "RGBX", "La", "RGBa", "PA"])
def test_rare_modes_of_pil_pictures_give_a_picture_or_an_image_error(mode: str) -> None:
    try:
        image = load_image(Image.new(mode, (8, 8)))
    except ImageError:
        return
    assert image.mode == "RGB"
    assert image.size == (8, 8)


def test_floating_point_pictures_are_refused() -> None:
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


def test_stereo_jpeg_shows_its_first_picture() -> None:
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
def test_exif_rotation_gives_the_upright_picture(orientation: int) -> None:
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
def test_broken_exif_shows_the_picture_as_stored(block: bytes) -> None:
    image = Image.fromarray(colours())
    np.testing.assert_array_equal(pixels(encode(image, "JPEG", exif=block)), pixels(encode(image, "JPEG")))


# --- damage


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {}), ("PNG", {}), ("BMP", {}), ("WEBP", {}), ("GIF", {})])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_truncated_files_are_refused(kind: str, options: dict[str, Any], share: float) -> None:
    noise = np.random.default_rng(5).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    raw = encode(Image.fromarray(noise), kind, **options)
    with pytest.raises(ImageError, match=r"damaged or truncated|not a picture"):
        load_image(raw[: int(share * len(raw))])


def test_truncated_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "half.jpg"
    raw = encode(Image.fromarray(colours(200, 200)), "JPEG")
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(ImageError, match=r"half\.jpg is damaged or truncated"):
        load_image(path)


def test_truncated_pil_picture_is_an_image_error() -> None:
    raw = encode(Image.fromarray(colours(200, 200)), "JPEG")
    with pytest.raises(ImageError, match="damaged or truncated"):
        load_image(Image.open(io.BytesIO(raw[: len(raw) // 2])))


def test_closed_pil_picture_is_an_image_error(tmp_path: Path) -> None:
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
def test_flipped_bytes_give_a_picture_or_an_image_error(kind: str) -> None:
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
def test_no_picture_at_all(content: bytes, tmp_path: Path) -> None:
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
    """A small file whose header announces a picture of this size."""
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
    start = time.thread_time()  # a busy machine takes nothing of it
    with pytest.raises(ImageError, match="over the limit of 100,000,000|more pixels than the limit of 100,000,000"):
        load_image(announced(kind, width, height))
    assert time.thread_time() - start < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_decompression_bomb_is_refused_before_decoding() -> None:
    raw = encode(Image.new("1", (20000, 8000)), "PNG")  # 480 MB as RGB
    assert len(raw) < 100_000
    start = time.thread_time()  # a busy machine takes nothing of it
    with pytest.raises(ImageError, match="20000x8000 pixels, over the limit"):
        load_image(raw)
    assert time.thread_time() - start < 1


def test_bomb_is_refused_where_the_host_switched_pillows_limit_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(ImageError, match="limit"):
        load_image(announced("PNG", 60000, 60000))


def test_limit_of_pixels_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MAX_PIXELS", 100)
    assert load_image(encode(Image.new("RGB", (10, 10)), "PNG")).size == (10, 10)
    for source in (encode(Image.new("RGB", (10, 11)), "PNG"), Image.new("RGB", (101, 1)), np.zeros((11, 10), np.uint8)):
        with pytest.raises(ImageError, match="over the limit of 100"):
            load_image(source)


def test_limit_of_file_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(decode, "MAX_BYTES", 1 << 20)
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate((1 << 20) + 1)
    with pytest.raises(ImageError, match="larger than 1 MB"):
        load_image(path)


# --- arrays and PIL pictures


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
        (np.zeros((8, 8, 3), np.float32), "must be uint8, not float32"),
        (np.zeros((8, 8), bool), "must be uint8, not bool"),
        (np.zeros((8, 8, 3), np.uint16), "must be uint8, not uint16"),
        (np.zeros((8, 8, 5), np.uint8), "H x W"),
        (np.zeros((8, 8, 2), np.uint8), "H x W"),
        (np.zeros((3, 8, 8), np.uint8), "H x W"),
        (np.zeros((1, 8, 8, 3), np.uint8), "H x W"),
        (np.zeros(8, np.uint8), "H x W"),
        (np.zeros((), np.uint8), "H x W"),
        (np.zeros((0, 8, 3), np.uint8), "no pixels"),
        (np.zeros((8, 0), np.uint8), "no pixels"),
        (np.zeros((0, 0, 1), np.uint8), "no pixels"),
    ],
)
def test_arrays_that_are_no_picture(array: Array, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        load_image(array)


@pytest.mark.parametrize("source", [None, 7, 0.5, ["a.jpg"], io.BytesIO(b"x"), object()])
def test_other_types_are_refused_by_name(source: Any) -> None:
    with pytest.raises(ImageError, match=type(source).__name__):
        load_image(source)


def test_bytes_in_other_wrappers() -> None:
    raw = encode(Image.fromarray(colours()), "PNG")
    np.testing.assert_array_equal(pixels(bytearray(raw)), colours())
    np.testing.assert_array_equal(pixels(memoryview(raw)), colours())


def test_the_users_pil_picture_stays_as_it_was() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    image = Image.open(io.BytesIO(encode(Image.fromarray(colours()), "PNG", exif=exif)))
    assert pixels(image).shape == (32, 24, 3)
    assert image.size == (32, 24)
    assert image.getexif()[ORIENTATION] == 6
    np.testing.assert_array_equal(np.asarray(image), colours())
