"""The processor as a device: memory is memory, and a stream's work is done at once."""

from __future__ import annotations

import ctypes
import time
from typing import Any

import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.device.protocol import Event, Shape, Stream

ALIGNMENT = 256


class HostMemory:
    """See `Memory`."""

    def __init__(self) -> None:
        self._kept: dict[int, Array] = {}

    def allocate(self, nbytes: int) -> int:
        """Aligned memory, held until it is freed."""
        array = np.empty(nbytes + ALIGNMENT, np.uint8)
        address = array.ctypes.data + -array.ctypes.data % ALIGNMENT
        self._kept[address] = array
        return address

    def free(self, address: int) -> None:
        """Forget it."""
        del self._kept[address]

    def pinned(self, shape: Shape, dtype: np.dtype[Any]) -> Array:
        """An ordinary array."""
        return np.empty(shape, dtype)

    def stream(self) -> Stream:
        """Nothing to keep."""
        return None

    def upload(self, target: int, source: Array, stream: Stream) -> None:
        """Copy."""
        ctypes.memmove(target, source.ctypes.data, source.nbytes)

    def download(self, target: Array, source: int, stream: Stream) -> None:
        """Copy."""
        ctypes.memmove(target.ctypes.data, source, target.nbytes)

    def copy(self, target: int, source: int, nbytes: int, stream: Stream) -> None:
        """Copy."""
        ctypes.memmove(target, source, nbytes)

    def record_event(self, stream: Stream) -> Event:
        """The time."""
        return time.perf_counter()

    def wait_event(self, stream: Stream, event: Event) -> None:
        """All is done already."""

    def synchronize(self, event: Event) -> None:
        """All is done already."""

    def elapsed(self, start: Event, end: Event) -> float:
        """The difference."""
        return float(end - start)
