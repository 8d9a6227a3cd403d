"""CUDA's memory, streams, events and graphs through NVIDIA's own Python bindings."""

from __future__ import annotations

import ctypes
import functools
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.device.linear import LinearMemory
from sacvit_deploy.device.protocol import DeviceTensor, Event, Shape, Stream, size_of, with_room
from sacvit_deploy.errors import BackendError, first_line, import_library

CUDA_DEVICE = 2  # DLPack's number for it
HINTS = {
    "cudaErrorMemoryAllocation": "ask for smaller batches",
    "cudaErrorInsufficientDriver": "there is no NVIDIA driver here, or it is older than these CUDA libraries need",
    "cudaErrorNoDevice": "no NVIDIA GPU can be seen from here",
}


@dataclass(frozen=True)
class GPU:
    """A GPU that plans are built for: name, compute capability such as "8.6", memory in bytes, CUDA versions."""

    name: str
    compute_capability: str
    memory: int
    driver: str
    cuda: str


@functools.cache
def load_library() -> Any:
    """Import the bindings. Raises BackendError with the install command."""
    return import_library("cuda.bindings.runtime", "the CUDA bindings", "pip install 'sacvit-deploy[gpu]'")


def call(name: str, *arguments: Any) -> Any:
    """Call one function of the CUDA runtime; returns its result, or a tuple of several. Raises BackendError."""
    library = load_library()
    try:
        status, *results = getattr(library, name)(*arguments)
    except RuntimeError as error:  # the bindings find the driver's or CUDA's own library only now
        raise BackendError(f"CUDA can't be used ({first_line(error)}); is an NVIDIA driver installed?") from error
    if status != library.cudaError_t.cudaSuccess:
        _, text = library.cudaGetErrorString(status)
        reason = text.decode() if isinstance(text, bytes) else str(text)
        library.cudaGetLastError()  # clears an error that is not sticky, so that the process can go on
        hint = f"; {HINTS[status.name]}" if status.name in HINTS else ""
        raise BackendError(f"CUDA: {name} failed, {reason} ({status.name}){hint}")
    return results[0] if len(results) == 1 else tuple(results)


def find_gpu(number: int = 0) -> GPU:
    """Return the GPU of that number. Raises BackendError if there is none, or no driver."""
    if call("cudaGetDeviceCount") <= number:
        raise BackendError(f"there is no GPU {number} in this machine")
    facts = call("cudaGetDeviceProperties", number)
    name = facts.name.decode() if isinstance(facts.name, bytes) else str(facts.name)
    driver, cuda = call("cudaDriverGetVersion"), call("cudaRuntimeGetVersion")
    capability = f"{facts.major}.{facts.minor}"
    return GPU(name.rstrip("\0"), capability, int(facts.totalGlobalMem), _version(driver), _version(cuda))


