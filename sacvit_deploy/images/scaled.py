"""Scaled decoding: stage 1's view from a fraction of a JPEG's samples, the full image only where it continues.

A JPEG can be decoded at a half, a quarter or an eighth of its size for less than decoding it all, and resizing the
smaller image costs less again. The view differs slightly from the one that the model was evaluated on (the mean of four
pixels of the full view), so this is off unless asked for; `sacvit bench --scaled --data` measures what it costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from sacvit_deploy.arrays import Float, Pixels
from sacvit_deploy.config import Preprocessing
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.device.dlpack import BorrowedImages
from sacvit_deploy.errors import SacvitError
from sacvit_deploy.images.decode import image_error
from sacvit_deploy.images.preprocess import normalise
from sacvit_deploy.images.workers import Workers


@dataclass(frozen=True, eq=False)
class ScaledImage:
    """Half-resolution view [S/2,S/2,3] uint8 of an image; `load` decodes it in full, [S,S,3]. name: for its errors."""

    view: Pixels
    load: Callable[[], Pixels]
    name: str = "the image"


@dataclass(frozen=True, eq=False)
class BorrowedImage:
    """One of a batch of images that are on the device already, by its number; they lie one behind the other."""

    images: BorrowedImages
    row: int


InputImage: TypeAlias = Pixels | ScaledImage | BorrowedImage


def full_image(image: InputImage) -> Pixels:
    """Return the full view [S,S,3] of an image, decoding it now if only its half-resolution view is there.

    Raises what kept it from being decoded.
    """
    assert not isinstance(image, BorrowedImage)  # those never leave the device
    return image.load() if isinstance(image, ScaledImage) else image


def full_images(images: Sequence[InputImage], rows: Sequence[int]) -> list[Pixels | SacvitError]:
    """Return the full views of the images at `rows`, decoding several in a thread per core; an error in its place."""
    chosen = [images[row] for row in rows]
    if sum(isinstance(image, ScaledImage) for image in chosen) < 2:
        return [_full_or_error(image) for image in chosen]
    with Workers(usable_cores()) as pool:
        futures = [pool.submit(_full_or_error, image) for image in chosen]
        return [future.result() for future in futures]


def _full_or_error(image: InputImage) -> Pixels | SacvitError:
    try:
        return full_image(image)
    except Exception as error:
        return image_error(image.name if isinstance(image, ScaledImage) else "the image", error)


def half_view(image: ScaledImage, preprocessing: Preprocessing) -> Float:
    """Return the EE engine's input [3,S/2,S/2] fp32 from a half-resolution view, normalised."""
    out: Float = np.ascontiguousarray(image.view.transpose(2, 0, 1), dtype=np.float32)
    normalise(out, preprocessing)
    return out
