"""From whatever a user calls an image to RGB pixels, with limits set before anything is decoded."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError

from sacvit_deploy.arrays import Pixels
from sacvit_deploy.config import Preprocessing
from sacvit_deploy.errors import ImageError, SacvitError, TooLargeError, first_line
from sacvit_deploy.images.budget import MB, Limits, Reservation, limits
from sacvit_deploy.images.isobmff import AVIF, isobmff_kind, open_isobmff
from sacvit_deploy.images.memory import converting, estimate, estimate_webp, stored, webp_size
from sacvit_deploy.images.pixel_arrays import (
    Channels,
    Tensor,
    array_size,
    as_array,
    extra_bytes,
    is_array,
    to_pixels,
)
from sacvit_deploy.images.reading import OpenFile, file_size, is_open_file, read_image, read_open
from sacvit_deploy.images.strips import DecodedImage, fit_decoded

ImageSource: TypeAlias = str | os.PathLike[str] | bytes | OpenFile | Image.Image | npt.NDArray[Any] | Tensor

# Formats decoded inside Pillow, MPO as a JPEG. EPS (Ghostscript) and the like would start other programs on hostile
# input. Pillow loads all its plugins at the first name it does not know yet, so the common ones stand first.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP", "TIFF")
SUFFIXES = (
    ".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm",
    ".avif", ".heic", ".heif",
)  # fmt: skip
LARGE = 8 * MB  # bytes of a file that is only read with all that an image may take set aside


def lift_pillows_limit(pixels: int) -> None:
    """Let Pillow open images of so many pixels in this process; `Limits` is the limit that counts."""
    Image.MAX_IMAGE_PIXELS = max(pixels, Image.MAX_IMAGE_PIXELS or 0)


@dataclass(frozen=True)
class Decoding:
    """How an image is decoded. name: for its errors. whole: all of it is made RGB at once.

    min_side: a JPEG is decoded at the smallest of 1/2, 1/4, 1/8 whose shorter side still has so many pixels, if any.
    channels: the order of an array's.
    """

    name: str
    bounds: Limits
    whole: bool = False
    min_side: int | None = None
    channels: Channels = "rgb"


def fit_image(source: ImageSource, size: int, preprocessing: Preprocessing, bounds: Limits | None = None) -> Pixels:
    """Decode an image of any kind that `load_image` takes and fit it to [S,S,3] uint8, as `fit` says.

    Raises ImageError.
    """
    with decoding(source, bounds=bounds) as image, _named_errors(image.name):
        return fit_decoded(image, size, preprocessing)


def load_image(source: ImageSource, name: str | None = None, bounds: Limits | None = None) -> Image.Image:
    """Decode an image to RGB as a viewer shows it.

    source: a path, the bytes of a file, a file open for reading bytes, a PIL image, or an RGB array or tensor: H x W,
    H x W x C or C x H x W with 1, 3 or 4 channels, uint8 or floats from 0 to 1.
    EXIF rotation is applied, transparency is laid over white, 16 bits become 8, and an animation gives its first frame.
    name: how errors name an image without a path. Raises ImageError.
    """
    with decoding(source, name, bounds, whole=True) as image, _named_errors(image.name):
        return image.whole()


def file_bytes(source: ImageSource, name: str) -> bytes | None:
    """Read an image's file; None for what is no file, or a large one, for which memory is reserved first.

    name: how errors name an open file. Raises ImageError.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    if isinstance(source, (str, os.PathLike)):
        return None if file_size(os.fsdecode(source)) > LARGE else read_image(source)
    return read_open(source, name) if is_open_file(source) else None


@contextlib.contextmanager
def decoding(
    source: ImageSource,
    name: str | None = None,
    bounds: Limits | None = None,
    *,
    whole: bool = False,
    min_side: int | None = None,
    channels: Channels = "rgb",
) -> Iterator[DecodedImage]:
    """Decode an image, whose memory is reserved while the `with` block lasts.

    source, name: as `load_image` takes them. bounds: None are the default limits. The rest: see `Decoding`. Raises
    ImageError.
    """
    bounds = limits() if bounds is None else bounds
    with contextlib.ExitStack() as stack:
        if isinstance(source, Image.Image):
            yield _from_pil(source, Decoding(name or "the image", bounds, whole), stack)
        elif is_array(source):
            how = Decoding(name or "the array image", bounds, whole, channels=channels)
            yield _from_array(as_array(source), how, stack)
        elif is_open_file(source):
            name = name or "the open file"
            yield _from_data(read_open(source, name), Decoding(name, bounds, whole, min_side), stack, None)
        elif isinstance(source, (str, os.PathLike, bytes, bytearray, memoryview)):
            path = os.fsdecode(source) if isinstance(source, (str, os.PathLike)) else None
            held = stack.enter_context(bounds.memory.reserve(bounds.memory.each)) if file_size(path) > LARGE else None
            data = read_image(source if path is None else path)
            how = Decoding(path or name or "the image's bytes", bounds, whole, min_side)
            yield _from_data(data, how, stack, held)
        else:
            raise ImageError(
                f"can't take a {type(source).__name__} as an image; give a path, bytes, open file, PIL image or array"
            )


