"""Stand-ins for CUDA's runtime and TensorRT's engine, as there is no GPU: they break where a rule of theirs is broken.

Memory is the host's, so calls compute: every output becomes the sum of the first input, plus the number of the call's
rows. Nothing here says how a GPU behaves beyond the rules that are written out.
"""

from __future__ import annotations

import ast
import ctypes
import weakref
from collections.abc import Callable
from enum import Enum
from types import SimpleNamespace
from typing import Any

import numpy as np

from sacvit_deploy.backends.tensorrt.library import Library
from sacvit_deploy.device.host import HostMemory
from sacvit_deploy.device.protocol import DeviceTensor, Event, Shape

Strategy = Enum("Strategy", "STATIC ON_PROFILE_CHANGE USER_MANAGED")
Capture = Enum("Capture", "DISABLED WHOLE_GRAPH_CAPTURE")
Status = Enum("Status", "cudaSuccess cudaErrorStreamCaptureInvalidated cudaErrorInvalidValue")
KINDS = ("Kernel", "Memset", "Empty", "Memcpy", "Host")
SCRATCH = 512  # bytes that a context needs


class Cuda:
    """The functions of `cuda.bindings.runtime` that graphs and streams take."""

    cudaError_t = Status
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    cudaStreamNonBlocking = 1
    cudaGraphNodeType = SimpleNamespace(**{f"cudaGraphNodeType{kind}": kind for kind in KINDS})
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyDeviceToDevice=3)

    def __init__(self) -> None:
        self.capturing: list[Callable[[], None]] | None = None
        self.spoiled = False  # what is being captured can't be
        self.kind, self.copied = "Kernel", 3  # of every node; of copies, from where to where
        self.graphs: dict[int, list[Callable[[], None]]] = {}  # those that can be launched
        self.streams: set[int] = set()
        self.running = False  # work was queued and not waited for
        self.made = self.launched = 0
        self.broken: list[str] = []  # rules that were broken where an exception would be lost

    def queue(self, work: Callable[[], None]) -> None:
        """Do work, or record it while a stream is captured."""
        if self.capturing is not None:
            self.capturing.append(work)
        else:
            self.running = True
            work()

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Status, int]:
        self.made += 1
        self.streams.add(self.made)
        return Status.cudaSuccess, self.made

    def cudaStreamDestroy(self, stream: int) -> tuple[Status]:
        self.streams.remove(int(stream))
        return (Status.cudaSuccess,)

    def cudaStreamBeginCapture(self, stream: Any, mode: int) -> tuple[Status]:
        assert self.capturing is None
        self.capturing = []
        return (Status.cudaSuccess,)

    def cudaStreamEndCapture(self, stream: Any) -> tuple[Status, Any]:
        work, self.capturing = self.capturing, None
        if self.spoiled:
            return Status.cudaErrorStreamCaptureInvalidated, None
        return Status.cudaSuccess, work

    def cudaGraphGetNodes(self, graph: list[Callable[[], None]], count: int = 0) -> tuple[Status, list[Any], int]:
        return Status.cudaSuccess, graph[:count], len(graph)

    def cudaGraphNodeGetType(self, node: Any) -> tuple[Status, str]:
        return Status.cudaSuccess, self.kind

    def cudaGraphMemcpyNodeGetParams(self, node: Any) -> tuple[Status, Any]:
        return Status.cudaSuccess, SimpleNamespace(kind=self.copied)

    def cudaGraphInstantiate(self, graph: list[Callable[[], None]], flags: int) -> tuple[Status, int]:
        self.made += 1
        self.graphs[self.made] = graph
        return Status.cudaSuccess, self.made

    def cudaGraphDestroy(self, graph: Any) -> tuple[Status]:
        return (Status.cudaSuccess,)

    def cudaGraphLaunch(self, graph: int, stream: Any) -> tuple[Status]:
        self.launched += 1
        self.running = True
        for work in self.graphs[graph]:
            work()
        return (Status.cudaSuccess,)

    def cudaGraphExecDestroy(self, graph: int) -> tuple[Status]:
        if self.running:
            self.broken.append("a graph was destroyed while the device ran it")
        del self.graphs[graph]
        return (Status.cudaSuccess,)

    def cudaGetErrorString(self, status: Status) -> tuple[Status, bytes]:
        return Status.cudaSuccess, status.name.encode()

    def cudaGetLastError(self) -> tuple[Status]:
        return (Status.cudaSuccess,)


class Memory(HostMemory):
    """Host memory that tells CUDA's stand-in when its work is waited for."""

    def __init__(self, cuda: Cuda) -> None:
        super().__init__()
        self.cuda = cuda

    def synchronize(self, event: Event) -> None:
        self.cuda.running = False

    def free(self, tensor: DeviceTensor) -> None:
        self.cuda.running = False  # it waits for the device
        super().free(tensor)

    @property
    def allocated(self) -> int:
        """How many tensors are not freed."""
        return len(self._kept)


