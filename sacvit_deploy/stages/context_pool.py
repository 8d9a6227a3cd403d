"""Who may use a device: a lane for each thread, up to as many as it offers, used again by the next."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from sacvit_deploy.config import ModelConfig
from sacvit_deploy.device.protocol import Device
from sacvit_deploy.errors import UsageError
from sacvit_deploy.stages.context import ExecutionContext
from sacvit_deploy.stages.device import DeviceStages


class ContextPool:
    """Lanes of one device. Safe to use from several threads."""

    def __init__(self, device: Device, config: ModelConfig) -> None:
        self.device, self._config = device, config
        self._free = threading.Semaphore(device.contexts)
        self._idle: list[ExecutionContext] = []

    def warm(self) -> None:
        """Open stage 1's engines now, so that what keeps them from opening shows at once. Raises BackendError."""
        lane = ExecutionContext(self.device, self._config)
        for role in ("view", "ee"):
            lane.engine(role)
        self._idle.append(lane)

    def check(self, batch: int) -> None:
        """Raise UsageError for more pictures than an engine call may have."""
        most = self.device.most
        if most is not None and batch > most:
            raise UsageError(
                f"the plans take up to {most} pictures a call, not {batch}; ask for smaller batches, or build plans "
                f"with --batch 1,{batch},{batch}"
            )

    @contextlib.contextmanager
    def stages(self, count: int, batch: int) -> Iterator[DeviceStages]:
        """Both stages for M = `count` and calls of up to `batch` pictures, for one thread. Raises UsageError."""
        self.check(batch)
        with self._free:
            lane = self._idle.pop() if self._idle else ExecutionContext(self.device, self._config)
            try:
                yield DeviceStages(lane, count, batch)
                lane.settle()
            except BaseException:
                # Work may be left in its streams, and an error of the device stays with what met it.
                with contextlib.suppress(Exception):
                    lane.settle()
                    lane.close()
                raise
            self._idle.append(lane)
