"""ONNX Runtime behind the backend protocol."""

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
    """Sessions on one execution provider. Raises BackendError if the library or the provider is not there."""

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
        """For example `ONNX Runtime 1.20.1, CPU, 2 threads`."""
        device = self.provider.removesuffix("ExecutionProvider")
        return f"ONNX Runtime {self._library.__version__}, {device}, {self.threads} threads"

    def precisions(self, bundle: Bundle) -> list[str]:
        """All of them."""
        return list(bundle.manifest.variants)

    def files(self, bundle: Bundle, precision: str) -> dict[str, Path]:
        """The ONNX files."""
        return bundle.checked_files(precision)

    def device(self, files: Mapping[str, Path]) -> Device | None:
        """Sessions bound to device memory on the CUDA provider; other providers get arrays."""
        if self.provider != CUDA:
            return None
        from sacvit_deploy.backends.onnxruntime.device import OnnxRuntimeDevice

        return OnnxRuntimeDevice(self.sessions, files)

    def open(self, stage: Path, weights: Path | None) -> OnnxRuntimeEngine:
        """Load one ONNX file; the runtime maps the weights file that it names."""
        return OnnxRuntimeEngine(self.sessions.open(stage), stage)


class OnnxRuntimeEngine:
    """One session."""

    def __init__(self, session: Any, stage: Path) -> None:
        self._session = session
        self._stage = stage
        self._dtypes = {item.name: np.dtype(DTYPES[item.type]) for item in session.get_inputs()}
        self._outputs = [item.name for item in session.get_outputs()]

    def input_dtype(self, name: str) -> np.dtype[Any]:
        """The element type of an input."""
        return self._dtypes[name]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the session; inputs are made contiguous and cast."""
        feed = as_taken(inputs, self._dtypes, self._stage.name)
        try:
            return dict(zip(self._outputs, self._session.run(self._outputs, feed), strict=True))
        except Exception as error:  # as above
            raise BackendError(f"{self._stage.name} failed in ONNX Runtime ({first_line(error)})") from error
