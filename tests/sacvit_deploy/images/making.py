"""Images and image files for the tests of this folder."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sacvit_deploy.images.decode import load_image


def colours(height: int = 24, width: int = 32) -> npt.NDArray[np.uint8]:
    """A image without symmetry: every pixel differs, and so does every corner."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 255 // height, columns * 255 // width, (rows + columns) % 7 * 30], axis=2).astype(np.uint8)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(source: Any) -> npt.NDArray[np.uint8]:
    image = load_image(source)
    assert image.mode == "RGB"
    return np.asarray(image)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
