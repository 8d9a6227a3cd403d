"""Sessions of fixed shapes whose work a device records once and replays."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from sacvit_deploy.backends.onnxruntime.bound import BoundSession
from sacvit_deploy.backends.onnxruntime.session import calling, load_library
from sacvit_deploy.device.protocol import DeviceTensor, Memory, Stream
from sacvit_deploy.errors import BackendError

GRAPHS = 4  # sessions kept for one engine, each with the weights and tensors of its own


class CapturedSession:
    """An engine with a session for each shape it is called with, in buckets, behind the protocol `DeviceEngine`.

    A recording holds addresses: each session has tensors of its own, which calls are copied into and out of. Shapes
    that can't be recorded run on `plain`, the session with open shapes.
    open_fixed: open a session that records, for the sizes of open dimensions by name.
    """

    def __init__(
        self,
        plain: BoundSession,
        open_fixed: Callable[[Mapping[str, int]], Any],
        memory: Memory,
        guard: AbstractContextManager[Any],
    ) -> None:
        self._guard = guard
        self.inputs, self.outputs = plain.inputs, plain.outputs
        self._plain, self._open_fixed, self._memory = plain, open_fixed, memory
        self._recordings: dict[tuple[tuple[str, int], ...], _Recording | None] = {}
        self.replayed = 0  # calls

    def rows(self, size: int) -> int:
        """Return the bucket, the next power of two: few shapes, and the fewer the fuller."""
        return 1 << (size - 1).bit_length()

    def enqueue(self, tensors: Mapping[str, DeviceTensor], stream: Stream) -> None:
        recording = self._recording(tensors)
        if recording is None:
            self._plain.enqueue(tensors, stream)
        else:
            recording.run(tensors)
            self.replayed += 1

    def _recording(self, tensors: Mapping[str, DeviceTensor]) -> _Recording | None:
        sizes = self._plain.open_sizes(tensors)
        key = tuple(sorted(sizes.items()))
        if key not in self._recordings:
            if len(self._recordings) >= GRAPHS:
                del self._recordings[next(iter(self._recordings))]
            bound = {name: tensors[name] for name in (*self.inputs, *self.outputs)}
            try:
                session = self._open_fixed(sizes)
                self._recordings[key] = _Recording(session, bound, tuple(self.inputs), self._memory, self._guard)
            except BackendError as error:  # what is wrong with more than the recording shows on the plain session, too
                warnings.warn(f"calls of {self._plain.name} run unrecorded: {error}", RuntimeWarning, stacklevel=2)
                self._recordings[key] = None
        return self._recordings[key]


class _Recording:
    """A session that records its first call, on tensors like `example`, some of which are inputs."""

    def __init__(
        self,
        session: Any,
        example: Mapping[str, DeviceTensor],
        inputs: tuple[str, ...],
        memory: Memory,
        guard: AbstractContextManager[Any],
    ) -> None:
        self._session, self._inputs, self._guard = session, inputs, guard
        self._copy = load_library().copy_tensors
        self._tensors = {name: memory.allocate(tensor.shape, tensor.dtype) for name, tensor in example.items()}
        self._binding = session.io_binding()
        for name, tensor in self._tensors.items():
            bind = self._binding.bind_ortvalue_input if name in inputs else self._binding.bind_ortvalue_output
            bind(name, tensor.handle)
        self.run(example)

    def run(self, tensors: Mapping[str, DeviceTensor]) -> None:
        """Copy the inputs in, replay, copy the outputs out. Raises BackendError."""
        with calling("a recorded call", self._guard):
            self._move(tensors, self._tensors, [name for name in self._tensors if name in self._inputs])
            self._session.run_with_iobinding(self._binding)
            self._move(self._tensors, tensors, [name for name in self._tensors if name not in self._inputs])

    def _move(self, sources: Mapping[str, DeviceTensor], targets: Mapping[str, DeviceTensor], names: list[str]) -> None:
        self._copy([sources[name].handle for name in names], [targets[name].handle for name in names])
