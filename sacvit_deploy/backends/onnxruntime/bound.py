"""A session whose inputs and outputs are bound to tensors on a device."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from sacvit_deploy.backends.onnxruntime.session import DTYPES, calling
from sacvit_deploy.device.protocol import DeviceTensor, Stream, TensorSpec


class BoundSession:
    """A session behind the protocol `DeviceEngine`.

    name: its file's. location: the device of addresses to the library, "cpu" or "cuda", with its number. guard: see
    `SessionFactory`.
    """

    def __init__(
        self, session: Any, name: str, location: str, number: int = 0, guard: AbstractContextManager[Any] | None = None
    ) -> None:
        self._session, self.name, self._location, self._number = session, name, location, number
        self._guard = guard
        self.inputs, self.outputs = specs(session.get_inputs()), specs(session.get_outputs())
        self._dimensions = {item.name: item.shape for item in session.get_inputs()}
        self._options: Any = None
        if location == "cuda":
            from onnxruntime import RunOptions

            self._options = RunOptions()
            # What was queued is waited for by events, not by every call.
            self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")

    def rows(self, size: int) -> int:
        return size

    def open_sizes(self, tensors: Mapping[str, DeviceTensor]) -> dict[str, int]:
        """Return the sizes that a call gives to the inputs' open dimensions, by the dimensions' names."""
        return {
            dimension: tensors[name].shape[axis]
            for name, shape in self._dimensions.items()
            for axis, dimension in enumerate(shape)
            if isinstance(dimension, str)
        }

    def enqueue(self, tensors: Mapping[str, DeviceTensor], stream: Stream) -> None:
        """Bind the tensors and run; `stream` is the one the session was opened with. Raises BackendError."""
        binding = self._session.io_binding()
        for name in self.inputs:
            self._bind(binding.bind_input, binding.bind_ortvalue_input, name, tensors[name])
        for name in self.outputs:
            self._bind(binding.bind_output, binding.bind_ortvalue_output, name, tensors[name])
        with calling(self.name, self._guard):
            self._session.run_with_iobinding(binding, self._options)

    def _bind(self, address: Any, value: Any, name: str, tensor: DeviceTensor) -> None:
        if isinstance(tensor.handle, int):
            address(name, self._location, self._number, tensor.dtype, list(tensor.shape), tensor.handle)
        else:
            value(name, tensor.handle)


def specs(items: Any) -> dict[str, TensorSpec]:
    """Return what a session's inputs or outputs are, by name."""
    return {
        item.name: TensorSpec(np.dtype(DTYPES[item.type]), tuple(d if isinstance(d, int) else -1 for d in item.shape))
        for item in items
    }
