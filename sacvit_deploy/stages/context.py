"""The buffers that one thread uses on a device, and the engine set its work goes into."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.device.protocol import DeviceEngine, DeviceTensor, Event, Shape, size_of
from sacvit_deploy.stages.engine_set import STREAM_OF, EngineSet

T = TypeVar("T")
SLOTS = 2  # batches in flight in each stage
SETS = 64  # sets of buffers that are remembered
BYTE = np.dtype(np.uint8)


class ExecutionContext:
    """Buffers by name, on one engine set. A buffer grows to the largest size asked for and stays."""

    def __init__(self, engine_set: EngineSet, config: ModelConfig) -> None:
        self.engine_set, self.memory, self.config = engine_set, engine_set.memory, config
        self.streams = engine_set.streams
        self._buffers: dict[str, DeviceTensor] = {}
        self._pinned: dict[str, Array] = {}
        self._sets: dict[tuple[Any, ...], Any] = {}  # of `kept`, while no buffer changes

    def engine(self, role: str) -> DeviceEngine:
        """Return the engine of a role. Raises BackendError."""
        return self.engine_set.engine(role)

    def buffer(self, name: str, shape: Shape, dtype: np.dtype[Any], room: int = 0) -> DeviceTensor:
        """Return the device memory kept under a name; its content is lost when it has to be another.

        room: rows to make room for at once.
        """
        kept = self._buffers.get(name)
        tensor = None if kept is None else self.memory.reshaped(kept, shape, dtype, room)
        if tensor is None:
            self._sets.clear()
            if kept is not None:
                self.memory.free(self._buffers.pop(name))
            kept = self._buffers[name] = self.memory.allocate(shape, dtype, room)
            tensor = self.memory.reshaped(kept, shape, dtype, room)
            assert tensor is not None
        return tensor

    def kept(self, key: tuple[Any, ...], make: Callable[[], T]) -> T:
        """Return buffers that belong together, as `make` gets them: the same as long as no buffer had to be another.

        key: what they are, and all that their shapes depend on.
        """
        found: T | None = self._sets.get(key)
        if found is None:
            if len(self._sets) >= SETS:
                self._sets.clear()
            found = make()
            self._sets[key] = found
        return found

    def pinned(self, name: str, shape: Shape, dtype: np.dtype[Any]) -> Array:
        """Return the page-locked host memory kept under a name."""
        nbytes = size_of(shape, dtype)
        if name not in self._pinned or self._pinned[name].nbytes < nbytes:
            self._sets.clear()
            self._pinned[name] = self.memory.pinned((nbytes,), BYTE)
        return self._pinned[name][:nbytes].view(dtype).reshape(shape)

    def drop_pinned(self) -> None:
        """Let the page-locked memory go, as threads that somebody left behind may yet write into it."""
        with self.engine_set:
            self._sets.clear()
            self._pinned.clear()

    def run(self, role: str, tensors: dict[str, DeviceTensor]) -> Event:
        """Queue an engine call in its stream and return the event after it."""
        stream = self.streams[STREAM_OF[role]]
        self.engine(role).enqueue(tensors, stream)
        return self.memory.record_event(stream)

    def synchronize(self) -> None:
        """Wait for everything that was queued."""
        with self.engine_set:
            events = [self.memory.record_event(stream) for stream in self.streams]
        for event in events:
            self.memory.synchronize(event)

    def close(self) -> None:
        """Free the device memory."""
        with self.engine_set:
            self._sets.clear()
            while self._buffers:
                self.memory.free(self._buffers.popitem()[1])
