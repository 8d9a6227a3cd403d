"""ONNX Runtime as a device: sessions bound to addresses, on CUDA with a stream of ours, or on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sacvit_deploy.backends.onnxruntime.session import CUDA, DTYPES, SessionFactory
from sacvit_deploy.device.host import HostMemory
from sacvit_deploy.device.protocol import DeviceTensor, Memory, Stream, TensorSpec
from sacvit_deploy.errors import BackendError, first_line


class OnnxRuntimeDevice:
    """A variant's engines as sessions, behind the protocol `Device`.

    Each session has its own copy of the weights, so there is one context.
    """

    max_batch = None
    contexts = 1

    def __init__(self, sessions: SessionFactory, files: Mapping[str, Path]) -> None:
        self._sessions, self._files = sessions, files
        self.on_gpu = sessions.provider == CUDA
        self.memory: Memory = HostMemory()
        if self.on_gpu:
            from sacvit_deploy.device.cuda import CudaMemory

            self.memory = CudaMemory()

    def engine(self, role: str, stream: Stream) -> BoundSession:
        """Open the session of a role; all its work goes into `stream`. Raises BackendError."""
        options = {"user_compute_stream": str(int(stream)), "device_id": "0"} if self.on_gpu else {}
        session = self._sessions.open(self._files[role], options)
        return BoundSession(session, self._files[role].name, "cuda" if self.on_gpu else "cpu")


class BoundSession:
    """A session behind the protocol `DeviceEngine`."""

    def __init__(self, session: Any, name: str, device: str) -> None:
        self._session, self._name, self._device = session, name, device
        self.inputs, self.outputs = _specs(session.get_inputs()), _specs(session.get_outputs())
        self._options: Any = None
        if device == "cuda":
            from onnxruntime import RunOptions

            self._options = RunOptions()
            # What was queued is waited for by events, not by every call.
            self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")

    def enqueue(self, tensors: Mapping[str, DeviceTensor], stream: Stream) -> None:
        """Bind the tensors and run; `stream` is the one the session was opened with. Raises BackendError."""
        binding = self._session.io_binding()
        for names, bind in ((self.inputs, binding.bind_input), (self.outputs, binding.bind_output)):
            for name in names:
                tensor = tensors[name]
                bind(name, self._device, 0, tensor.dtype, list(tensor.shape), tensor.address)
        try:
            self._session.run_with_iobinding(binding, self._options)
        except Exception as error:  # the library's own exceptions share no base class but this
            raise BackendError(f"{self._name} failed in ONNX Runtime ({first_line(error)})") from error


def _specs(items: Any) -> dict[str, TensorSpec]:
    """Return what a session's inputs or outputs are, by name."""
    return {
        item.name: TensorSpec(np.dtype(DTYPES[item.type]), tuple(d if isinstance(d, int) else -1 for d in item.shape))
        for item in items
    }
