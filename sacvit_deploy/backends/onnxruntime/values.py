"""Memory of a plugin provider's device: tensors are ONNX Runtime's values, whole, each of one shape."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.backends.onnxruntime.row_models import join_model, rows_model
from sacvit_deploy.backends.onnxruntime.session import SessionFactory, calling, load_library
from sacvit_deploy.device.protocol import DeviceTensor, Rows, Shape, Stream
from sacvit_deploy.errors import BackendError

INDICES = "indices"


@dataclass
class ValueStream:
    """A stream in order: what is put in has been handed to the library; downloads wait until somebody wants them."""

    downloads: list[Callable[[], None]] = field(default_factory=list)
    done: int = 0  # downloads that were made
    lock: threading.Lock = field(default_factory=threading.Lock)  # threads that share a engine set share a stream
    failure: BackendError | None = None  # of a download: whoever it was for, nobody's later ones can be trusted


@dataclass
class ValueEvent:
    """A point in a stream: the downloads before it, and the host's time when it was recorded, or had passed."""

    stream: ValueStream
    position: int
    time: float


class ValueMemory:
    """Tensors as values on a provider's device, behind the protocol `Memory`.

    The provider keeps one queue and orders all work by itself, so that a value may be dropped while work on it is
    under way. It has no events: times are the host's, and waiting for the device is booked where a download waits.
    location: the device's name to the library, such as "webgpu". uploaded, downloaded: bytes so far.
    """

    dlpack_device = None

    def __init__(self, sessions: SessionFactory, location: str) -> None:
        self._sessions, self.location, self._guard = sessions, location, sessions.guard
        library = load_library()
        self._values, self._copy = library.OrtValue, library.copy_tensors
        self._row_sessions: dict[tuple[str, ...], Any] = {}
        self.uploaded = self.downloaded = 0

    def activate(self) -> None:
        """Do nothing: every call names its device."""

    def allocate(self, shape: Shape, dtype: np.dtype[Any], room: int = 0) -> DeviceTensor:
        with calling("allocating memory", self._guard):
            value = self._values.ortvalue_from_shape_and_type(list(shape), dtype, self.location, 0)
        return DeviceTensor(value, shape, dtype)

    def reshaped(self, tensor: DeviceTensor, shape: Shape, dtype: np.dtype[Any], room: int = 0) -> DeviceTensor | None:
        return tensor if (tensor.shape, tensor.dtype) == (shape, dtype) else None

    def free(self, tensor: DeviceTensor) -> None:
        """Do nothing: the library frees it with the last reference."""

    def pinned(self, shape: Shape, dtype: np.dtype[Any]) -> Array:
        return np.empty(shape, dtype)

    def stream(self) -> ValueStream:
        return ValueStream()

    def close_stream(self, stream: Stream) -> None:
        """Do nothing: it is a list of ours."""

    def upload(self, target: DeviceTensor, source: Array, stream: Stream) -> None:
        if source.size:
            with calling("an upload", self._guard):
                target.handle.update_inplace(source)
        self.uploaded += source.nbytes

    def download(self, target: Array, source: DeviceTensor, stream: ValueStream) -> None:
        # A copy on the device, in the order of its work: the tensor may have been written anew when somebody waits.
        kept = self.allocate(source.shape, source.dtype).handle
        with calling("a download", self._guard):
            self._copy([source.handle], [kept])

        def fetch() -> None:
            with calling("a download", self._guard):
                np.copyto(target, kept.numpy())
            self.downloaded += target.nbytes

        with stream.lock:
            stream.downloads.append(fetch)

    def rows(self, rows: Rows, size: int, stream: Stream) -> dict[str, DeviceTensor]:
        count = rows.stop - rows.start
        shapes = {name: (size, *tensor.shape[1:]) for name, tensor in rows.tensors.items()}
        if (rows.start, rows.stop, size) == (0, next(iter(rows.tensors.values())).shape[0], count):
            return dict(rows.tensors)
        indices = np.full(size, rows.start, np.int64)
        indices[:count] = np.arange(rows.start, rows.stop)
        targets = {name: self.allocate(shapes[name], tensor.dtype) for name, tensor in rows.tensors.items()}
        self._take(targets, rows.tensors, indices)
        return targets

    def join(self, targets: Mapping[str, DeviceTensor], parts: Sequence[Rows], stream: Stream) -> None:
        if len(parts) == 1:
            self._take(targets, parts[0].tensors, np.arange(parts[0].start, parts[0].stop))
            return
        first, second = (self.rows(part, part.stop - part.start, stream) for part in parts)
        inputs = {f"{name} {end}": tensors[name] for end, tensors in enumerate((first, second)) for name in targets}
        self._run(join_model, targets, inputs)

    def _take(self, targets: Mapping[str, DeviceTensor], tensors: Mapping[str, DeviceTensor], rows: Array) -> None:
        with calling("an upload", self._guard):
            indices = self._values.ortvalue_from_numpy(np.ascontiguousarray(rows, np.int64), self.location, 0)
        self.uploaded += rows.nbytes
        index = DeviceTensor(indices, rows.shape, rows.dtype)
        self._run(rows_model, targets, {name: tensors[name] for name in targets} | {INDICES: index})

    def _run(
        self,
        model: Callable[[Mapping[str, np.dtype[Any]]], bytes],
        targets: Mapping[str, DeviceTensor],
        inputs: Mapping[str, DeviceTensor],
    ) -> None:
        """Run one of the models over rows on tensors that are there."""
        dtypes = {name: target.dtype for name, target in targets.items()}
        key = (model.__name__, *(f"{name} {dtype}" for name, dtype in dtypes.items()))
        if key not in self._row_sessions:
            self._row_sessions[key] = self._sessions.open(model(dtypes))
        session = self._row_sessions[key]
        binding = session.io_binding()
        for name, tensor in inputs.items():
            binding.bind_ortvalue_input(name, tensor.handle)
        for name, tensor in targets.items():
            binding.bind_ortvalue_output(f"{name} out", tensor.handle)
        with calling("moving rows", self._guard):
            session.run_with_iobinding(binding)

    def record_event(self, stream: ValueStream) -> ValueEvent:
        with stream.lock:
            return ValueEvent(stream, stream.done + len(stream.downloads), time.perf_counter())

    def wait_event(self, stream: ValueStream, event: ValueEvent) -> None:
        """Do nothing: the provider has one queue."""

    def synchronize(self, event: ValueEvent) -> None:
        stream = event.stream
        with stream.lock:
            while stream.done < event.position and stream.failure is None:
                fetch = stream.downloads.pop(0)
                stream.done += 1
                try:
                    fetch()
                except BackendError as error:
                    stream.failure = error
                event.time = time.perf_counter()
            if stream.failure is not None:
                raise BackendError(str(stream.failure)) from stream.failure

    def elapsed(self, start: ValueEvent, end: ValueEvent) -> float:
        return max(0.0, end.time - start.time)
