"""OpenVINO behind the backend protocol: the same ONNX files on x86 and Arm processors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from sacvit_deploy.backends import Array
from sacvit_deploy.backends.openvino_heads import parts_first
from sacvit_deploy.errors import BackendError, first_line

if TYPE_CHECKING:
    from sacvit_deploy.bundle.bundle import Bundle
    from sacvit_deploy.device import Device

INSTALL = "install it with: pip install 'sacvit-deploy[openvino]'"
Shapes = tuple[tuple[int, ...], ...]


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
        """All of them."""
        return list(bundle.manifest.variants)

    def files(self, bundle: Bundle, precision: str) -> dict[str, Path]:
        """The ONNX files."""
        return bundle.checked_files(precision)

    def device(self, files: Mapping[str, Path]) -> Device | None:
        """None: the processor computes."""
        return None

    def open(self, stage: Path, weights: Path | None) -> OpenVINOEngine:
        """Read one ONNX file; the library maps the weights file that it names."""
        try:
            model = self._core.read_model(stage)
        except Exception as error:  # the library raises RuntimeError for everything
            raise BackendError(f"OpenVINO can't load {stage} ({first_line(error)})") from error
        settings = {
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            # Pinned, the first threads of every process on a machine would share its first cores.
            "ENABLE_CPU_PINNING": False,
            # Left alone, it computes in bfloat16 on processors with AMX: not what the file says.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        return OpenVINOEngine(lambda its: self._core.compile_model(its, "CPU", settings), model, stage)


class OpenVINOEngine:
    """One model, compiled when input comes: once for the first shape of a single picture, once for all other shapes.

    With every dimension fixed a call works out no shapes, which is felt where it is short; but every compiled model
    holds a copy of the weights, so there are two at most.
    """

    def __init__(self, compile_model: Any, model: Any, stage: Path) -> None:
        self._compile = compile_model
        self._model = model
        self._stage = stage
        self._dtypes: dict[str, np.dtype[Any]] = {
            port.any_name: np.dtype(port.element_type.to_dtype()) for port in model.inputs
        }
        self._outputs = [port.any_name for port in model.outputs]
        self._fixed: tuple[Shapes, Any] | None = None
        self._any: Any = None
        self._lock = Lock()  # a request takes one call at a time

    def input_dtype(self, name: str) -> np.dtype[Any]:
        """The element type of an input."""
        return self._dtypes[name]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model; inputs are made contiguous and cast."""
        missing = [name for name in self._dtypes if name not in inputs]
        if missing:
            raise BackendError(f"{self._stage.name} asks for `{missing[0]}`, which this stage is not given")
        feed = {name: np.ascontiguousarray(inputs[name], dtype=dtype) for name, dtype in self._dtypes.items()}
        with self._lock:
            try:
                found = self._request(tuple(array.shape for array in feed.values())).infer(feed, share_inputs=True)
                return {name: found[at] for at, name in enumerate(self._outputs)}  # copies, unless one asks for views
            except Exception as error:  # as above
                raise BackendError(f"{self._stage.name} failed in OpenVINO ({first_line(error)})") from error

    def _request(self, shapes: Shapes) -> Any:
        """The request that takes inputs of these shapes, in the model's order."""
        if self._fixed is None and all(shape[:1] == (1,) for shape in shapes):
            model = self._model.clone()
            model.reshape(dict(zip(self._dtypes, map(list, shapes), strict=True)))
            self._fixed = shapes, self._compile(model).create_infer_request()
        if self._fixed is not None and self._fixed[0] == shapes:
            return self._fixed[1]
        if self._any is None:
            model = self._model.clone()
            parts_first(model)
            self._any = self._compile(model).create_infer_request()
        return self._any
