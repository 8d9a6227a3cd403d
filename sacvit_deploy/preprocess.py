"""From RGB pictures to what the engines see: resize, crop, half-size view, normalise.

Pixels stay 8-bit until the last moment: the half-size view and the gathered patches are normalised, the full-size
picture never is.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from sacvit_deploy.config import Preprocessing
from sacvit_deploy.decode import Pixels

Float = npt.NDArray[np.float32]
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
MAX_ASPECT = 16  # of a longer strip only the middle is resized: its ends would be cropped away anyway


def fit(image: Image.Image, size: int, preprocessing: Preprocessing) -> Pixels:
    """RGB picture -> [S,S,3] uint8: shorter side to round(S / crop), then the centre S x S.

    Rounding follows the ImageNet evaluation recipe, so that a checkpoint sees what it was evaluated on.
    """
    width, height = image.size
    short = min(width, height)
    limit = MAX_ASPECT * short
    if max(width, height) > limit:
        limit += (max(width, height) - limit) % 2  # an even number of pixels goes, so that the centre stays the centre
        width, height = min(width, limit), min(height, limit)
        left, top = (image.width - width) // 2, (image.height - height) // 2
        image = image.crop((left, top, left + width, top + height))
    resized = round(size / preprocessing.crop)
    if short != resized:
        scaled = (max(resized, resized * width // short), max(resized, resized * height // short))
        image = image.resize(scaled, FILTERS[preprocessing.interpolation])
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    if (left, top) != (0, 0) or image.size != (size, size):
        image = image.crop((left, top, left + size, top + size))
    return np.asarray(image)


def normalise(pixels: Float | Pixels, preprocessing: Preprocessing) -> Float:
    """[..., 3] values in 0..255 -> fp32 (value / 255 - mean) / std, channels last."""
    scale, shift = scale_and_shift(preprocessing)
    out: Float = pixels * scale
    out += shift
    return out


def scale_and_shift(preprocessing: Preprocessing) -> tuple[Float, Float]:
    """Per-channel factor and offset that turn 0..255 into normalised values."""
    mean, std = np.array(preprocessing.mean), np.array(preprocessing.std)
    return (1.0 / (255.0 * std)).astype(np.float32), (-mean / std).astype(np.float32)


def low_view(images: Pixels, downsample: str, preprocessing: Preprocessing) -> Float:
    """[B,S,S,3] uint8 -> [B,3,S/2,S/2] fp32, what stage 1 looks at.

    Both ways of downsampling are averages, so they may run before normalising, on a quarter of the values.
    """
    small = _mean_of_four(images) if downsample == "area" else _bilinear_corners(images)
    return np.ascontiguousarray(normalise(small, preprocessing).transpose(0, 3, 1, 2))


def _mean_of_four(images: Pixels) -> Float:
    """2x2 means; the sums are exact in 16 bits."""
    rows = np.add(images[:, ::2], images[:, 1::2], dtype=np.uint16)
    out: Float = (rows[:, :, ::2] + rows[:, :, 1::2]).astype(np.float32)
    out *= np.float32(0.25)
    return out


def _bilinear_corners(images: Pixels) -> Float:
    """Bilinear resize to half size with aligned corners, as CF-ViT and LF-ViT do."""
    size = images.shape[1]
    half = size // 2
    at = np.arange(half) * ((size - 1) / (half - 1))
    low = np.minimum(np.floor(at).astype(np.int64), size - 2)
    share = (at - low).astype(np.float32)
    rows = _lerp(images[:, low], images[:, low + 1], share[None, :, None, None])
    return _lerp(rows[:, :, low], rows[:, :, low + 1], share[None, None, :, None])


def _lerp(a: Float | Pixels, b: Float | Pixels, share: Float) -> Float:
    out: Float = a * (1 - share) + b * share
    return out
