"""Calls of a CUDA session that repeat, recorded from outside as CUDA graphs. Not run on a GPU yet."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.device.cuda import Graph, capture
from sacvit_deploy.device.protocol import DeviceEngine, DeviceTensor, Memory, Stream
from sacvit_deploy.errors import BackendError

CALLS = 16  # kept for each engine and stream; a stream of equal batches needs two
GARBAGE = 0xFF  # in every byte: NaN, or -1
CLOSE = 1e-2  # of the largest value: sums in another order differ by less, in half precision, too


@dataclass
class Call:
    """A call by its shapes and addresses: how often it was run, its graph, and whether that was seen to do the same."""

    runs: int = 0
    graph: Graph | None = None
    proven: bool = False


class RepeatingSession:
    """A session on CUDA, behind the protocol `DeviceEngine`, that launches a call which repeats as one graph.

    The stages keep shapes and addresses, so a stream of equal batches repeats two calls. ONNX Runtime's own graphs wait
    for the device at each launch; these don't. A call's first run settles the library's memory for it, the second one
    is recorded, and the third is run both ways: a graph that does not give the same is never taken. Where recording
    fails, all calls run as before; a warning says so, once. plain: the session. name: its file's.
    """

    def __init__(self, plain: DeviceEngine, name: str, memory: Memory, stream: Stream) -> None:
        self._plain, self._name, self._memory, self._stream = plain, name, memory, stream
        self.inputs, self.outputs, self.rows = plain.inputs, plain.outputs, plain.rows
        self._calls: dict[tuple[object, ...], Call] = {}  # the one that was used last is the last
        self._records = True
        self.launched = 0  # graphs

    def enqueue(self, tensors: Mapping[str, DeviceTensor], stream: Stream) -> None:
        """Queue one call. Raises BackendError."""
        bound = {name: tensors[name] for name in (*self.inputs, *self.outputs)}
        key = tuple((tensor.handle, tensor.shape) for tensor in bound.values())
        call = self._calls.pop(key, None)
        if call is None:
            self._make_room()
            call = Call()
        self._calls[key] = call
        if call.graph is not None and call.proven:
            call.graph.launch(self._stream)
            self.launched += 1
            return
        self._plain.enqueue(bound, stream)
        call.runs += 1
        if self._records and call.runs == 2:
            call.graph = self._record(bound)
        elif self._records and call.graph is not None:
            call.proven = self._prove(call.graph, bound)

    def _record(self, bound: Mapping[str, DeviceTensor]) -> Graph | None:
        """Record a call that has just been run; recording runs nothing."""
        try:
            return capture(self._stream, lambda: self._plain.enqueue(bound, self._stream), device_only=True)
        except BackendError as error:
            self._give_up(str(error))
            return None

    def _prove(self, graph: Graph, bound: Mapping[str, DeviceTensor]) -> bool:
        """Launch a graph behind a run of its call; tell whether it gives the same. The outputs stay right."""
        outputs = {name: bound[name] for name in self.outputs}
        expected = self._fetch(outputs)
        garbage = {name: np.full(array.nbytes, GARBAGE, np.uint8) for name, array in expected.items()}
        self._fill(outputs, garbage)
        graph.launch(self._stream)
        found = self._fetch(outputs)
        if all(_close(found[name], array) for name, array in expected.items()):
            return True
        self._fill(outputs, expected)
        self._give_up("a recorded call gave something else than the call itself")
        return False

    def _fetch(self, outputs: Mapping[str, DeviceTensor]) -> dict[str, Array]:
        arrays = {name: self._memory.pinned(tensor.shape, tensor.dtype) for name, tensor in outputs.items()}
        for name, array in arrays.items():
            self._memory.download(array, outputs[name], self._stream)
        self._wait()
        return arrays

    def _fill(self, outputs: Mapping[str, DeviceTensor], arrays: Mapping[str, Array]) -> None:
        for name, array in arrays.items():
            self._memory.upload(outputs[name], array, self._stream)
        self._wait()  # before the arrays go

    def _give_up(self, why: str) -> None:
        self._records = False
        warnings.warn(f"{self._name} runs without CUDA graphs, more slowly: {why}", RuntimeWarning, stacklevel=4)

    def _make_room(self) -> None:
        """Forget the call that was used least recently, once the device has done what it was asked for."""
        while len(self._calls) >= CALLS:
            self._wait()
            self._calls.pop(next(iter(self._calls))).graph = None

    def _wait(self) -> None:
        self._memory.synchronize(self._memory.record_event(self._stream))


def _close(found: Array, expected: Array) -> bool:
    """Compare outputs; where one is not finite, the other must not be either."""
    if expected.dtype.kind != "f":
        return np.array_equal(found, expected)
    finite = np.isfinite(expected)
    scale = float(np.abs(expected[finite]).max(initial=0))
    same = np.array_equal(np.isfinite(found), finite)
    return same and bool(np.allclose(found[finite], expected[finite], rtol=0, atol=CLOSE * scale))
