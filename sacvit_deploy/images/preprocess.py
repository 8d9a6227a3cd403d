"""From RGB images to the engines' inputs: resize, crop, half-size view, normalise.

Pixels stay 8-bit until the last moment: the half-size view and the gathered patches are normalised, the full-size
image never is.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from sacvit_deploy.arrays import Array, Float, Pixels
from sacvit_deploy.config import Preprocessing

FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
MAX_ASPECT = 16  # of a longer strip only the middle is resized: its ends would be cropped away anyway
MAX_SIDE = 65_536  # px that are squashed; no JPEG has more, and a strip of 100 million takes gigabytes of weights


def fit(image: Image.Image, size: int, preprocessing: Preprocessing) -> Pixels:
    """Resize an RGB image as `resized_shape` says and cut out the centre, [S,S,3] uint8.

    This is the ImageNet evaluation recipe byte for byte, so that a checkpoint sees what it was evaluated on; strips
    longer than MAX_ASPECT or MAX_SIDE, for which it would take gigabytes, are near it.
    """
    if preprocessing.resize == "squash":
        image = _shortened(image)
    elif (box := middle_box(image.size)) != (0, 0, *image.size):
        image = image.crop(box)
    shape = resized_shape(image.size, size, preprocessing)
    if shape != image.size:
        # Columns first, then rows, each rounded to 8 bits. In one call Pillow 13 chooses the order by the image's
        # shape, earlier ones don't, and the order changes last bits.
        for step in ((shape[0], image.height), shape):
            image = image.resize(step, FILTERS[preprocessing.interpolation])
    return cut_centre(image, size)


def cut_centre(image: Image.Image, size: int) -> Pixels:
    """Cut the middle out of an image of at least S x S pixels, [S,S,3] uint8."""
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    if (left, top) != (0, 0) or image.size != (size, size):
        image = image.crop((left, top, left + size, top + size))
    return np.asarray(image)


def resized_side(size: int, preprocessing: Preprocessing) -> int:
    """Return S / crop in whole pixels: what the shorter side becomes, or, squashed, both sides."""
    side = size / preprocessing.crop
    return int(side) if preprocessing.resize_rounding == "floor" else round(side)


def resized_shape(shape: tuple[int, int], size: int, preprocessing: Preprocessing) -> tuple[int, int]:
    """Return the (width, height), px, that an image of (width, height) is resized to before its centre is cut out."""
    side = resized_side(size, preprocessing)
    if preprocessing.resize == "squash":
        return side, side
    # torchvision's int(side * length / short) in floats is the same for all lengths below 2^53 / side.
    return side * shape[0] // min(shape), side * shape[1] // min(shape)


def middle_box(shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the left, top, right and bottom of what is left of an image whose ends are cut off beyond MAX_ASPECT."""
    width, height = shape
    limit = MAX_ASPECT * min(width, height)
    limit += (max(width, height) - limit) % 2  # an even number of pixels goes, so that the centre stays the centre
    left, top = max(0, width - limit) // 2, max(0, height - limit) // 2
    return left, top, left + min(width, limit), top + min(height, limit)


def _shortened(image: Image.Image) -> Image.Image:
    """Halve a side longer than MAX_SIDE, or divide it by 3, 4, ...: each pixel is the mean of so many neighbours."""
    factors, box = shortening(image.size)
    return image if factors == (1, 1) else image.reduce(factors, box)


def shortening(shape: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """Return how many pixels become one across and down, and the box of those that do; the rest is lost at two ends."""
    width, height = shape
    factor = -(-max(shape) // MAX_SIDE)
    rest = max(shape) % factor
    if width > height:
        return (factor, 1), (rest // 2, 0, width - rest + rest // 2, height)
    return (1, factor), (0, rest // 2, width, height - rest + rest // 2)


def normalise(values: Float, preprocessing: Preprocessing) -> None:
    """Normalise [...,3,H,W] values in 0..255 in place, to (value / 255 - mean) / std."""
    scale, shift = scale_and_shift(preprocessing)
    values *= scale[:, None, None]
    values += shift[:, None, None]


@cache
def scale_and_shift(preprocessing: Preprocessing) -> tuple[Float, Float]:
    """Return the factor and the offset [3] that turn values in 0..255 into normalised ones."""
    mean, std = np.array(preprocessing.mean), np.array(preprocessing.std)
    scale, shift = (1.0 / (255.0 * std)).astype(np.float32), (-mean / std).astype(np.float32)
    for array in (scale, shift):
        array.flags.writeable = False  # the cache hands out the same arrays again
    return scale, shift


def low_view(images: Sequence[Pixels] | Pixels, downsample: str, preprocessing: Preprocessing) -> Float:
    """Return stage 1's input [B,3,S/2,S/2] fp32 for B images [S,S,3] uint8.

    Both ways of downsampling are averages, so they may run before normalising, on a quarter of the values. One image at
    a time, so that intermediate values stay in the cache.
    """
    half = images[0].shape[0] // 2
    out = np.empty((len(images), 3, half, half), np.float32)
    for image, view in zip(images, out, strict=True):
        if downsample == "area":
            _mean_of_four(image, view)
        else:
            view[:] = _bilinear_corners(image).transpose(2, 0, 1)
        normalise(view, preprocessing)
    return out


def _mean_of_four(image: Pixels, out: Float) -> None:
    """Write the 2x2 means of [S,S,3] into [3,S/2,S/2]; the sums are exact in 16 bits.

    Channel by channel: numpy's inner loop then runs along a row of pixels, not over three channels.
    """
    rows = np.add(image[::2], image[1::2], dtype=np.uint16)
    for channel, plane in enumerate(out):
        np.add(rows[:, ::2, channel], rows[:, 1::2, channel], out=plane)
    out *= np.float32(0.25)


def _bilinear_corners(image: Pixels) -> Float:
    """Resize [S,S,3] to [S/2,S/2,3] bilinearly with aligned corners, as CF-ViT and LF-ViT do."""
    low, weight = corner_weights(len(image))
    rows = _lerp(image[low], image[low + 1], weight[:, None, None])
    return _lerp(rows[:, low], rows[:, low + 1], weight[:, None])


def corner_weights(size: int) -> tuple[npt.NDArray[np.int64], Float]:
    """Return, for each of S/2 output lines, the first of its two input lines and the weight of the second."""
    half = size // 2
    at = np.arange(half) * ((size - 1) / (half - 1))
    low = np.minimum(np.floor(at).astype(np.int64), size - 2)
    return low, (at - low).astype(np.float32)


def _lerp(a: Float | Pixels, b: Float | Pixels, weight: Float) -> Float:
    return np.asarray(a * (1 - weight) + b * weight)


def full_view(images: Sequence[Pixels], preprocessing: Preprocessing) -> Array:
    """Return the plain DeiT's input [B,3,S,S] fp32 for B images [S,S,3] uint8, normalised one image at a time."""
    size = images[0].shape[0]
    out = np.empty((len(images), 3, size, size), np.float32)
    for image, view in zip(images, out, strict=True):
        view[:] = image.transpose(2, 0, 1)
        normalise(view, preprocessing)
    return out
