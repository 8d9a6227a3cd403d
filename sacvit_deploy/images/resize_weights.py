"""What `fit` does to an image as two matrices of whole numbers, for a device that has no Pillow.

Pillow multiplies pixels by weights of 22 bits behind the point, adds up in whole numbers and rounds to 8 bits, once
across and once down. A weight is two halves of 11 bits, `high` and `low`, which half precision and TF32 hold, so that
products and sums of either are exact in single precision, whatever their order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sacvit_deploy.arrays import Array
from sacvit_deploy.config import Preprocessing
from sacvit_deploy.images.preprocess import MAX_SIDE, middle_box, resized_shape
from sacvit_deploy.images.strips import SIDEWAYS, Turn

BITS = 22  # behind the point, Pillow's PRECISION_BITS
HALF = 11
EXACT = 1 << 24  # whole numbers up to this are exact in single precision
SUPPORT = {"bicubic": 2.0, "bilinear": 1.0}  # px that a filter reaches, to either side
Weights = npt.NDArray[np.int32]


@dataclass(frozen=True)
class FitWeights:
    """The two halves of the weights across, [W,S], and down, [S,H], of an upright image of W x H, fp16, all exact."""

    across_high: Array
    across_low: Array
    down_high: Array
    down_low: Array


def fit_weights(
    stored: tuple[int, int], turn: Turn | None, size: int, preprocessing: Preprocessing
) -> FitWeights | None:
    """Return the weights of an image stored with this (width, height), which is turned on the way.

    A turn that swaps the sides is made before them; a mirrored side is in the weights. None where `fit` does more than
    resize and cut out the centre, or where sums would not be exact: of images that are very long or very large.
    """
    shape = (stored[1], stored[0]) if turn in SIDEWAYS else stored
    squashed = preprocessing.resize == "squash"
    if max(shape) > MAX_SIDE or (not squashed and middle_box(shape) != (0, 0, *shape)):
        return None
    halves: list[Array] = []
    mirrored = (
        turn in (Turn.FLIP_LEFT_RIGHT, Turn.ROTATE_180, Turn.ROTATE_270, Turn.TRANSVERSE),
        turn in (Turn.FLIP_TOP_BOTTOM, Turn.ROTATE_180, Turn.ROTATE_90, Turn.TRANSVERSE),
    )
    for length, target, mirror in zip(shape, resized_shape(shape, size, preprocessing), mirrored, strict=True):
        weights = resize_weights(length, target, preprocessing.interpolation, round((target - size) / 2), size)
        weights = weights[:, ::-1] if mirror else weights
        high = (weights + (1 << HALF - 1)) >> HALF
        # Of weights above one, which bicubic has at the edges of small images: half precision has only even ones there.
        high = np.where(np.abs(high) > 1 << HALF, (weights + (1 << HALF)) >> HALF + 1 << 1, high)
        low = weights - (high << HALF)
        if 255 * max(int(np.abs(half).sum(axis=1).max()) for half in (high, low)) >= EXACT:
            return None
        halves += [high.astype(np.float16), low.astype(np.float16)]
    across_high, across_low, down_high, down_low = halves
    return FitWeights(
        np.ascontiguousarray(across_high.T), np.ascontiguousarray(across_low.T),
        np.ascontiguousarray(down_high), np.ascontiguousarray(down_low),
    )  # fmt: skip


def resize_weights(length: int, target: int, interpolation: str, first: int, count: int) -> Weights:
    """Return the weights [count,length] of `length` pixels for pixels first .. first+count-1 of `target`.

    They are Pillow's to the last bit (`precompute_coeffs`), so every step is its own, in its order.
    """
    scale = length / target
    stretch = max(scale, 1.0)
    support = SUPPORT[interpolation] * stretch
    centre = (np.arange(first, first + count) + 0.5) * scale
    low = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    high = np.minimum((centre + support + 0.5).astype(np.int64), length)
    places = low[:, None] + np.arange(int((high - low).max()))
    distance = np.abs((places - centre[:, None] + 0.5) * (1.0 / stretch))
    weights = np.where(places < high[:, None], _filtered(distance, interpolation), 0.0)
    weights /= np.cumsum(weights, axis=1)[:, -1:]  # adds up one after another, as Pillow does
    whole = np.trunc(weights * (1 << BITS) + np.copysign(0.5, weights)).astype(np.int32)
    out: Weights = np.zeros((count, length + places.shape[1]), np.int32)
    np.put_along_axis(out, places, whole, axis=1)
    return out[:, :length]


def _filtered(x: npt.NDArray[np.float64], interpolation: str) -> npt.NDArray[np.float64]:
    """Return a filter's values at distances from its centre."""
    if interpolation == "bilinear":
        return np.where(x < 1, 1 - x, 0.0)
    a = -0.5
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))
