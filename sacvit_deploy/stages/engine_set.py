"""Streams of a device and the engines that work in them, shared by the contexts that were given them."""

from __future__ import annotations

import threading
from types import TracebackType

from sacvit_deploy.device.protocol import Device, DeviceEngine

# Stage 1 runs in the first stream, the rest in the second: the next batch's EE overlaps this one's SAC.
STREAM_OF = {"view": 0, "ee": 0, "gather": 1, "sac": 1}
UPLOADS = 2  # the stream in which images go up, while the batch before them is in stage 1


class EngineSet:
    """Streams and engines; an engine is opened by its first use.

    `with engine_set:` is for putting work into its streams, by one thread at a time. Waiting for work is done outside.
    """

    def __init__(self, device: Device) -> None:
        self.device, self.memory = device, device.memory
        self.users = 0  # contexts; kept by the pool
        self._engines: dict[str, DeviceEngine] = {}
        self._lock = threading.RLock()
        self.memory.activate()
        self.streams = (self.memory.stream(), self.memory.stream(), self.memory.stream())

    def __enter__(self) -> None:
        self._lock.acquire()
        self.memory.activate()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.release()

    def engine(self, role: str) -> DeviceEngine:
        """Return the engine of a role. Raises BackendError."""
        engine = self._engines.get(role)  # a dict's get needs no lock
        if engine is not None:
            return engine
        with self:
            if role not in self._engines:
                self._engines[role] = self.device.engine(role, self.streams[STREAM_OF[role]])
            return self._engines[role]

    def close(self) -> None:
        """Let the engines go and destroy the streams, whose work is done."""
        with self:
            self._engines.clear()
            for stream in self.streams:
                self.memory.close_stream(stream)
