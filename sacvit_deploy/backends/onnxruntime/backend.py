"""ONNX Runtime behind the protocol `Backend`: engines with arrays in and out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.backends.onnxruntime.session import CUDA, DTYPES, SHORT_NAMES, SessionFactory, load_library
from sacvit_deploy.backends.protocol import as_taken
from sacvit_deploy.errors import BackendError, first_line

if TYPE_CHECKING:
    from sacvit_deploy.bundle.bundle import Bundle
    from sacvit_deploy.device.protocol import Device


class OnnxRuntimeBackend:
    """Engines on one execution provider. Raises BackendError if the library or the provider is not there."""

    def __init__(self, provider: str, threads: int, weights: str = "packed") -> None:
        self._library = load_library()
        self.provider = SHORT_NAMES.get(provider.lower(), provider)
        self.threads = threads
        self.sessions = SessionFactory(threads, self.provider, weights)
        offered = self._library.get_available_providers()
        if self.provider not in offered:
            raise BackendError(f"this ONNX Runtime has no provider {provider}; it offers {', '.join(offered)}")

    @property
    def description(self) -> str:
        """Library, version, device and threads: `ONNX Runtime 1.20.1, CPU, 2 threads`."""
        device = self.provider.removesuffix("ExecutionProvider")
        return f"ONNX Runtime {self._library.__version__}, {device}, {self.threads} threads"

    def precisions(self, bundle: Bundle) -> list[str]:
        return list(bundle.manifest.variants)

    def files(self, bundle: Bundle, precision: str) -> dict[str, Path]:
        return bundle.checked_files(precision)

    def device(self, files: Mapping[str, Path]) -> Device | None:
        """Return the device on the CUDA provider; other providers take arrays."""
        if self.provider != CUDA:
            return None
        from sacvit_deploy.backends.onnxruntime.device import OnnxRuntimeDevice

        return OnnxRuntimeDevice(self.sessions, files)

    def open(self, stage: Path, weights: Path | None) -> OnnxRuntimeEngine:
        """Open one ONNX file; ONNX Runtime maps the weights file that it names. Raises BackendError."""
        return OnnxRuntimeEngine(self.sessions.open(stage), stage)


class OnnxRuntimeEngine:
    """A session behind the protocol `Engine`."""

    def __init__(self, session: Any, stage: Path) -> None:
        self._session = session
        self._stage = stage
        self._dtypes = {item.name: np.dtype(DTYPES[item.type]) for item in session.get_inputs()}
        self._outputs = [item.name for item in session.get_outputs()]

    def input_dtype(self, name: str) -> np.dtype[Any]:
        return self._dtypes[name]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        feed = as_taken(inputs, self._dtypes, self._stage.name)
        try:
            return dict(zip(self._outputs, self._session.run(self._outputs, feed), strict=True))
        except Exception as error:  # the library's own exceptions share no base class but this
            raise BackendError(f"{self._stage.name} failed in ONNX Runtime ({first_line(error)})") from error
