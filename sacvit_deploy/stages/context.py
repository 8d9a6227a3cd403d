"""The buffers, streams and engines that one user of a device works with."""

from __future__ import annotations

from typing import Any

import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.device.protocol import Device, DeviceEngine, DeviceTensor, Event, Shape, size_of

SLOTS = 2  # batches under way in a stage

# Stage 1 runs in the first stream, the rest in the second: the next batch's upload and EE overlap this one's SAC.
STREAM_OF = {"view": 0, "ee": 0, "gather": 1, "sac": 1}


class ExecutionContext:
    """Memory grows to the largest batch asked for and stays; engines are opened when first used."""

    def __init__(self, device: Device, config: ModelConfig) -> None:
        self.device, self.memory, self.config = device, device.memory, config
        self.streams = (self.memory.stream(), self.memory.stream())
        self._engines: dict[str, DeviceEngine] = {}
        self._places: dict[str, tuple[int, int]] = {}  # address and bytes
        self._pinned: dict[str, Array] = {}

    def engine(self, role: str) -> DeviceEngine:
        """The engine of a role. Raises BackendError."""
        if role not in self._engines:
            self._engines[role] = self.device.engine(role, self.streams[STREAM_OF[role]])
        return self._engines[role]

    def place(self, name: str, shape: Shape, dtype: np.dtype[Any]) -> DeviceTensor:
        """Device memory kept under a name; what was in it is lost when it has to grow."""
        nbytes = size_of(shape, dtype)
        address, have = self._places.get(name, (0, -1))
        if have < nbytes:
            if have >= 0:
                del self._places[name]
                self.memory.free(address)
            address = self.memory.allocate(nbytes)
            self._places[name] = address, nbytes
        return DeviceTensor(address, shape, dtype)

    def pinned(self, name: str, shape: Shape, dtype: np.dtype[Any]) -> Array:
        """Page-locked host memory kept under a name."""
        nbytes = size_of(shape, dtype)
        if name not in self._pinned or self._pinned[name].nbytes < nbytes:
            self._pinned[name] = self.memory.pinned((nbytes,), np.dtype(np.uint8))
        return self._pinned[name][:nbytes].view(dtype).reshape(shape)

    def run(self, role: str, tensors: dict[str, DeviceTensor]) -> Event:
        """Queue an engine call in its stream; returns the mark behind it."""
        stream = self.streams[STREAM_OF[role]]
        self.engine(role).enqueue(tensors, stream)
        return self.memory.record_event(stream)

    def settle(self) -> None:
        """Wait for everything that was queued."""
        for stream in self.streams:
            self.memory.synchronize(self.memory.record_event(stream))

    def close(self) -> None:
        """Free the device memory."""
        self._engines.clear()
        while self._places:
            self.memory.free(self._places.popitem()[1][0])
