"""Backends: one protocol, one module for each library, imported only when asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from sacvit_deploy.errors import BackendError, UsageError

if TYPE_CHECKING:
    from sacvit_deploy.bundle.bundle import Bundle
    from sacvit_deploy.device import Device

Array = npt.NDArray[Any]
BACKENDS = ("onnxruntime", "openvino", "tensorrt", "tensorrt-rtx")
WEIGHTS = ("packed", "mapped")


class Engine(Protocol):
    """One loaded stage."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs and outputs by the contract's names; inputs are cast to what the engine takes."""
        ...

    def input_dtype(self, name: str) -> np.dtype[Any]:
        """The element type the engine takes for an input."""
        ...


class Backend(Protocol):
    """A library that runs engines on one device. One backend serves both stages, so that they can share weights."""

    @property
    def description(self) -> str:
        """Library, version and device, for people."""
        ...

    def precisions(self, bundle: Bundle) -> list[str]:
        """The variants of a bundle that it can open. Raises BundleError."""
        ...

    def files(self, bundle: Bundle, precision: str) -> dict[str, Path]:
        """A variant's files by role, checked, in the form this backend opens. Raises BundleError."""
        ...

    def open(self, stage: Path, weights: Path | None) -> Engine:
        """Load one stage. Raises BackendError."""
        ...

    def device(self, files: Mapping[str, Path]) -> Device | None:
        """The same files with everything kept on a device; None where the processor computes. Raises BackendError."""
        ...


def open_backend(
    name: str = "auto", *, provider: str | None = None, threads: int | None = None, weights: str = "packed"
) -> Backend:
    """Open a backend by name; `auto` is ONNX Runtime, which every bundle runs on (see `choose_backend`).

    provider: an ONNX Runtime execution provider, by its full name or in short ("cpu", "cuda"); the session must really
    get it. threads: CPU threads of one engine call; None is one for each core this process may use.
    weights: "packed" lets each engine keep its own copy, rearranged for speed; "mapped" lets both read the one file in
    place, which opens at once and needs memory for one copy; OpenVINO and TensorRT always pack. Raises BackendError,
    UsageError.
    """
    if name not in ("auto", *BACKENDS):
        raise BackendError(f"unknown backend {name!r}; there are: auto, {', '.join(BACKENDS)}")
    if threads is not None and threads < 1:
        raise UsageError(f"threads is {threads}; it must be at least 1")
    if weights not in WEIGHTS:
        raise UsageError(f"weights is {weights!r}; it must be one of {', '.join(WEIGHTS)}")
    if provider is not None and name not in ("auto", "onnxruntime"):
        raise UsageError(f"--provider {provider} is ONNX Runtime's; {name} has none")
    if name == "openvino":
        from sacvit_deploy.backends.openvino import OpenVINOBackend

        return OpenVINOBackend(threads or usable_cores())
    if name in ("tensorrt", "tensorrt-rtx"):
        from sacvit_deploy.backends.tensorrt.backend import TensorRTBackend

        return TensorRTBackend(name)
    from sacvit_deploy.backends.onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(provider or "cpu", threads or usable_cores(), weights)


def choose_backend(bundle: Bundle) -> tuple[str, str]:
    """Return the backend that `auto` means for a bundle on this machine, and the reason.

    TensorRT where the bundle has plans that fit the library and the GPU here, else ONNX Runtime, else OpenVINO: what
    gets installed beside ONNX Runtime doesn't change an answer by itself. Raises BundleError for a damaged plan.json.
    """
    from sacvit_deploy.backends import onnxruntime, openvino
    from sacvit_deploy.bundle.plans import list_plans

    trouble = []
    for runtime in dict.fromkeys(record.place.runtime for _, record in list_plans(bundle)):
        try:
            if open_backend(runtime).precisions(bundle):
                return runtime, "the bundle has plans for this machine"
            trouble.append(f"its {runtime} plans were built for another machine or library")
        except BackendError as error:
            trouble.append(str(error))
    for name, module in (("onnxruntime", onnxruntime), ("openvino", openvino)):
        try:
            module.load_library()
        except BackendError as error:
            trouble.append(str(error))
        else:
            return name, "; ".join(trouble) or "the bundle has no plans"
    return "onnxruntime", "; ".join(trouble)


def as_taken(inputs: Mapping[str, Array], dtypes: Mapping[str, np.dtype[Any]], stage: str) -> dict[str, Array]:
    """Inputs as an engine takes them: those of `dtypes`, in its order, contiguous and cast.

    stage: what the error for a missing one calls the engine. Raises BackendError.
    """
    for name in dtypes:
        if name not in inputs:
            raise BackendError(f"{stage} asks for `{name}`, which this stage is not given")
    return {name: np.ascontiguousarray(inputs[name], dtype=dtype) for name, dtype in dtypes.items()}


def usable_cores() -> int:
    """Cores this process may run on, which in a container is often fewer than the machine has."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1
