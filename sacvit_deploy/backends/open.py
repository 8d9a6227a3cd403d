"""Open a backend by name; each library is imported only when it is asked for."""

from __future__ import annotations

from collections.abc import Callable

from sacvit_deploy.backends.protocol import Backend
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.errors import BackendError, UsageError

WEIGHTS = ("packed", "mapped")


def _onnxruntime(provider: str | None, threads: int, weights: str) -> Backend:
    from sacvit_deploy.backends.onnxruntime.backend import OnnxRuntimeBackend

    return OnnxRuntimeBackend(provider or "cpu", threads, weights)


def _openvino(provider: str | None, threads: int, weights: str) -> Backend:
    from sacvit_deploy.backends.openvino.backend import OpenVINOBackend

    return OpenVINOBackend(threads)


def _tensorrt(runtime: str) -> Callable[[str | None, int, str], Backend]:
    def opened(provider: str | None, threads: int, weights: str) -> Backend:
        from sacvit_deploy.backends.tensorrt.backend import TensorRTBackend

        return TensorRTBackend(runtime)

    return opened


# By name: (provider, threads, weights) -> the backend. Raises BackendError where its library is missing.
BACKENDS: dict[str, Callable[[str | None, int, str], Backend]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "tensorrt": _tensorrt("tensorrt"),
    "tensorrt-rtx": _tensorrt("tensorrt-rtx"),
}


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
    return BACKENDS["onnxruntime" if name == "auto" else name](provider, threads or usable_cores(), weights)
