"""Execution contexts of one device, lent to threads and used again."""

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
    """Lends contexts, one to each thread, up to as many as the device offers. Safe to use from several threads."""

    def __init__(self, device: Device, config: ModelConfig) -> None:
        self.device, self._config = device, config
        self._free = threading.Semaphore(device.contexts)
        self._idle: list[ExecutionContext] = []

    def warm(self) -> None:
        """Open stage 1's engines now, so that what keeps them from opening shows at once. Raises BackendError."""
        context = ExecutionContext(self.device, self._config)
        for role in ("view", "ee"):
            context.engine(role)
        self._idle.append(context)

    def check(self, batch: int) -> None:
        """Raise UsageError for a batch larger than an engine call may have."""
        limit = self.device.max_batch
        if limit is not None and batch > limit:
            raise UsageError(
                f"the plans take up to {limit} images a call, not {batch}; ask for smaller batches, or build plans "
                f"with --batch 1,{batch},{batch}"
            )

    @contextlib.contextmanager
    def stages(self, count: int, batch: int) -> Iterator[DeviceStages]:
        """Lend both stages to one thread, for M = `count` and calls of up to `batch` images. Raises UsageError."""
        self.check(batch)
        with self._free:
            context = self._idle.pop() if self._idle else ExecutionContext(self.device, self._config)
            try:
                yield DeviceStages(context, count, batch)
                context.synchronize()
            except BaseException:
                # Work may be left in its streams, and an error of the device stays with the context that met it.
                with contextlib.suppress(Exception):
                    context.synchronize()
                    context.close()
                raise
            self._idle.append(context)
