"""OpenVINO behind the backend protocol: the same ONNX files on x86 and Arm processors."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.backends.openvino.heads import parts_first
from sacvit_deploy.backends.protocol import as_taken
from sacvit_deploy.cpu import cpu_features
from sacvit_deploy.errors import BackendError

if TYPE_CHECKING:
    from sacvit_deploy.bundle.bundle import Bundle
    from sacvit_deploy.device.protocol import Device

INSTALL = "install it with: pip install 'sacvit-deploy[openvino]'"
X86 = ("x86_64", "amd64")
WIDE_PRODUCTS = ("avx512_vnni", "avx_vnni", "amx_int8")  # sums of byte products in 32 bits


def load_library() -> Any:
    """Import openvino. Raises BackendError with the install command."""
    try:
        import openvino
    except ImportError as error:
        raise BackendError(f"OpenVINO can't be loaded ({error}); {INSTALL}") from error
    return openvino


class OpenVINOBackend:
    """Models compiled for the processor. Raises BackendError if the library is not there.

    It rearranges the weights of every model that it compiles, so there is no choice of "mapped" weights.
    """

    def __init__(self, threads: int) -> None:
        self._library = load_library()
        self._core = self._library.Core()
        self.threads = threads

    @property
    def description(self) -> str:
        """For example `OpenVINO 2026.4.1, CPU, 2 threads`."""
        version = self._library.__version__.partition("-")[0]
        return f"OpenVINO {version}, CPU, {self.threads} threads"

    def precisions(self, bundle: Bundle) -> list[str]:
        """All of them, but int8 only where it is computed rightly."""
        return [name for name in bundle.manifest.variants if name != "int8" or not saturates()]

    def files(self, bundle: Bundle, precision: str) -> dict[str, Path]:
        """The ONNX files. Raises BackendError for int8 on a processor where it would be wrong."""
        if precision == "int8" and saturates():
            raise BackendError(
                "OpenVINO's sums of byte products overflow on a processor without VNNI or AMX; take --precision fp32, "
                "or int8 with --backend onnxruntime"
            )
        return bundle.checked_files(precision)

    def device(self, files: Mapping[str, Path]) -> Device | None:
        """None: the processor computes."""
        return None

    def open(self, stage: Path, weights: Path | None) -> OpenVINOEngine:
        """Read and compile one ONNX file; the library maps the weights file that it names."""
        settings = {
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            # Pinned, the first threads of every process on a machine would share its first cores.
            "ENABLE_CPU_PINNING": False,
            # Left alone, it computes in bfloat16 on processors with AMX: not what the file says.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        try:
            model = self._core.read_model(stage)
            parts_first(model)
            compiled = self._core.compile_model(model, "CPU", settings)
            self.threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))  # it takes as many as make sense to it
            return OpenVINOEngine(compiled, stage)
        except Exception as error:  # the library raises RuntimeError for everything
            raise BackendError(f"OpenVINO can't load {stage} ({reason(error)})") from error


class OpenVINOEngine:
    """One compiled model, for every shape: compiled anew for a fixed one, eight-bit answers would differ a little."""

    def __init__(self, compiled: Any, stage: Path) -> None:
        self._request = compiled.create_infer_request()
        self._stage = stage
        self._dtypes: dict[str, np.dtype[Any]] = {
            port.any_name: np.dtype(port.element_type.to_dtype()) for port in compiled.inputs
        }
        self._outputs = [port.any_name for port in compiled.outputs]
        self._lock = Lock()  # a request takes one call at a time

    def input_dtype(self, name: str) -> np.dtype[Any]:
        """The element type of an input."""
        return self._dtypes[name]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model; inputs are made contiguous and cast."""
        feed = as_taken(inputs, self._dtypes, self._stage.name)
        with self._lock:
            try:
                found = self._request.infer(feed, share_inputs=True)
                return {name: found[at] for at, name in enumerate(self._outputs)}  # copies, unless one asks for views
            except Exception as error:  # as above
                raise BackendError(f"{self._stage.name} failed in OpenVINO ({reason(error)})") from error


def saturates() -> bool:
    """Whether sums of two byte products are kept in 16 bits here, which full-range weights overflow.

    So it is on x86 without VNNI or AMX. Where the system doesn't tell what the processor has, it is taken to be newer.
    """
    features = cpu_features()
    return platform.machine().lower() in X86 and bool(features) and not set(features) & set(WIDE_PRODUCTS)


def reason(error: BaseException) -> str:
    """The last line of what the library's exception says; those before name its own source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
