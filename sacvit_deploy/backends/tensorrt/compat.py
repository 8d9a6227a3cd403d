"""Differences between TensorRT 10, TensorRT 11 and TensorRT-RTX. No other module asks which one it has."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterable, Sequence
from typing import Any

from sacvit_deploy.backends.tensorrt.kernel_file import KernelFile, kernel_file
from sacvit_deploy.backends.tensorrt.library import Library
from sacvit_deploy.device.cuda import GPU
from sacvit_deploy.device.protocol import Memory
from sacvit_deploy.errors import BackendError, UsageError

SOUND = ("VALID", "SUBOPTIMAL")


def is_rtx(library: Library) -> bool:
    """Tell whether plans are compiled for named compute capabilities, on any machine, not for the GPU at hand."""
    return library.runtime == "tensorrt-rtx"


def network_flags(library: Library) -> int:
    """Return the flags of a strongly typed network: a flag on 10, nothing where networks always are."""
    flag = getattr(library.trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def set_capabilities(library: Library, config: Any, capabilities: Sequence[str]) -> None:
    """Set the GPUs that a plan is for. Raises UsageError, BackendError.

    RTX: compute capabilities such as "8.6", or none for the GPU at hand. TensorRT builds for the GPU at hand alone.
    """
    if not is_rtx(library):
        if capabilities:
            raise UsageError("TensorRT builds for the GPU it finds; only TensorRT-RTX takes --compute-capability")
        return
    found = [find_capability(library, capability) for capability in capabilities]
    found = found or [library.trt.ComputeCapability.CURRENT]
    config.num_compute_capabilities = len(found)
    for index, capability in enumerate(found):
        config.set_compute_capability(capability, index)


def find_capability(library: Library, capability: str) -> Any:
    """Return RTX's constant for "8.6". Raises UsageError for another form, BackendError for one it can't build for."""
    parts = re.fullmatch(r"(\d+)\.(\d)", capability)
    if parts is None:
        raise UsageError(f"{capability!r} is no compute capability; write it as 8.6")
    known = library.trt.ComputeCapability.__members__
    name = f"SM{parts[1]}{parts[2]}"
    if name not in known:
        offered = ", ".join(f"{key[2:-1]}.{key[-1]}" for key in known if re.fullmatch(r"SM\d+", key))
        raise BackendError(f"this TensorRT-RTX can't build for compute capability {capability}; it offers {offered}")
    return known[name]


def find_fault(library: Library, runtime: Any, plan: bytes) -> str | None:
    """Return why a plan can't run here, as far as RTX tells without deserialising it; None if it finds nothing."""
    if not is_rtx(library):
        return None
    validity, diagnostics = runtime.get_engine_validity(plan)
    if validity.name in SOUND:
        return None
    flags = library.trt.EngineInvalidityDiagnostics.__members__
    named = [name for name, flag in flags.items() if int(diagnostics) & int(flag)]
    return ", ".join(name.lower().replace("_", " ") for name in named) or validity.name.lower()


def find_kernel_file(library: Library, gpu: GPU, plans: Iterable[memoryview]) -> KernelFile | None:
    """Return where the kernels that are compiled for these plans are kept; None where the plans have theirs."""
    if not is_rtx(library):
        return None
    return kernel_file((library.runtime, library.version, gpu.name, gpu.compute_capability, gpu.driver), plans)


class KernelCache:
    """The kernels that TensorRT-RTX compiles while it runs: one context's are every other context's, too.

    It must outlive the contexts. kept: the file they are read from before the first context, and written to by `save`.
    """

    def __init__(self, kept: KernelFile | None = None) -> None:
        self._cache: Any = None
        self._kept, self._process = kept, os.getpid()
        self._saved: bytes | None = None  # what the file holds
        self._lock = threading.Lock()

    def join(self, library: Library, runtime_config: Any) -> None:
        """Let the contexts of a runtime configuration share it. Raises BackendError."""
        with self._lock:
            if self._cache is None:
                self._cache = runtime_config.create_runtime_cache()
                self._read(library)
        if self._cache is None or not runtime_config.set_runtime_cache(self._cache):
            raise BackendError(f"{library.title} can't keep the kernels it compiles: {library.last_error()}")

    def _read(self, library: Library) -> None:
        """Give the library what an earlier process compiled; it refuses what is of another driver, GPU or version."""
        blob = None if self._kept is None or self._cache is None else self._kept.read()
        if blob is not None:
            self._saved = blob if self._cache.deserialize(blob) else None
            library.clear_errors()  # a refusal costs time alone

    def save(self, memory: Memory) -> None:
        """Write the file, if there is something new. Where that fails, the next process compiles again."""
        # A forked child must not touch what its parent opened.
        if self._kept is None or self._cache is None or self._process != os.getpid():
            return
        with self._lock, contextlib.suppress(BackendError, OSError):
            memory.activate()
            serialised = self._cache.serialize()
            blob = b"" if serialised is None else bytes(serialised)
            if blob and blob != self._saved:
                self._kept.write(blob)
                self._saved = blob


def make_context(library: Library, engine: Any, kernels: KernelCache, *, repeats: bool) -> Any:
    """Create an execution context without scratch memory, which `give_memory` gives it. Raises BackendError.

    repeats: its calls will all have the same shapes and addresses. RTX then captures a CUDA graph itself, as it alone
    knows when its kernels are final; it would capture anew whenever one of them changed.
    """
    managed = library.trt.ExecutionContextAllocationStrategy.USER_MANAGED
    if not is_rtx(library):
        return engine.create_execution_context(managed)
    runtime_config = engine.create_runtime_config()
    runtime_config.set_execution_context_allocation_strategy(managed)
    if repeats:
        runtime_config.cuda_graph_strategy = library.trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    kernels.join(library, runtime_config)
    return engine.create_execution_context(runtime_config)


def give_memory(context: Any, address: int, size: int) -> None:
    """Give a context its scratch memory, of `device_memory` bytes; 10.3 may know only the older way."""
    if hasattr(context, "set_device_memory"):
        context.set_device_memory(address, size)
    else:
        context.device_memory = address


def device_memory(engine: Any) -> int:
    """Return the bytes a context needs; 10.3 may know only the older of the two names."""
    size = getattr(engine, "device_memory_size_v2", None)
    return int(engine.device_memory_size if size is None else size)
