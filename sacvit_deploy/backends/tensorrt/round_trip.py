"""Run a device engine with host arrays: upload, one call, download. For checks; the cascade keeps its tensors there."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.backends.protocol import as_taken
from sacvit_deploy.device.protocol import Device, DeviceTensor, batch_shape


class RoundTrip:
    """A device engine behind the protocol `Engine`. Serves one call at a time."""

    def __init__(self, device: Device, role: str) -> None:
        self._memory, self._role = device.memory, role
        self._stream = self._memory.stream()
        self._runner = device.engine(role, self._stream)
        self._lock = threading.Lock()

    def input_dtype(self, name: str) -> np.dtype[Any]:
        return self._runner.inputs[name].dtype

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        runner, memory, stream = self._runner, self._memory, self._stream
        arrays = as_taken(inputs, {name: spec.dtype for name, spec in runner.inputs.items()}, self._role)
        batch = len(next(iter(arrays.values())))
        outputs = {name: (batch_shape(spec, batch), spec.dtype) for name, spec in runner.outputs.items()}
        tensors: dict[str, DeviceTensor] = {}
        with self._lock:
            try:
                for name, array in arrays.items():
                    tensors[name] = memory.allocate(array.shape, array.dtype)
                    memory.upload(tensors[name], array, stream)
                for name, (shape, dtype) in outputs.items():
                    tensors[name] = memory.allocate(shape, dtype)
                runner.enqueue(tensors, stream)
                results = {name: memory.pinned(shape, dtype) for name, (shape, dtype) in outputs.items()}
                for name, array in results.items():
                    memory.download(array, tensors[name], stream)
                memory.synchronize(memory.record_event(stream))
            finally:
                for tensor in tensors.values():
                    memory.free(tensor)
        return results