class CudaMemory(LinearMemory):
    """Memory, streams and events of one GPU, behind the protocol `Memory`. Raises BackendError where there is none."""

    def __init__(self, number: int = 0) -> None:
        self.gpu, self.number = find_gpu(number), number
        self.dlpack_device = (CUDA_DEVICE, number)
        self._kinds = load_library().cudaMemcpyKind
        self.activate()

    def activate(self) -> None:
        call("cudaSetDevice", self.number)  # CUDA keeps it by thread, and other libraries there set it, too

    def allocate(self, shape: Shape, dtype: np.dtype[Any], room: int = 0) -> DeviceTensor:
        shape = with_room(shape, room)
        return DeviceTensor(int(call("cudaMalloc", max(1, size_of(shape, dtype)))), shape, dtype)

    def free(self, tensor: DeviceTensor) -> None:
        call("cudaFree", tensor.handle)  # waits for the device

    def pinned(self, shape: Shape, dtype: np.dtype[Any]) -> Array:
        """Allocate page-locked memory, freed with the last array that views it."""
        nbytes = max(1, size_of(shape, dtype))
        address = int(call("cudaHostAlloc", nbytes, 0))
        block = (ctypes.c_uint8 * nbytes).from_address(address)
        weakref.finalize(block, load_library().cudaFreeHost, address)
        array: Array = np.frombuffer(block, dtype, count=size_of(shape, dtype) // dtype.itemsize)  # type: ignore[call-overload]
        return array.reshape(shape)

    def stream(self) -> Stream:
        """Create a stream that does not wait for the default stream."""
        return call("cudaStreamCreateWithFlags", load_library().cudaStreamNonBlocking)

    def close_stream(self, stream: Stream) -> None:
        call("cudaStreamDestroy", stream)

    def upload(self, target: DeviceTensor, source: Array, stream: Stream) -> None:
        self._copy(target.handle, source.ctypes.data, source.nbytes, self._kinds.cudaMemcpyHostToDevice, stream)

    def download(self, target: Array, source: DeviceTensor, stream: Stream) -> None:
        self._copy(target.ctypes.data, source.handle, target.nbytes, self._kinds.cudaMemcpyDeviceToHost, stream)

    def copy(self, target: DeviceTensor, source: DeviceTensor, stream: Stream) -> None:
        self._copy(target.handle, source.handle, source.nbytes, self._kinds.cudaMemcpyDeviceToDevice, stream)

    def _copy(self, target: int, source: int, nbytes: int, kind: Any, stream: Stream) -> None:
        if nbytes:
            call("cudaMemcpyAsync", target, source, nbytes, kind, stream)

    def record_event(self, stream: Stream) -> Event:
        event = _Event(call("cudaEventCreate"))
        call("cudaEventRecord", event.handle, stream)
        return event

    def wait_event(self, stream: Stream, event: Event) -> None:
        call("cudaStreamWaitEvent", stream, event.handle, 0)

    def synchronize(self, event: Event) -> None:
        call("cudaEventSynchronize", event.handle)

    def elapsed(self, start: Event, end: Event) -> float:
        return float(call("cudaEventElapsedTime", start.handle, end.handle)) / 1000


class Graph:
    """Work recorded in a stream, to be launched again; destroyed with the last reference to it."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._destroy = load_library().cudaGraphExecDestroy

    def launch(self, stream: Stream) -> None:
        """Queue the work once more. Raises BackendError."""
        call("cudaGraphLaunch", self._handle, stream)

    def __del__(self) -> None:
        self._destroy(self._handle)


def capture(stream: Stream, work: Callable[[], None], *, device_only: bool = False) -> Graph:
    """Record what `work` queues in a stream as a graph that can be launched again. Raises BackendError.

    device_only: refuse work that reads or calls the host, for whoever can't say that it will be there again.
    """
    library = load_library()
    call("cudaStreamBeginCapture", stream, library.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
    try:
        work()
    finally:
        graph = call("cudaStreamEndCapture", stream)
    try:
        if device_only and not _stays_on_device(graph):
            raise BackendError("what was recorded reads or calls the host, which only its first run may do")
        return Graph(call("cudaGraphInstantiate", graph, 0))
    finally:
        call("cudaGraphDestroy", graph)


def _stays_on_device(graph: Any) -> bool:
    """Tell whether a graph is of kernels, and of copies and fills within the device, alone."""
    library = load_library()
    kinds, within = library.cudaGraphNodeType, library.cudaMemcpyKind.cudaMemcpyDeviceToDevice
    harmless = (kinds.cudaGraphNodeTypeKernel, kinds.cudaGraphNodeTypeMemset, kinds.cudaGraphNodeTypeEmpty)
    _, count = call("cudaGraphGetNodes", graph)
    nodes, _ = call("cudaGraphGetNodes", graph, count)
    for node in nodes:
        kind = call("cudaGraphNodeGetType", node)
        copies = kind == kinds.cudaGraphNodeTypeMemcpy and call("cudaGraphMemcpyNodeGetParams", node).kind == within
        if kind not in harmless and not copies:
            return False
    return True


class _Event:
    """A CUDA event, destroyed with the last reference to it."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self._destroy = load_library().cudaEventDestroy

    def __del__(self) -> None:
        self._destroy(self.handle)


def _version(number: int) -> str:
    """Format CUDA's version number: 12060 is "12.6"."""
    return f"{number // 1000}.{number % 1000 // 10}"
