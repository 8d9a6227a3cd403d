"""Execution contexts of one device, lent to threads and used again."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator
from typing import Any

from sacvit_deploy.config import ModelConfig
from sacvit_deploy.device.dlpack import dlpack_device
from sacvit_deploy.device.protocol import Device
from sacvit_deploy.errors import BackendError, UsageError
from sacvit_deploy.forks import forget_in_children, keep_forever
from sacvit_deploy.stages.context import ExecutionContext
from sacvit_deploy.stages.device import DeviceStages
from sacvit_deploy.stages.engine_set import EngineSet

IDLE = 4  # contexts whose buffers are kept


class ContextPool:
    """Lends contexts, one to each stream of images under way, on as many engine sets as the device offers.

    Nobody waits for a context: a stream that is suspended, and `predict` inside its loop, have one each. Safe to use
    from several threads.
    """

    def __init__(self, device: Device, config: ModelConfig) -> None:
        self.device, self._config = device, config
        self._lock = threading.Lock()
        self._engine_sets: list[EngineSet] = []
        self._idle: list[ExecutionContext] = []
        self._forked = False
        self._closing = weakref.finalize(self, close_all, self._engine_sets, self._idle)
        self._closing.atexit = False  # the libraries may have gone by then
        forget_in_children(self)

    def forget(self) -> None:
        """Refuse all work in a forked child: a device's contexts belong to the process that made them."""
        self._closing.detach()
        keep_forever((self.device, self._engine_sets, self._idle))
        self._forked = True

    @property
    def lent(self) -> int:
        """Number of contexts that threads have at present."""
        with self._lock:
            return sum(engine_set.users for engine_set in self._engine_sets)

    def holds(self, source: Any) -> bool:
        """Tell whether a source is a tensor of another library on this device."""
        device = self.device.memory.dlpack_device
        return device is not None and dlpack_device(source) == device

    def warm(self) -> None:
        """Open stage 1's engines now, so that what keeps them from opening shows at once. Raises BackendError."""
        context = self._take()
        for role in ("view", "ee"):
            context.engine(role)
        self._give_back(context)

    def check(self, batch: int) -> None:
        """Raise UsageError for a batch larger than an engine call may have, BackendError in a forked child."""
        if self._forked:
            raise BackendError(
                "this model was opened before the process was forked, and a GPU serves only the process that opened "
                "it; open SACViT in the child, or start children by spawn"
            )
        limit = self.device.max_batch
        if limit is not None and batch > limit:
            raise UsageError(
                f"the plans take up to {limit} images a call, not {batch}; ask for smaller batches, or build plans "
                f"with --batch 1,{batch},{batch}"
            )

    @contextlib.contextmanager
    def stages(self, count: int, batch: int) -> Iterator[DeviceStages]:
        """Lend both stages to one thread, for M = `count` and calls of up to `batch` images.

        Raises UsageError, BackendError.
        """
        self.check(batch)
        context = self._take()
        try:
            yield DeviceStages(context, count, batch)
            context.synchronize()
        except BaseException as error:
            # Whoever iterated has left: what is under way ends, and the engines serve the next one.
            if isinstance(error, GeneratorExit) and _settled(context):
                context.drop_pinned()
                self._give_back(context)
            else:
                self._drop(context)
            raise
        self._give_back(context)

    def _take(self) -> ExecutionContext:
        """Return an idle context, or one on the engine set that is used least. Raises BackendError."""
        with self._lock:
            if self._idle:
                context = self._idle.pop()
            else:
                least = min(self._engine_sets, key=lambda engine_set: engine_set.users, default=None)
                if least is None or (least.users and len(self._engine_sets) < self.device.engine_sets):
                    least = EngineSet(self.device)
                    self._engine_sets.append(least)
                context = ExecutionContext(least, self._config)
            context.engine_set.users += 1
            return context

    def _give_back(self, context: ExecutionContext) -> None:
        with self._lock:
            context.engine_set.users -= 1
            lent = context.engine_set in self._engine_sets
            unused = not lent and context.engine_set.users == 0  # told here, to one thread alone
            if lent and len(self._idle) < IDLE:
                self._idle.append(context)
                return
        context.close()
        if unused:
            _close(context.engine_set)

    def _drop(self, context: ExecutionContext) -> None:
        """Let a context go and lend its engine set to nobody: an error of the device may stay with what met it."""
        engine_set = context.engine_set
        with self._lock:
            engine_set.users -= 1
            if engine_set in self._engine_sets:
                self._engine_sets.remove(engine_set)
            idle = [each for each in self._idle if each.engine_set is engine_set]
            self._idle[:] = [each for each in self._idle if each.engine_set is not engine_set]
            unused = engine_set.users == 0
        for each in (context, *idle):
            with contextlib.suppress(Exception):
                each.synchronize()
            _close(each)
        if unused:
            _close(engine_set)


def _settled(context: ExecutionContext) -> bool:
    """Wait for a context's work; tell whether all of it went well."""
    try:
        context.synchronize()
    except BackendError:
        return False
    return True


def close_all(engine_sets: list[EngineSet], idle: list[ExecutionContext]) -> None:
    """Free the buffers, engines and streams of a pool that nobody has any more."""
    for context in idle:
        _close(context)
    for engine_set in engine_sets:
        _close(engine_set)


def _close(thing: ExecutionContext | EngineSet) -> None:
    """Close what may have failed; there is nothing to be done about what fails now."""
    with contextlib.suppress(Exception):
        thing.close()
