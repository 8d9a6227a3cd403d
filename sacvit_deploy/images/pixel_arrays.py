"""From arrays as users have them to pixels: order of channels, layouts, floats, tensors of other libraries.

What could mean two things is refused with a way out, never guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypeAlias, get_args

import numpy as np

from sacvit_deploy.arrays import Array, Pixels
from sacvit_deploy.errors import ImageError, UsageError, first_line

Channels: TypeAlias = Literal["rgb", "bgr"]
COUNTS = (1, 3, 4)  # of channels: grey, colour, colour and alpha


class Tensor(Protocol):
    """Another library's array, torch's for example, which DLPack hands over without a copy."""

    def __dlpack__(self, *args: Any, **options: Any) -> Any: ...


def check_channels(channels: str) -> Channels:
    """Return the order of an array's channels. Raises UsageError for another than `rgb` and `bgr`."""
    for known in get_args(Channels):
        if channels == known:
            return known  # type: ignore[no-any-return]
    raise UsageError(f"channels is {channels!r:.80}; it must be one of {', '.join(get_args(Channels))}")


def is_array(source: object) -> bool:
    """Whether a source is an array, or a tensor that can be taken as one."""
    return isinstance(source, np.ndarray) or hasattr(source, "__dlpack__")


def as_array(source: Any) -> Array:
    """Return an array or tensor as an array of the same memory. Raises ImageError for one that isn't on the CPU."""
    if isinstance(source, np.ndarray):
        return source
    try:
        return np.from_dlpack(source)
    except Exception as error:  # of gradients, devices, bfloat16: each library has its own
        raise ImageError(
            f"can't take this {type(source).__name__} as an image ({first_line(error)}); give it as an array: a "
            "tensor of torch by .detach().cpu().float().numpy()"
        ) from error


def array_size(array: Array) -> tuple[int, int]:
    """Return the (width, height), px, of an array that is one image. Raises ImageError for any other."""
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        remedy = "array.astype('uint8') * 255" if array.dtype == bool else "scale it to 0..255, then .astype('uint8')"
        raise ImageError(f"an array image must be uint8, or floats from 0 to 1, not {array.dtype}; {remedy}")
    height, width = array.shape[1:] if _channels_first(array.shape) else array.shape[:2]
    return width, height


def _channels_first(shape: Sequence[int]) -> bool:
    """Whether an image has the shape C x H x W, not H x W or H x W x C. Raises ImageError where that can't be told."""
    if len(shape) == 2:
        return False
    if len(shape) == 4:
        raise ImageError(f"an array of shape {list(shape)} is a batch; call predict_batch, or give one image of it")
    first, last = (len(shape) == 3 and shape[end] in COUNTS for end in (0, -1))
    if not first and not last:
        raise ImageError(
            f"an array image must be H x W, or H x W x C or C x H x W with 1, 3 or 4 channels, not {list(shape)}"
        )
    if first and last:
        raise ImageError(
            f"an array of shape {list(shape)} may be H x W x C or C x H x W; give an H x W x C array as "
            "PIL.Image.fromarray(array), and squeeze a single channel"
        )
    return first


def to_pixels(array: Array, channels: Channels) -> Pixels:
    """Return an array that `array_size` takes as uint8 [H,W] or [H,W,3 or 4], RGB, in one piece.

    channels: the array's order; alpha is last in both. Raises ImageError for floats outside 0 to 1.
    """
    if array.ndim == 3 and _channels_first(array.shape):
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype != np.uint8:
        array = _from_floats(array)
    if array.ndim == 3 and channels == "bgr":
        array = array[:, :, [2, 1, 0, 3][: array.shape[2]]]
    return np.ascontiguousarray(array)


def extra_bytes(array: Array, channels: Channels) -> int:
    """Return the most bytes that `to_pixels` takes beside the array."""
    floats = 0 if array.dtype == np.uint8 else 4 * array.size + array.size
    return floats + (2 if channels == "bgr" else 1) * array.size


def _from_floats(array: Array) -> Pixels:
    low, high = (float(value) for value in (array.min(), array.max()))
    if not (low >= 0 and high <= 1):  # NaN, too, fails this
        raise ImageError(
            f"a float array must hold values from 0 to 1, not {low:g} to {high:g}; give 0..255 as uint8, and do not "
            "normalise: the runtime does"
        )
    scaled = np.multiply(array, 255, dtype=np.float32, casting="same_kind")
    return np.rint(scaled, out=scaled).astype(np.uint8)
