"""An engine on a device run with arrays: up, one call, down. For checks; the cascade keeps its tensors there."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.backends.protocol import as_taken
from sacvit_deploy.device.protocol import Device, DeviceTensor, closed


class RoundTrip:
    """See `Engine` in `backends`. One call at a time."""

    def __init__(self, device: Device, role: str) -> None:
        self._memory, self._role = device.memory, role
        self._stream = self._memory.stream()
        self._runner = device.engine(role, self._stream)
        self._lock = threading.Lock()

    def input_dtype(self, name: str) -> np.dtype[Any]:
        """The element type of an input."""
        return self._runner.inputs[name].dtype

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once; inputs are made contiguous and cast."""
        runner, memory = self._runner, self._memory
        given = as_taken(inputs, {name: kind.dtype for name, kind in runner.inputs.items()}, self._role)
        batch = len(next(iter(given.values())))
        wanted = {name: (closed(kind, batch), kind.dtype) for name, kind in runner.outputs.items()}
        places: dict[str, DeviceTensor] = {}
        with self._lock:
            try:
                for name, array in given.items():
                    places[name] = DeviceTensor(memory.allocate(array.nbytes), array.shape, array.dtype)
                    memory.upload(places[name].address, array, self._stream)
                for name, (shape, dtype) in wanted.items():
                    place = DeviceTensor(0, shape, dtype)
                    places[name] = DeviceTensor(memory.allocate(place.nbytes), shape, dtype)
                runner.enqueue(places, self._stream)
                out = {name: memory.pinned(shape, dtype) for name, (shape, dtype) in wanted.items()}
                for name, array in out.items():
                    memory.download(array, places[name].address, self._stream)
                memory.synchronize(memory.record_event(self._stream))
            finally:
                for place in places.values():
                    memory.free(place.address)
        return out
