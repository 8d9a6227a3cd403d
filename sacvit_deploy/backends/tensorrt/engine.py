"""A plan's calls in one stream: scratch memory, execution contexts, and a CUDA graph for every call that repeats."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sacvit_deploy.backends.tensorrt.compat import KernelCache, device_memory, give_memory, is_rtx, make_context
from sacvit_deploy.backends.tensorrt.library import Library
from sacvit_deploy.backends.tensorrt.tensors import choose_profile, read_profiles, read_tensors
from sacvit_deploy.device.cuda import Graph, capture
from sacvit_deploy.device.protocol import DeviceTensor, Memory, Stream
from sacvit_deploy.errors import BackendError

CALLS = 16  # kept for each engine and stream; a stream of equal batches needs two


@dataclass
class Call:
    """A call by its shapes and addresses: from its second time on with a context of its own, then a graph of that.

    A graph must be the only one of its context, whose shapes must not change: NVIDIA's rule.
    """

    context: Any = None
    graph: Graph | None = None

    def close(self) -> None:
        """Destroy the graph before its context."""
        self.graph = None
        self.context = None


class PlanEngine:
    """A plan in one stream, behind the protocol `DeviceEngine`. name: its file's.

    All contexts share one piece of scratch memory, as a stream runs one call after the other.
    """

    def __init__(
        self, library: Library, engine: Any, name: str, memory: Memory, stream: Stream, kernels: KernelCache
    ) -> None:
        self._library, self._engine, self._name = library, engine, name
        self._memory, self._stream, self._kernels = memory, stream, kernels
        self._scratch: DeviceTensor | None = None
        self._contexts: dict[int, Any] = {}  # by profile: for calls that were not seen before
        self._calls: dict[tuple[object, ...], Call] = {}  # the one that was used last is the last
        self._size = device_memory(engine)
        self.inputs, self.outputs = read_tensors(engine)
        self.profiles = read_profiles(engine)
        self._graphs = not is_rtx(library)  # RTX captures graphs by itself

    def rows(self, size: int) -> int:
        return size

    def enqueue(self, tensors: Mapping[str, DeviceTensor], stream: Stream) -> None:
        """Queue one call; what repeats is launched as a CUDA graph. Raises BackendError."""
        bound = {name: tensors[name] for name in (*self.inputs, *self.outputs)}
        key = tuple((tensor.handle, tensor.shape) for tensor in bound.values())
        call = self._calls.pop(key, None)
        if call is None:
            self._make_room()
            self._calls[key] = Call()
            context = self._context(choose_profile(self.profiles, bound, self._name))
            self._bind(context, bound)
            self._execute(context)
            return
        self._calls[key] = call
        if call.graph is not None:
            call.graph.launch(self._stream)
            return
        first = call.context is None
        if first:
            context = self._make(choose_profile(self.profiles, bound, self._name), repeats=True)
            self._bind(context, bound)
            call.context = context
        self._execute(call.context)
        if first and self._graphs:
            call.graph = self._record(call.context)

    def _bind(self, context: Any, bound: Mapping[str, DeviceTensor]) -> None:
        for name in self.inputs:
            if not context.set_input_shape(name, bound[name].shape):
                raise self._failed(f"{name} can't have the shape {bound[name].shape}")
        for name, tensor in bound.items():
            context.set_tensor_address(name, tensor.handle)

    def _execute(self, context: Any) -> None:
        self._library.clear_errors()
        if not context.execute_async_v3(int(self._stream)):
            raise self._failed("a call failed")

    def _record(self, context: Any) -> Graph | None:
        """Record a call whose execution has just settled all that depends on its shapes; recording runs nothing.

        Where that fails, the answers are the same without graphs, only later: a warning says so, once.
        """
        try:
            return capture(self._stream, lambda: self._execute(context))
        except BackendError as error:
            self._graphs = False
            warnings.warn(f"{self._name} runs without CUDA graphs, more slowly: {error}", stacklevel=3)
            return None

    def _context(self, profile: int) -> Any:
        """Return the context of a profile; switching one between profiles would wait for the device."""
        if profile not in self._contexts:
            self._contexts[profile] = self._make(profile, repeats=False)
        return self._contexts[profile]

    def _make(self, profile: int, *, repeats: bool) -> Any:
        if self._scratch is None:
            self._scratch = self._memory.allocate((self._size,), np.dtype(np.uint8))
        self._library.clear_errors()
        context = make_context(self._library, self._engine, self._kernels, repeats=repeats)
        if context is None or not context.set_optimization_profile_async(profile, int(self._stream)):
            raise self._failed("there is no memory for its context, or the profile can't be set")
        give_memory(context, self._scratch.handle, self._size)
        return context

    def _make_room(self) -> None:
        """Forget the call that was used least recently, once the device has done what it was asked for."""
        while len(self._calls) >= CALLS:
            self._wait()
            self._calls.pop(next(iter(self._calls))).close()

    def _wait(self) -> None:
        self._memory.synchronize(self._memory.record_event(self._stream))

    def _failed(self, what: str) -> BackendError:
        return BackendError(f"{self._name} in {self._library.title}: {what} ({self._library.last_error()})")

    def __del__(self) -> None:
        """Give back memory, graphs and contexts, in this order: freeing memory waits for the device."""
        if sys.is_finalizing():
            return  # with the process, the driver takes back all of it
        if self._scratch is not None:
            with contextlib.suppress(BackendError):  # of a device that failed, which has nothing left to wait for
                self._memory.free(self._scratch)
        while self._calls:
            self._calls.popitem()[1].close()
