"""Open a backend by name; each library is imported only when it is asked for."""

from __future__ import annotations

from sacvit_deploy.backends.protocol import Backend
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.errors import BackendError, UsageError

BACKENDS = ("onnxruntime", "openvino", "tensorrt", "tensorrt-rtx")
WEIGHTS = ("packed", "mapped")


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
        from sacvit_deploy.backends.openvino.backend import OpenVINOBackend

        return OpenVINOBackend(threads or usable_cores())
    if name in ("tensorrt", "tensorrt-rtx"):
        from sacvit_deploy.backends.tensorrt.backend import TensorRTBackend

        return TensorRTBackend(name)
    from sacvit_deploy.backends.onnxruntime.backend import OnnxRuntimeBackend

    return OnnxRuntimeBackend(provider or "cpu", threads or usable_cores(), weights)
