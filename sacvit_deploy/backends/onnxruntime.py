"""ONNX Runtime behind the backend protocol."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sacvit_deploy.backends import Array, as_taken
from sacvit_deploy.errors import BackendError, first_line

if TYPE_CHECKING:
    from sacvit_deploy.bundle.bundle import Bundle
    from sacvit_deploy.device import Device

DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
}
SHORT_NAMES = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
INSTALL = "install it with: pip install onnxruntime (or onnxruntime-gpu for NVIDIA GPUs)"


def load_library() -> Any:
    """Import onnxruntime. Raises BackendError with the install command."""
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendError(f"ONNX Runtime can't be loaded ({error}); {INSTALL}") from error
    return onnxruntime


class OnnxRuntimeBackend:
    """Sessions on one execution provider. Raises BackendError if the library or the provider is not there."""

    def __init__(self, provider: str, threads: int, weights: str = "packed") -> None:
        self._library = load_library()
        self.provider = SHORT_NAMES.get(provider.lower(), provider)
        self.threads = threads
        self.weights = weights
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
        if self.provider != SHORT_NAMES["cuda"]:
            return None
        from sacvit_deploy.device.onnxruntime import OnnxRuntimeDevice

        return OnnxRuntimeDevice(self, files)

    def open(self, stage: Path, weights: Path | None) -> OnnxRuntimeEngine:
        """Load one ONNX file; the runtime maps the weights file that it names."""
        return OnnxRuntimeEngine(self.session(stage), stage)

    def session(self, stage: Path, provider_options: Mapping[str, str] | None = None) -> Any:
        """Open a session on this provider and no other. Raises BackendError."""
        options = self._library.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        # Threads that spin while a stage runs make it a third faster at batch 1; spinning on after it, they would take
        # the cores from the other stage's session and from decoding.
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        options.add_session_config_entry("session.force_spinning_stop", "1")
        # On x86 without VNNI or AMX it would add up byte products in 16 bits, which full-range weights overflow.
        options.add_session_config_entry("session.x64quantprecision", "1")
        if self.weights == "mapped":
            options.add_session_config_entry("session.disable_prepacking", "1")
        # On by default on CUDA, TF32 computes products of fp32 tensors with ten bits: not what the file says.
        exact = {"use_tf32": "0"} if self.provider == SHORT_NAMES["cuda"] else {}
        providers = [(self.provider, exact | dict(provider_options or {}))]
        try:
            session = self._library.InferenceSession(str(stage), options, providers=providers)
        except Exception as error:  # the library's own exceptions share no base class but this
            raise BackendError(f"ONNX Runtime can't load {stage} ({first_line(error)})") from error
        got = session.get_providers()
        # The library falls back to the CPU without an error when a provider can't be loaded.
        if got[0] != self.provider:
            asked = self.provider
            raise BackendError(f"{asked} was asked for, but ONNX Runtime gave {got[0]}; its libraries can't load")
        return session


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