class Context:
    """An execution context. Its one graph is void once its shapes change, and it computes nothing without memory."""

    def __init__(self, engine: Engine, config: Config | None, strategy: Strategy) -> None:
        assert strategy is Strategy.USER_MANAGED, "sixteen contexts would take sixteen times the memory"
        self.engine, self.config, self.cuda = engine, config, engine.cuda
        self.shapes: dict[str, Shape] = {}
        self.addresses: dict[str, int] = {}
        self.memory: tuple[int, int] | None = None
        self.profile: int | None = None
        self.recorded: tuple[Any, Any] | None = None
        self.work: list[Callable[[], None]] = []
        engine.contexts += 1

    def __del__(self) -> None:
        if any(work in graph for graph in self.cuda.graphs.values() for work in self.work):
            self.cuda.broken.append("a context was destroyed before its graph")

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self.profile = profile
        self.memory = None  # another profile, other memory
        return True

    def set_device_memory(self, address: int, size: int) -> None:
        assert size >= SCRATCH and address % 256 == 0
        self.memory = address, size

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        self.shapes[name] = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        assert self.memory is not None and self.profile is not None
        state = dict(self.shapes), dict(self.addresses)
        self.engine.compile(self, tuple(self.shapes.values()))
        if self.cuda.capturing is not None:
            assert self.config is None, "RTX captures by itself"
            assert self.recorded is None, "a context serves one graph"
            self.recorded = state
        elif self.config is not None and self.config.cuda_graph_strategy is Capture.WHOLE_GRAPH_CAPTURE:
            self.engine.captures += self.recorded != state
            self.recorded = state

        here = weakref.ref(self)

        def work() -> None:
            context = here()
            assert context is not None, "the context of this graph is gone"
            if context.recorded is not None:
                assert (context.shapes, context.addresses) == context.recorded, "the graph's context was changed"
            source = np.ctypeslib.as_array((ctypes.c_float * 4).from_address(state[1]["image"]))
            target = np.ctypeslib.as_array((ctypes.c_float * 1).from_address(state[1]["logits"]))
            target[0] = source.sum() + state[0]["image"][0]

        self.work.append(work)
        self.cuda.queue(work)
        return True


class Cache(set[Any]):
    """RTX's runtime cache, of the shapes that kernels were compiled for. driver: another one's bytes are refused."""

    driver = "one"

    def serialize(self) -> memoryview:
        return memoryview(repr((self.driver, sorted(self))).encode())

    def deserialize(self, blob: bytes) -> bool:
        try:
            driver, shapes = ast.literal_eval(blob.decode())
        except (ValueError, SyntaxError):
            raise AssertionError("bytes that the library did not write may crash it") from None
        if driver == self.driver:
            self.update(shapes)
        return bool(driver == self.driver)


class Config:
    """RTX's runtime configuration; a context that joins no cache compiles its kernels anew."""

    def __init__(self) -> None:
        self.cuda_graph_strategy = Capture.DISABLED
        self.cache: Cache | None = None
        self.strategy = Strategy.STATIC

    def create_runtime_cache(self) -> Cache:
        return Cache()

    def set_runtime_cache(self, cache: Cache) -> bool:
        self.cache = cache
        return True

    def set_execution_context_allocation_strategy(self, strategy: Strategy) -> None:
        self.strategy = strategy


class Engine:
    """A deserialised plan: image [-1,4] -> logits [-1,1], one profile of up to 8 images."""

    num_io_tensors, num_optimization_profiles, device_memory_size_v2 = 2, 1, SCRATCH
    names = ("image", "logits")

    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda
        self.contexts = self.captures = self.compiled = 0

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name="FLOAT")

    def get_tensor_shape(self, name: str) -> Shape:
        return (-1, 4) if name == "image" else (-1, 1)

    def get_tensor_mode(self, name: str) -> Any:
        return SimpleNamespace(name="INPUT" if name == "image" else "OUTPUT")

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[Shape]:
        return [(1, 4), (4, 4), (8, 4)]

    def create_runtime_config(self) -> Config:
        return Config()

    def create_execution_context(self, how: Strategy | Config) -> Context:
        return Context(self, how, how.strategy) if isinstance(how, Config) else Context(self, None, how)

    def compile(self, context: Context, shapes: tuple[Shape, ...]) -> None:
        """Compile kernels for shapes, unless the cache that the context shares has them."""
        cache = set() if context.config is None or context.config.cache is None else context.config.cache
        self.compiled += shapes not in cache
        cache.add(shapes)


class Runtime:
    """TensorRT's runtime, for which every plan is the one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get_engine_validity(self, plan: bytes) -> tuple[Any, int]:
        return SimpleNamespace(name="VALID"), 0

    def deserialize_cuda_engine(self, plan: bytes) -> Engine:
        return self._engine


def library(runtime: str, engine: Engine | None = None) -> Library:
    """The names of TensorRT's module that a plan's calls take."""
    trt = SimpleNamespace(
        ExecutionContextAllocationStrategy=Strategy,
        CudaGraphStrategy=Capture,
        Runtime=lambda logger: Runtime(engine),  # type: ignore[arg-type]
        __version__="0.0.stand-in",
    )
    return Library(runtime, trt, None, [])
