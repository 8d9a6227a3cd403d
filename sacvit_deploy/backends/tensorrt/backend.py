"""TensorRT and TensorRT-RTX behind the protocol `Backend`: plans instead of ONNX files."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.backends.protocol import Engine, as_taken
from sacvit_deploy.backends.tensorrt.claims import Claim, claims_of
from sacvit_deploy.backends.tensorrt.device import TensorRTDevice
from sacvit_deploy.backends.tensorrt.library import load_library
from sacvit_deploy.bundle.bundle import Bundle
from sacvit_deploy.bundle.held import EngineFile, Held
from sacvit_deploy.bundle.plans import BuildTarget, find_plans, incompatibilities, list_plans
from sacvit_deploy.device.cuda import find_gpu
from sacvit_deploy.device.protocol import Device, DeviceTensor, batch_shape


class TensorRTBackend:
    """TensorRT or TensorRT-RTX on a GPU. Raises BackendError if the library or that GPU is missing."""

    def __init__(self, runtime: str, number: int = 0) -> None:
        self._library = load_library(runtime)
        self._claims: dict[Path, Claim] = {}  # of the plans that `files` has named
        self.gpu, self._number = find_gpu(number), number

    @property
    def description(self) -> str:
        """Library, version and GPU: `TensorRT 10.3.0, NVIDIA A10`."""
        return f"{self._library.title} {self._library.version}, {self.gpu.name}"

    @property
    def here(self) -> BuildTarget:
        """The library and GPU here, which plans must have been built for."""
        gpu = self.gpu
        return BuildTarget(
            self._library.runtime, self._library.version, gpu.name, (gpu.compute_capability,), gpu.driver
        )

    def precisions(self, bundle: Bundle) -> list[str]:
        """List the variants whose plans fit. Raises BundleError for a damaged plan.json."""
        return [
            record.precision for _, record in list_plans(bundle) if not incompatibilities(record, bundle, self.here)
        ]

    def files(self, bundle: Bundle, precision: str) -> dict[str, Held]:
        plans = find_plans(bundle, precision, self.here)
        self._claims |= claims_of(bundle, precision, {role: plan.path for role, plan in plans.items()})
        return plans

    def open(self, stage: EngineFile, weights: EngineFile | None) -> Engine:
        """Load one plan, to be run with arrays. Raises BackendError."""
        return RoundTrip(TensorRTDevice(self._library, {"only": stage}, self._claims, self._number), "only")

    def device(self, files: Mapping[str, EngineFile]) -> Device | None:
        return TensorRTDevice(self._library, files, self._claims, self._number)


class RoundTrip:
    """A device engine behind the protocol `Engine`: upload, one call, download. Serves one call at a time.

    For checks; the cascade keeps its tensors on the device.
    """

    def __init__(self, device: Device, role: str) -> None:
        # What the device compiles is written when nobody has it any more.
        self._device, self._memory, self._role = device, device.memory, role
        self._stream = self._memory.stream()
        weakref.finalize(self, self._memory.close_stream, self._stream).atexit = False
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
            memory.activate()
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
