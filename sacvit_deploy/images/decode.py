"""From whatever a user calls an image to RGB pixels, with limits set before anything is decoded."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from sacvit_deploy.errors import ImageError, first_line

ImageSource: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[Any]

# Formats decoded inside Pillow, MPO as a JPEG. EPS (Ghostscript) and the like would start other programs on hostile
# input. Pillow loads all its plugins at the first name it does not know yet, so the common ones stand first.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP", "TIFF")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
MAX_PIXELS = 100_000_000  # about 300 MB as RGB; checked against the header
MAX_BYTES = 256 << 20
WHITE = (255, 255, 255)
ORIENTATION, UPRIGHT = 0x0112, 1  # the EXIF tag, and its value for an image stored as it is shown


def load_image(source: ImageSource, name: str = "the image's bytes") -> Image.Image:
    """Decode an image to RGB as a viewer shows it.

    source: a path, the bytes of a file, a PIL image, or an HWC uint8 array (H x W, or H x W x 1, 3 or 4 channels).
    EXIF rotation is applied, transparency is laid over white, 16 bits become 8, and an animation gives its first frame.
    name: how errors name a file given as bytes. Raises ImageError.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        with _named_errors("the image"):
            return to_rgb(source, "the image")
    data = read_image(source)
    if data is None:
        raise ImageError(
            f"can't take a {type(source).__name__} as an image; give a path, bytes, PIL image or uint8 array"
        )
    image = load_scaled(data, str(Path(source)) if isinstance(source, (str, os.PathLike)) else name, None)
    assert image is not None
    return image


def read_image(source: ImageSource) -> bytes | None:
    """Return the bytes of an image file, or None for an image that is decoded already. Raises ImageError."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    if not isinstance(source, (str, os.PathLike)):
        return None
    path = Path(source)
    try:
        with path.open("rb") as file:
            # A read of the limit would set aside that much memory first. What has no size (a pipe) is read in two goes.
            data = file.read(min(os.fstat(file.fileno()).st_size, MAX_BYTES) + 1)
            data += file.read(MAX_BYTES + 1 - len(data))
    except FileNotFoundError as error:
        raise ImageError(f"{path} does not exist") from error
    except OSError as error:
        raise ImageError(f"can't read {path}: {error.strerror}") from error
    except ValueError as error:  # a NUL in the name
        raise ImageError(f"can't read {str(path)!r}: {error}") from error
    if len(data) > MAX_BYTES:
        raise ImageError(f"{path} is larger than {MAX_BYTES >> 20} MB, the limit for an image file")
    return data


def load_scaled(data: bytes, name: str, min_side: int | None) -> Image.Image | None:
    """Decode a JPEG at the smallest of 1/2, 1/4, 1/8 whose shorter side still has `min_side` pixels.

    Returns RGB as `load_image` does, or None where no such scale reduces the image or it is no JPEG. Without
    `min_side`, an image file of any format is decoded in full. Raises ImageError.
    """
    if not data:
        raise ImageError(f"{name} is empty")
    with _named_errors(name), Image.open(io.BytesIO(data), formats=FORMATS) as image:
        check_size(image, name)
        if min_side is not None:
            size = image.size
            image.draft(None, (min_side, min_side))
            if image.size == size:
                return None
        if ImageFile.LOAD_TRUNCATED_IMAGES:  # a host application's setting must not turn damage into an answer
            raise ImageError("PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set; damaged images could not be told")
        return to_rgb(image, name)


@contextlib.contextmanager
def _named_errors(name: str) -> Iterator[None]:
    """Turn whatever Pillow raises into an ImageError that names the image."""
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not an image in a supported format ({', '.join(FORMATS)})") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} announces more pixels than the limit of {MAX_PIXELS:,}") from error
    except Exception as error:
        # Decoders raise many kinds on damaged files: OSError, SyntaxError, ValueError, struct.error, zlib.error ...
        raise ImageError(f"{name} is damaged or truncated ({first_line(error)})") from error


def check_size(image: Image.Image, name: str) -> None:
    """Raise ImageError for an image without pixels or with more than MAX_PIXELS."""
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError(f"{name} has no pixels ({width}x{height})")
    if width * height > MAX_PIXELS:
        raise ImageError(f"{name} has {width}x{height} pixels, over the limit of {MAX_PIXELS:,}")


def to_rgb(image: Image.Image, name: str) -> Image.Image:
    """Apply EXIF rotation and convert any mode to RGB. Raises ImageError for floating-point images."""
    check_size(image, name)
    image.load()
    # Only where there is something to turn: the function copies every other image.
    with contextlib.suppress(Exception):  # a broken EXIF block: show the image as it is stored, as viewers do
        if image.getexif().get(ORIENTATION, UPRIGHT) != UPRIGHT:
            image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ImageError(f"{name} holds floating-point values, whose range is not known; convert it to 8 bits")
    if image.mode.startswith("I"):
        # 16-bit greyscale, which Pillow opens as I;16 or I.
        values = np.asarray(image).astype(np.int64)
        image = Image.fromarray((values.clip(0, 65535) // 257).astype(np.uint8))
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        flat = Image.new("RGBA", image.size, (*WHITE, 255))
        image = Image.alpha_composite(flat, image)
    # Converting to the same mode would copy.
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_array(array: npt.NDArray[Any]) -> Image.Image:
    if array.dtype != np.uint8:
        raise ImageError(f"an array image must be uint8, not {array.dtype}")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ImageError(f"an array image must be H x W or H x W x 1, 3 or 4, not {list(array.shape)}")
    if 0 in array.shape:
        raise ImageError(f"the array image has no pixels ({array.shape[1]}x{array.shape[0]})")
    return to_rgb(Image.fromarray(np.ascontiguousarray(array)), "the array image")
