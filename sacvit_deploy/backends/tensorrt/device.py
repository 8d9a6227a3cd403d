"""Plans on a GPU: deserialised once, a context for each stream and profile, CUDA graphs for repeated shapes."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sacvit_deploy.backends.tensorrt.compat import find_fault, is_rtx, make_context
from sacvit_deploy.backends.tensorrt.library import Library
from sacvit_deploy.device.cuda import CudaMemory, call, capture
from sacvit_deploy.device.protocol import DeviceTensor, Memory, Shape, Stream, TensorSpec
from sacvit_deploy.errors import BackendError

DTYPES = {"FLOAT": np.float32, "HALF": np.float16, "INT64": np.int64, "INT32": np.int32, "UINT8": np.uint8}
GRAPHS = 16  # kept for each engine and stream; a stream of equal batches needs two
Profile = Mapping[str, tuple[Shape, Shape, Shape]]


class TensorRTDevice:
    """A variant's plans behind the protocol `Device`. Raises BackendError for one that can't run here."""

    contexts = 4  # threads at once; each takes a context's memory for every engine

    def __init__(self, library: Library, files: Mapping[str, Path]) -> None:
        self._library, self._files = library, files
        self.memory: Memory = CudaMemory()
        self._runtime = library.trt.Runtime(library.logger)
        self._engines: dict[str, Any] = {}
        self._lock = threading.Lock()

    @property
    def max_batch(self) -> int | None:
        """The largest batch that stage 1's profiles allow."""
        role = "ee" if "ee" in self._files else next(iter(self._files))
        profiles = read_profiles(self._open(role))
        return max(next(iter(profile.values()))[2][0] for profile in profiles)

    def engine(self, role: str, stream: Stream) -> PlanEngine:
        """Make contexts of a plan for one stream. Raises BackendError."""
        return PlanEngine(self._library, self._open(role), self._files[role].name)

    def _open(self, role: str) -> Any:
        with self._lock:
            if role not in self._engines:
                self._engines[role] = self._deserialise(self._files[role])
            return self._engines[role]

    def _deserialise(self, path: Path) -> Any:
        library = self._library
        try:
            plan = path.read_bytes()
        except OSError as error:
            raise BackendError(f"can't read {path}: {error.strerror}") from error
        fault = find_fault(library, self._runtime, plan)
        if fault is not None:
            raise BackendError(f"{library.title} can't run {path} here: {fault}; build the plans on this machine")
        library.clear_errors()
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise BackendError(f"{library.title} can't load {path}: {library.last_error()}")
        return engine


class PlanEngine:
    """A plan's contexts for one stream, behind the protocol `DeviceEngine`."""

    def __init__(self, library: Library, engine: Any, name: str) -> None:
        self._library, self._engine, self._name = library, engine, name
        trt = library.trt
        tensors = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        specs = {key: TensorSpec(_dtype(engine, key), tuple(engine.get_tensor_shape(key))) for key in tensors}
        inputs = [key for key in tensors if engine.get_tensor_mode(key) == trt.TensorIOMode.INPUT]
        self.inputs = {key: specs[key] for key in inputs}
        self.outputs = {key: spec for key, spec in specs.items() if key not in inputs}
        self.profiles = read_profiles(engine)
        self._contexts: dict[int, Any] = {}
        self._graphs: dict[tuple[object, ...], Any] = {}  # None: seen once

    def enqueue(self, tensors: Mapping[str, DeviceTensor], stream: Stream) -> None:
        """Queue one call; shapes and addresses seen before are launched as a CUDA graph."""
        bound = {name: tensors[name] for name in (*self.inputs, *self.outputs)}
        key = tuple((tensor.address, tensor.shape) for tensor in bound.values())
        graph = self._graphs.get(key)
        if graph is not None:
            call("cudaGraphLaunch", graph, stream)
            return
        context = self._context(choose_profile(self.profiles, bound, self._name), stream)
        for name in self.inputs:
            if not context.set_input_shape(name, bound[name].shape):
                raise self._failed(f"{name} can't have the shape {bound[name].shape}")
        for name, tensor in bound.items():
            context.set_tensor_address(name, tensor.address)
        self._execute(context, stream)
        if is_rtx(self._library):
            return  # it captures graphs by itself
        if key in self._graphs:
            # The call before has settled all that depends on the shapes; recording runs nothing.
            self._graphs[key] = capture(stream, lambda: self._execute(context, stream))
            return
        if len(self._graphs) >= GRAPHS:
            del self._graphs[next(iter(self._graphs))]
        self._graphs[key] = None

    def _execute(self, context: Any, stream: Stream) -> None:
        self._library.clear_errors()
        if not context.execute_async_v3(int(stream)):
            raise self._failed("a call failed")

    def _context(self, profile: int, stream: Stream) -> Any:
        """Return the context of a profile; switching one between profiles would wait for the device."""
        if profile not in self._contexts:
            self._library.clear_errors()
            context = make_context(self._library, self._engine)
            if context is None or not context.set_optimization_profile_async(profile, int(stream)):
                raise self._failed("there is no memory for its context, or the profile can't be set")
            self._contexts[profile] = context
        return self._contexts[profile]

    def _failed(self, what: str) -> BackendError:
        return BackendError(f"{self._name} in {self._library.title}: {what} ({self._library.last_error()})")


def read_profiles(engine: Any) -> list[Profile]:
    """Return the shapes each profile of an engine allows, by input: min, opt, max."""
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name).name == "INPUT"]
    profiles: list[Profile] = []
    for number in range(engine.num_optimization_profiles):
        shapes = {name: [tuple(dims) for dims in engine.get_tensor_profile_shape(name, number)] for name in inputs}
        profiles.append({name: (low, opt, high) for name, (low, opt, high) in shapes.items()})
    return profiles


def choose_profile(profiles: list[Profile], tensors: Mapping[str, DeviceTensor], name: str) -> int:
    """Return the narrowest profile that allows the shapes. Raises BackendError naming what is out of range."""
    fitting = [
        number
        for number, profile in enumerate(profiles)
        if all(_within(tensors[key].shape, shapes) for key, shapes in profile.items())
    ]
    if not fitting:
        widest = max(profiles, key=lambda profile: _volume(profile))
        key = next(key for key, shapes in widest.items() if not _within(tensors[key].shape, shapes))
        low, _, high = widest[key]
        raise BackendError(
            f"{name} takes `{key}` of {list(low)} to {list(high)}, not {list(tensors[key].shape)}; ask for "
            "another batch or alpha, or build plans with another --batch or --alpha"
        )
    return min(fitting, key=lambda number: _volume(profiles[number]))


def _within(shape: Shape, profile: tuple[Shape, Shape, Shape]) -> bool:
    lows, _, highs = profile
    return all(low <= size <= high for low, size, high in zip(lows, shape, highs, strict=True))


def _volume(profile: Profile) -> int:
    """Count the numbers in the largest inputs a profile allows."""
    return sum(int(np.prod(high)) for _, _, high in profile.values())


def _dtype(engine: Any, name: str) -> np.dtype[Any]:
    word = engine.get_tensor_dtype(name).name
    if word not in DTYPES:
        raise BackendError(f"the plan's `{name}` is of type {word.lower()}, which no engine of a bundle has")
    return np.dtype(DTYPES[word])
