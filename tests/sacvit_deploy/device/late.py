"""A device whose streams are really queues: work is done as early or as late as events allow, never in between.

The engines and the memory are real; only the order in which two streams get on is chosen, at its extremes.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sacvit_deploy import SACViT
from sacvit_deploy.arrays import Array
from sacvit_deploy.backends.onnxruntime.device import OnnxRuntimeDevice
from sacvit_deploy.backends.onnxruntime.session import SessionFactory
from sacvit_deploy.device.host import HostMemory
from sacvit_deploy.device.protocol import Device, DeviceEngine, DeviceTensor, Memory, Shape, TensorSpec
from sacvit_deploy.stages.context_pool import ContextPool


class Queue:
    """A stream: work not done yet, and whether it is done as soon as it is put in."""

    def __init__(self, eager: bool) -> None:
        self.eager, self.work, self.done, self.put_in = eager, deque[Callable[[], None]](), 0, 0

    def put(self, work: Callable[[], None]) -> None:
        self.work.append(work)
        self.put_in += 1
        if self.eager:
            self.reach(self.put_in)

    def reach(self, end: int) -> None:
        while self.done < end:
            work = self.work.popleft()
            self.done += 1
            work()


class LateMemory(HostMemory):
    """Host memory behind queues. `eager` says of each stream, in the order they are made, when its work is done."""

    def __init__(self, eager: tuple[bool, ...]) -> None:
        super().__init__()
        self._eager = list(eager)
        self._page_locked: list[Array] = []
        self.uploaded = 0

    def pinned(self, shape: Shape, dtype: np.dtype[Any]) -> Array:
        self._page_locked.append(super().pinned(shape, dtype))
        return self._page_locked[-1]

    def stream(self) -> Queue:
        return Queue(self._eager.pop(0))

    def upload(self, target: DeviceTensor, source: Array, stream: Queue) -> None:
        self.uploaded += source.nbytes
        late = any(np.shares_memory(source, array) for array in self._page_locked)
        kept = source if late else source.copy()
        stream.put(lambda: HostMemory.upload(self, target, kept, None))

    def download(self, target: Array, source: DeviceTensor, stream: Queue) -> None:
        stream.put(lambda: HostMemory.download(self, target, source, None))

    def copy(self, target: DeviceTensor, source: DeviceTensor, stream: Queue) -> None:
        first, second, nbytes = target.handle, source.handle, source.nbytes
        assert first + nbytes <= second or second + nbytes <= first, "CUDA does not copy what overlaps"
        stream.put(lambda: HostMemory.copy(self, target, source, None))

    def owns(self, tensor: DeviceTensor) -> bool:
        """Tell whether a tensor lies in memory that is allocated."""
        return any(
            base <= tensor.handle and tensor.handle + tensor.nbytes <= base + block.nbytes
            for base, block in self._kept.items()
        )

    def record_event(self, stream: Queue) -> tuple[Queue, int]:
        return stream, stream.put_in

    def wait_event(self, stream: Queue, event: tuple[Queue, int]) -> None:
        stream.put(lambda: event[0].reach(event[1]))

    def synchronize(self, event: tuple[Queue, int]) -> None:
        event[0].reach(event[1])

    def elapsed(self, start: tuple[Queue, int], end: tuple[Queue, int]) -> float:
        assert start[0].done >= start[1] and end[0].done >= end[1], "asked before both events have passed"
        return 1.0


class LateEngine:
    """An engine whose calls are queued, on memory that is still allocated."""

    def __init__(self, engine: DeviceEngine, memory: LateMemory) -> None:
        self._engine, self._memory = engine, memory
        self.rows = engine.rows
        self.inputs: Mapping[str, TensorSpec] = engine.inputs
        self.outputs: Mapping[str, TensorSpec] = engine.outputs

    def enqueue(self, tensors: Mapping[str, DeviceTensor], stream: Queue) -> None:
        tensors = dict(tensors)
        for name in (*self.inputs, *self.outputs):
            assert self._memory.owns(tensors[name]), f"{name} lies in memory that was freed"
        stream.put(lambda: self._engine.enqueue(tensors, None))


class LateDevice(OnnxRuntimeDevice):
    """ONNX Runtime on the processor, queued."""

    def __init__(self, files: Mapping[str, Path], eager: tuple[bool, ...], max_batch: int | None = None) -> None:
        super().__init__(SessionFactory(1), files)
        self.memory: Memory = LateMemory(eager)
        self.max_batch = max_batch  # type: ignore[assignment]
        self.sizes: dict[str, list[int]] = {}

    def engine(self, role: str, stream: Queue) -> LateEngine:  # type: ignore[override]
        engine = LateEngine(super().engine(role, stream), self.memory)  # type: ignore[arg-type]
        queue = engine.enqueue

        def counting(tensors: Mapping[str, DeviceTensor], stream: Queue) -> None:
            self.sizes.setdefault(role, []).append(tensors[next(iter(engine.outputs))].shape[0])
            queue(tensors, stream)

        engine.enqueue = counting  # type: ignore[method-assign]
        return engine


def put_on(model: SACViT, *devices: Device) -> None:
    """Let a model's stages run on devices."""
    pool, *others = (ContextPool(device, model.config) for device in devices)
    model.opened = dataclasses.replace(model.opened, pool=pool, others=tuple(others))
