"""The buffers, streams and engines that one thread uses on a device."""

from __future__ import annotations

from typing import Any

import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.device.protocol import Device, DeviceEngine, DeviceTensor, Event, Shape, size_of

SLOTS = 2  # batches in flight in each stage
BYTE = np.dtype(np.uint8)

# Stage 1 runs in the first stream, the rest in the second: the next batch's upload and EE overlap this one's SAC.
STREAM_OF = {"view": 0, "ee": 0, "gather": 1, "sac": 1}


class ExecutionContext:
    """Buffers by name, two streams and the engines of one thread.

    A buffer grows to the largest size asked for and stays; an engine is opened by its first use.
    """

    def __init__(self, device: Device, config: ModelConfig) -> None:
        self.device, self.memory, self.config = device, device.memory, config
        self.streams = (self.memory.stream(), self.memory.stream())
        self._engines: dict[str, DeviceEngine] = {}
        self._buffers: dict[str, DeviceTensor] = {}
        self._pinned: dict[str, Array] = {}

    def engine(self, role: str) -> DeviceEngine:
        """Return the engine of a role. Raises BackendError."""
        if role not in self._engines:
            self._engines[role] = self.device.engine(role, self.streams[STREAM_OF[role]])
        return self._engines[role]

    def buffer(self, name: str, shape: Shape, dtype: np.dtype[Any]) -> DeviceTensor:
        """Return the device memory kept under a name; its content is lost when it has to grow."""
        nbytes = size_of(shape, dtype)
        if name not in self._buffers or self._buffers[name].nbytes < nbytes:
            if name in self._buffers:
                self.memory.free(self._buffers.pop(name))
            self._buffers[name] = self.memory.allocate((nbytes,), BYTE)
        return self._buffers[name].view(shape, dtype)

    def pinned(self, name: str, shape: Shape, dtype: np.dtype[Any]) -> Array:
        """Return the page-locked host memory kept under a name."""
        nbytes = size_of(shape, dtype)
        if name not in self._pinned or self._pinned[name].nbytes < nbytes:
            self._pinned[name] = self.memory.pinned((nbytes,), BYTE)
        return self._pinned[name][:nbytes].view(dtype).reshape(shape)

    def run(self, role: str, tensors: dict[str, DeviceTensor]) -> Event:
        """Queue an engine call in its stream and return the event after it."""
        stream = self.streams[STREAM_OF[role]]
        self.engine(role).enqueue(tensors, stream)
        return self.memory.record_event(stream)

    def synchronize(self) -> None:
        """Wait for everything that was queued."""
        for stream in self.streams:
            self.memory.synchronize(self.memory.record_event(stream))

    def close(self) -> None:
        """Free the device memory."""
        self._engines.clear()
        while self._buffers:
            self.memory.free(self._buffers.popitem()[1])
