"""What users hand over as images: their names, copies that nobody else changes, and what is no batch of them."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from sacvit_deploy.errors import SacvitError, UsageError
from sacvit_deploy.images.budget import Limits
from sacvit_deploy.images.decode import Decoding, ImageSource, check_array, image_error, load_image
from sacvit_deploy.images.pixel_arrays import COUNTS, as_array, is_array
from sacvit_deploy.images.reading import is_open_file, read_open

HELD = 256 << 20  # bytes of copies that one stream keeps for its worker threads


@dataclass(frozen=True, eq=False)
class Claimed:
    """A source as it was when it was taken: our own copy of it, or the error met in copying. name: the source's."""

    name: str
    source: ImageSource | None
    error: SacvitError | None = None


AnySource: TypeAlias = ImageSource | Claimed


def name_of(source: AnySource) -> str:
    """Return the name of an image in answers and errors: its path, or the type of anything else. Raises nothing."""
    if isinstance(source, Claimed):
        return source.name
    try:
        if isinstance(source, (str, os.PathLike)):
            return os.fsdecode(source)
        if is_open_file(source) and isinstance(path := getattr(source, "name", None), str):
            return path
    except Exception:  # a path object's own __fspath__
        pass
    return f"<{type(source).__name__}>"


def claim(source: AnySource, bounds: Limits) -> tuple[AnySource, int]:
    """Take an image that its owner may change, or use in another thread, before a worker gets to it.

    Returns it and the bytes of the copy. PIL images are decoded and copied as RGB, arrays and buffers copied as they
    are, open files read; paths and bytes stay as they are, without bytes of their own.
    """
    if isinstance(source, Claimed):
        held = source.source
        return source, held.nbytes if isinstance(held, np.ndarray) else len(held) if isinstance(held, bytes) else 0
    if isinstance(source, (str, bytes, os.PathLike)):
        return source, 0
    name = name_of(source)
    try:
        if isinstance(source, Image.Image):
            image = load_image(source, bounds=bounds)
            if image is source:
                image = image.copy()
            return Claimed(name, image), 4 * image.width * image.height
        if is_array(source):
            array = as_array(source)
            check_array(array, Decoding("the array image", bounds))
            pixels = np.array(array, order="C", copy=True)
            return Claimed(name, pixels), pixels.nbytes
        if isinstance(source, (bytearray, memoryview)):
            data = bytes(source)
            return Claimed(name, data), len(data)
        if is_open_file(source):
            data = read_open(source, name)
            return Claimed(name, data), len(data)
    except Exception as error:
        return Claimed(name, None, image_error(name, error)), 0
    return source, 0


def check_batch(sources: Any) -> None:
    """Raise UsageError for one image where a batch of them is expected: taken apart, it would be rows or letters."""
    one = isinstance(sources, (str, bytes, bytearray, memoryview, os.PathLike, Image.Image, io.IOBase))
    one = one or is_open_file(sources)
    described = f"a {type(sources).__name__}"
    if is_array(sources) and not (isinstance(sources, np.ndarray) and sources.dtype.kind not in "biuf"):
        shape = list(sources.shape)
        described = f"an array of shape {shape}"
        one = len(shape) < 3 or (len(shape) == 3 and shape[2] in COUNTS)
        if not one and len(shape) == 3 and shape[0] in COUNTS[1:]:
            raise UsageError(
                f"{described} may be one image or {shape[0]} grey ones; give [array] for one, list(array) for several"
            )
    if one:
        raise UsageError(f"{described} is one image, not several; put it into a list, or call predict for one image")
    if not (hasattr(sources, "__iter__") or hasattr(sources, "__getitem__")):
        raise UsageError(f"{described} holds no images; give a list, an iterator, or a uint8 array [B,H,W,3]")
