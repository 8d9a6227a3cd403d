"""TensorRT and TensorRT-RTX behind the protocol `Backend`: plans instead of ONNX files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sacvit_deploy.backends.protocol import Engine
from sacvit_deploy.backends.tensorrt.device import TensorRTDevice
from sacvit_deploy.backends.tensorrt.library import load_library
from sacvit_deploy.backends.tensorrt.round_trip import RoundTrip
from sacvit_deploy.bundle.bundle import Bundle
from sacvit_deploy.bundle.plans import BuildTarget, find_plans, incompatibilities, list_plans
from sacvit_deploy.device.cuda import find_gpu
from sacvit_deploy.device.protocol import Device


class TensorRTBackend:
    """One of the two libraries on the first GPU. Raises BackendError if the library or a GPU is missing."""

    def __init__(self, runtime: str) -> None:
        self._library = load_library(runtime)
        self.gpu = find_gpu()

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

    def files(self, bundle: Bundle, precision: str) -> dict[str, Path]:
        return find_plans(bundle, precision, self.here)

    def open(self, stage: Path, weights: Path | None) -> Engine:
        """Load one plan, to be run with arrays. Raises BackendError."""
        device = TensorRTDevice(self._library, {"only": stage})
        return RoundTrip(device, "only")

    def device(self, files: Mapping[str, Path]) -> Device | None:
        return TensorRTDevice(self._library, files)