def _from_data(data: bytes, how: Decoding, stack: contextlib.ExitStack, held: Reservation | None) -> DecodedImage:
    """Decode a file's bytes. held: what is reserved already, all that one image may take."""
    if not data:
        raise ImageError(f"{how.name} is empty")
    announced = webp_size(data)
    if announced is not None:
        check_size(announced, how)
        reserve(estimate_webp(announced, data, whole=how.whole), announced, how, stack, held)
    with _named_errors(how.name, how.bounds), _opened(data, how.name) as image:
        size = image.size
        check_size(size, how)
        if how.min_side is not None:
            image.draft(None, (how.min_side, how.min_side))
        reduced = image.size != size
        if announced is None:
            reserve(estimate(image, size, data, whole=how.whole), size, how, stack, held)
        if ImageFile.LOAD_TRUNCATED_IMAGES:  # a host application's setting must not turn damage into an answer
            raise ImageError("PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set; damaged images could not be told")
        image.load()
        return DecodedImage(image, how.name, reduced=reduced, data=data)


def _opened(data: bytes, name: str) -> Image.Image:
    kind = isobmff_kind(data)
    return Image.open(io.BytesIO(data), formats=FORMATS) if kind is None else open_isobmff(data, kind, name)


def _from_pil(image: Image.Image, how: Decoding, stack: contextlib.ExitStack) -> DecodedImage:
    """Load a PIL image, whose pixels are its owner's as far as they are there already."""
    with _named_errors(how.name):
        check_size(image.size, how)
        reserve(estimate(image, image.size, b"", whole=how.whole), image.size, how, stack)
        image.load()
        return DecodedImage(image, how.name)


def _from_array(array: npt.NDArray[Any], how: Decoding, stack: contextlib.ExitStack) -> DecodedImage:
    size = check_array(array, how)
    need = array.nbytes + extra_bytes(array, how.channels) + how.whole * stored(size, 4) + converting(size, size)
    reserve(need, size, how, stack)
    return DecodedImage(Image.fromarray(to_pixels(array, how.channels)), how.name)


def reserve(
    need: int, size: tuple[int, int], how: Decoding, stack: contextlib.ExitStack, held: Reservation | None = None
) -> None:
    """Reserve an image's memory, or keep that much of what is held. Raises ImageError for more than one may take."""
    each = how.bounds.memory.each
    if need > each:
        raise TooLargeError(
            f"{how.name} has {size[0]}x{size[1]} pixels and would take about {need // MB:,} MB to decode, over the "
            f"limit of {each // MB:,} MB for one image; --max-memory (max_memory=) raises it"
        )
    if held is None:
        stack.enter_context(how.bounds.memory.reserve(need))
    else:
        held.shrink(need)


def check_size(size: tuple[int, int], how: Decoding) -> None:
    """Raise ImageError for an image without pixels or with more than the limit."""
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"{how.name} has no pixels ({width}x{height})")
    if width * height > how.bounds.pixels:
        raise TooLargeError(
            f"{how.name} has {width}x{height} pixels, over the limit of {how.bounds.pixels:,}; "
            "--max-pixels (max_pixels=) raises it"
        )


def check_array(array: npt.NDArray[Any], how: Decoding) -> tuple[int, int]:
    """Return an array image's (width, height). Raises ImageError for an array that is none within the limit."""
    size = array_size(array)
    check_size(size, how)
    return size


@contextlib.contextmanager
def _named_errors(name: str, bounds: Limits | None = None) -> Iterator[None]:
    """Turn whatever Pillow raises into an ImageError that names the image."""
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        known = ", ".join((*FORMATS, AVIF, "HEIC"))
        raise ImageError(f"{name} is not an image in a supported format ({known})") from error
    except Image.DecompressionBombError as error:
        limit, pillows = (bounds or limits()).pixels, Image.MAX_IMAGE_PIXELS or 0
        if limit >= 2 * pillows:
            raise ImageError(f"{name}: {first_line(error)}; raise PIL.Image.MAX_IMAGE_PIXELS, too") from error
        raise TooLargeError(f"{name} announces more pixels than the limit of {limit:,}") from error
    except Exception as error:
        if out_of_memory(error):
            raise image_error(name, error) from error
        # Decoders raise many kinds on damaged files: OSError, SyntaxError, ValueError, struct.error, zlib.error ...
        raise ImageError(f"{name} is damaged or truncated ({first_line(error)})") from error


def out_of_memory(error: BaseException) -> bool:
    """Whether memory was missing, which Pillow's decoders say in an OSError."""
    return isinstance(error, MemoryError) or "out of memory" in first_line(error)


def image_error(name: str, error: Exception) -> SacvitError:
    """Return the error that answers for an image, whatever kept it from being prepared.

    It may be kept for long, so it is given without the frames that hold the image's pixels.
    """
    if isinstance(error, SacvitError):
        found = error
    elif out_of_memory(error):
        found = ImageError(f"not enough memory to decode {name}; it fits with fewer threads or a smaller image")
    else:
        found = ImageError(f"can't prepare {name} ({type(error).__name__}: {first_line(error)})")
    link: BaseException | None = found
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return found
