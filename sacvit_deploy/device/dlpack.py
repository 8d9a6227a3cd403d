"""Another library's tensor on a device, taken in place by DLPack; numpy takes those of the processor alone."""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from sacvit_deploy.device.protocol import DeviceTensor, Stream

NAME = b"dltensor"  # of a capsule that nobody has taken yet
PROCESSOR = 1  # DLPack's number for it
UNSIGNED = 1  # DLPack's code for unsigned integers


class Place(ctypes.Structure):
    """DLDevice, as its header has it: the kind of a device, and its number."""

    _fields_ = (("kind", ctypes.c_int32), ("number", ctypes.c_int32))


class _Type(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    """DLTensor, as its header has it."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("place", Place),
        ("ndim", ctypes.c_int32),
        ("dtype", _Type),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


# A prototype of our own: the attributes of `ctypes.pythonapi` are the whole process's.
_capsule_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


@dataclass(frozen=True)
class BorrowedImages:
    """Images [B,S,S,3] uint8 of another library on a device. owner: keeps their memory."""

    tensor: DeviceTensor
    owner: Any


def dlpack_device(source: Any) -> tuple[int, int] | None:
    """Return the kind and number of the device that a tensor of any library is on; None for what is no tensor."""
    ask = getattr(source, "__dlpack_device__", None)
    if ask is None:
        return None
    kind, number = ask()
    return int(kind), int(number)


def tensor_in(capsule: Any) -> _Tensor:
    """Return the tensor's description in an unversioned capsule that nobody has taken yet; it lives in the capsule.

    Raises ValueError for another capsule.
    """
    address: int = _capsule_pointer(capsule, NAME)
    return _Tensor.from_address(address)


def borrow_images(source: Any, side: int, stream: Stream) -> BorrowedImages:
    """Return a tensor in place. Raises ValueError unless it is [B,S,S,3] uint8 without gaps, or what its library does.

    stream: whatever its library has yet to do to it is done before what is put into this stream from now on.
    """
    on_processor = source.__dlpack_device__()[0] == PROCESSOR  # where all is done already
    capsule = source.__dlpack__(stream=None if on_processor else int(stream))
    tensor = tensor_in(capsule)
    shape = tuple(tensor.shape[: tensor.ndim])
    kind = (tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes)
    if kind != (UNSIGNED, 8, 1) or len(shape) != 4 or shape[1:] != (side, side, 3):
        raise ValueError(f"its shape is {list(shape)}, and {'it is' if kind == (UNSIGNED, 8, 1) else 'not'} uint8")
    strides = tuple(tensor.strides[:4]) if tensor.strides else ()
    if any(step != dense for step, dense, size in zip(strides, _dense(shape), shape, strict=False) if size > 1):
        raise ValueError("it has gaps, or its axes in another order")
    # The capsule, which nobody renames, lets the memory go with the last reference to it.
    address = (tensor.data or 0) + tensor.byte_offset
    return BorrowedImages(DeviceTensor(address, shape, np.dtype(np.uint8)), capsule)


def _dense(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the steps along each axis, in elements, of a tensor without gaps."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
