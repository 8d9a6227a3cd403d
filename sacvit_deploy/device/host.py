"""The CPU as a device: memory is memory, and a stream's work is done at once."""

from __future__ import annotations

import ctypes
import time
from typing import Any

import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.device.linear import LinearMemory
from sacvit_deploy.device.protocol import DeviceTensor, Event, Shape, Stream, size_of, with_room

ALIGNMENT = 256


class HostMemory(LinearMemory):
    """Host memory behind the protocol `Memory`."""

    dlpack_device: tuple[int, int] | None = None  # arrays are decoded, resized and copied as for a real device

    def __init__(self) -> None:
        self._kept: dict[int, Array] = {}  # what holds the memory at an address

    def activate(self) -> None:
        """Do nothing: there is one."""

    def allocate(self, shape: Shape, dtype: np.dtype[Any], room: int = 0) -> DeviceTensor:
        shape = with_room(shape, room)
        array = np.empty(size_of(shape, dtype) + ALIGNMENT, np.uint8)
        address = array.ctypes.data + -array.ctypes.data % ALIGNMENT
        self._kept[address] = array
        return DeviceTensor(address, shape, dtype)

    def free(self, tensor: DeviceTensor) -> None:
        del self._kept[tensor.handle]

    def pinned(self, shape: Shape, dtype: np.dtype[Any]) -> Array:
        return np.empty(shape, dtype)

    def stream(self) -> Stream:
        return None

    def close_stream(self, stream: Stream) -> None:
        """Do nothing: there is none."""

    def upload(self, target: DeviceTensor, source: Array, stream: Stream) -> None:
        ctypes.memmove(target.handle, source.ctypes.data, source.nbytes)

    def download(self, target: Array, source: DeviceTensor, stream: Stream) -> None:
        ctypes.memmove(target.ctypes.data, source.handle, target.nbytes)

    def copy(self, target: DeviceTensor, source: DeviceTensor, stream: Stream) -> None:
        ctypes.memmove(target.handle, source.handle, source.nbytes)

    def record_event(self, stream: Stream) -> Event:
        return time.perf_counter()

    def wait_event(self, stream: Stream, event: Event) -> None:
        """Do nothing: all work is done already."""

    def synchronize(self, event: Event) -> None:
        """Do nothing: all work is done already."""

    def elapsed(self, start: Event, end: Event) -> float:
        return float(end - start)
