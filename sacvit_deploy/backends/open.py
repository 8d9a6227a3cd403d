"""Open a backend by name; each library is imported only when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral

from sacvit_deploy.backends.device_name import parse_device
from sacvit_deploy.backends.protocol import Backend
from sacvit_deploy.cpu import check_threads, usable_cores
from sacvit_deploy.errors import UsageError

CUDA_NAMES = ("cuda", "cudaexecutionprovider")
WEBGPU_NAMES = ("webgpu", "webgpuexecutionprovider")
WEIGHTS = ("packed", "mapped")


@dataclass(frozen=True)
class BackendOptions:
    """What a backend is opened with: see `open_backend`."""

    device: str | None
    threads: int
    weights: str = "packed"
    capture: bool = False
    device_memory: int | None = None


def _onnxruntime(options: BackendOptions) -> Backend:
    from sacvit_deploy.backends.onnxruntime.backend import OnnxRuntimeBackend

    return OnnxRuntimeBackend(
        options.device or "cpu", options.threads, options.weights, options.capture, options.device_memory
    )


def _openvino(options: BackendOptions) -> Backend:
    from sacvit_deploy.backends.openvino.backend import OpenVINOBackend

    return OpenVINOBackend(options.threads)


def _tensorrt(runtime: str) -> Callable[[BackendOptions], Backend]:
    def opened(options: BackendOptions) -> Backend:
        from sacvit_deploy.backends.tensorrt.backend import TensorRTBackend

        return TensorRTBackend(runtime, parse_device(options.device).number)

    return opened


# By name: how it is opened. Raises BackendError where its library is missing.
BACKENDS: dict[str, Callable[[BackendOptions], Backend]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "tensorrt": _tensorrt("tensorrt"),
    "tensorrt-rtx": _tensorrt("tensorrt-rtx"),
}
# The devices of backends that have one kind alone; ONNX Runtime has those of its providers.
DEVICES = {"openvino": ("cpu",), "tensorrt": ("cuda",), "tensorrt-rtx": ("cuda",)}


def open_backend(
    name: str = "auto",
    *,
    device: str | None = None,
    threads: int | None = None,
    weights: str = "packed",
    capture: bool = False,
    device_memory: int | None = None,
) -> Backend:
    """Open a backend by name; `auto` is ONNX Runtime, which every bundle runs on (see `choose_backend`).

    device: "cpu", "cuda", "cuda:1", "webgpu", or the name of an execution provider of ONNX Runtime or of a package
    with one, with a number where it has several devices; it must really run there. None is the backend's own first.
    threads: CPU threads of one engine call; None is as many as `usable_cores` counts.
    weights: "packed" lets each engine keep its own copy, rearranged for speed; "mapped" lets both read the one file in
    place, which opens at once and needs memory for one copy; OpenVINO and TensorRT always pack.
    capture: on WebGPU and CUDA in ONNX Runtime, record calls and replay them.
    device_memory: MB that each engine may take of an NVIDIA GPU in ONNX Runtime, beside the buffers between engines;
    None is as much as there is. Raises BackendError, UsageError.
    """
    if name not in ("auto", *BACKENDS):
        raise UsageError(f"unknown backend {name!r}; there are: auto, {', '.join(BACKENDS)}")
    threads = usable_cores() if threads is None else check_threads(threads)
    if weights not in WEIGHTS:
        raise UsageError(f"weights is {weights!r}; it must be one of {', '.join(WEIGHTS)}")
    where = parse_device(device)
    if capture and (where.name not in (*CUDA_NAMES, *WEBGPU_NAMES) or name not in ("auto", "onnxruntime")):
        raise UsageError("--capture is for --device webgpu and cuda; TensorRT records its calls by itself")
    if device_memory is not None:
        if isinstance(device_memory, bool) or not isinstance(device_memory, Integral) or device_memory < 1:
            raise UsageError(f"device_memory is {device_memory!r:.80}; it must be a whole number of MB, at least 1")
        if where.name not in CUDA_NAMES or name not in ("auto", "onnxruntime"):
            raise UsageError("--device-memory is for --device cuda in ONNX Runtime; a plan's memory is in its record")
    taken = DEVICES.get(name)
    if device is not None and taken is not None and where.name not in taken:
        raise UsageError(f"--device {device}: {name} runs on {' or '.join(taken)}")
    return BACKENDS["onnxruntime" if name == "auto" else name](
        BackendOptions(device, threads, weights, capture, device_memory)
    )
