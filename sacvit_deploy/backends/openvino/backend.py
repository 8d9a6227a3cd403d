"""OpenVINO behind the protocol `Backend`: the same ONNX files on x86 and Arm CPUs."""

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
from sacvit_deploy.backends.telemetry import silence_openvino
from sacvit_deploy.bundle.external_weights import with_weights_inside
from sacvit_deploy.bundle.held import EngineFile, Held
from sacvit_deploy.cpu import cpu_features
from sacvit_deploy.errors import BackendError, import_library
from sacvit_deploy.forks import forget_in_children, keep_forever, no_fork, rest_before_forks

if TYPE_CHECKING:
    from sacvit_deploy.bundle.bundle import Bundle
    from sacvit_deploy.device.protocol import Device

X86 = ("x86_64", "amd64")
WIDE_PRODUCTS = ("avx512_vnni", "avx_vnni", "amx_int8")  # sums of byte products in 32 bits


def load_library() -> Any:
    """Import openvino, its telemetry off unless the user opted in. Raises BackendError with the install command."""
    silence_openvino()
    return import_library("openvino", "OpenVINO", "pip install 'sacvit-deploy[openvino]'")


class OpenVINOBackend:
    """Models compiled for the CPU. Raises BackendError if the library is not there.

    OpenVINO rearranges the weights of every model that it compiles, so weights can't be "mapped".
    """

    def __init__(self, threads: int) -> None:
        self._library = load_library()
        self._core = self._library.Core()
        self.threads = threads
        rest_before_forks()
        forget_in_children(self)

    def forget(self) -> None:
        """Take a core of its own in a forked child: its threads were not copied."""
        keep_forever(self._core)
        self._core = None

    @property
    def description(self) -> str:
        """Library, version, device and threads: `OpenVINO 2026.4.1, CPU, 2 threads`."""
        version = self._library.__version__.partition("-")[0]
        return f"OpenVINO {version}, CPU, {self.threads} threads"

    def precisions(self, bundle: Bundle) -> list[str]:
        """List the variants, int8 only where the CPU computes it rightly."""
        return [name for name in bundle.manifest.variants if name != "int8" or not saturates()]

    def files(self, bundle: Bundle, precision: str) -> dict[str, Held]:
        """Return the ONNX files. Raises BackendError for int8 on a CPU where sums would overflow."""
        if precision == "int8" and saturates():
            raise BackendError(
                "OpenVINO's sums of byte products overflow on a processor without VNNI or AMX; take --precision fp32, "
                "or int8 with --backend onnxruntime"
            )
        return bundle.held_files(precision)

    def device(self, files: Mapping[str, EngineFile]) -> Device | None:
        """Return None: the CPU computes."""
        return None

    def open(self, stage: EngineFile, weights: EngineFile | None) -> OpenVINOEngine:
        """Read and compile one ONNX file. Raises BackendError, BundleError."""
        settings = {
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            # Pinned, the first threads of every process on a machine would share its first cores.
            "ENABLE_CPU_PINNING": False,
            # By default it computes in bfloat16 on CPUs with AMX: not what the file says.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        name = str(stage.path if isinstance(stage, Held) else stage)
        source: Path | bytes
        if isinstance(stage, Held):  # it takes a model in memory, but no weights beside it
            source = with_weights_inside(stage, weights if isinstance(weights, Held) else None)
        else:
            source = stage
        try:
            with no_fork():
                if self._core is None:
                    self._core = self._library.Core()
                model = self._core.read_model(source)
                parts_first(model)
                compiled = self._core.compile_model(model, "CPU", settings)
                self.threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))  # it may take fewer
                return OpenVINOEngine(compiled, stage.name)
        except Exception as error:  # the library raises RuntimeError for everything
            raise BackendError(f"OpenVINO can't load {name} ({last_line(error)})") from error


class OpenVINOEngine:
    """A compiled model behind the protocol `Engine`.

    It serves every shape: compiled anew for a fixed one, int8 answers would differ a little.
    """

    def __init__(self, compiled: Any, name: str) -> None:
        self._request = compiled.create_infer_request()
        self._name = name
        self._dtypes: dict[str, np.dtype[Any]] = {
            port.any_name: np.dtype(port.element_type.to_dtype()) for port in compiled.inputs
        }
        self._outputs = [port.any_name for port in compiled.outputs]
        self._lock = Lock()  # a request takes one call at a time
        forget_in_children(self)

    def forget(self) -> None:
        """Refuse all work in a forked child."""
        keep_forever(self._request)
        self._request = None

    def input_dtype(self, name: str) -> np.dtype[Any]:
        return self._dtypes[name]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        feed = as_taken(inputs, self._dtypes, self._name)
        with no_fork(), self._lock:
            if self._request is None:
                raise BackendError(f"{self._name} was opened before the process was forked; open it in the child")
            try:
                results = self._request.infer(feed, share_inputs=True)
                return {
                    name: results[index] for index, name in enumerate(self._outputs)
                }  # copies, unless one asks for views
            except Exception as error:  # the library raises RuntimeError for everything
                raise BackendError(f"{self._name} failed in OpenVINO ({last_line(error)})") from error


def saturates() -> bool:
    """Tell whether this CPU keeps sums of two byte products in 16 bits, which full-range weights overflow.

    It does on x86 without VNNI or AMX. Where the system does not tell its features, it is taken to be newer.
    """
    features = cpu_features()
    return platform.machine().lower() in X86 and bool(features) and not set(features) & set(WIDE_PRODUCTS)


def last_line(error: BaseException) -> str:
    """Return the last line of an exception of the library; the lines before it name its own source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
