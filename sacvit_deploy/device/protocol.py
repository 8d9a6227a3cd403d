"""Protocols of a device that keeps every tensor between decode and answer: memory, streams, events, engines.

A tensor is opaque: CUDA and the host have addresses, plugin providers have values of ONNX Runtime that are whole, each
of one shape. So nothing here asks for part of a tensor in place: `rows` and `join` are what every device can do.
`host.py` offers the same on the CPU, so that the order of uploads, engine calls, queues and downloads is tested without
a GPU, with real engines.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from sacvit_deploy.arrays import Array

Stream = Any  # a queue of work; what is put into one runs in order
Event = Any  # a point in a stream
Shape = tuple[int, ...]


class DeviceTensor(NamedTuple):  # of which several are made for every image, in half of a frozen dataclass's time
    """A tensor on a device. Its handle, an address or a value, means something to its memory and engines."""

    handle: Any
    shape: Shape
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return size_of(self.shape, self.dtype)


class Rows(NamedTuple):
    """Rows start..stop-1, along the first axis, of several tensors that have them in common."""

    tensors: Mapping[str, DeviceTensor]
    start: int
    stop: int


@dataclass(frozen=True)
class TensorSpec:
    """Element type and shape of an engine's input or output, with -1 for an open dimension."""

    dtype: np.dtype[Any]
    shape: Shape


class Memory(Protocol):
    """Memory and streams of one device. Work is put into a stream and done later, in order."""

    @property
    def dlpack_device(self) -> tuple[int, int] | None:
        """The device in DLPack's terms, kind and number; None where other libraries' tensors can't be taken."""

    def activate(self) -> None:
        """Make this device the one that the calling thread's work goes to."""

    def allocate(self, shape: Shape, dtype: np.dtype[Any], room: int = 0) -> DeviceTensor:
        """Allocate a tensor until `free`, aligned to 256 bytes. Raises BackendError when memory runs out.

        room: rows to make room for, where the memory can be used for other shapes later (`reshaped`).
        """

    def reshaped(self, tensor: DeviceTensor, shape: Shape, dtype: np.dtype[Any], room: int = 0) -> DeviceTensor | None:
        """Return the beginning of a tensor's memory as another tensor; None where there is no room, or can't be."""

    def free(self, tensor: DeviceTensor) -> None:
        """Free a tensor that `allocate` returned, after all work that was queued."""

    def pinned(self, shape: Shape, dtype: np.dtype[Any]) -> Array:
        """Allocate page-locked host memory, which the device reads and writes while the CPU does other things."""

    def stream(self) -> Stream:
        """Create a stream, until `close_stream`."""

    def close_stream(self, stream: Stream) -> None:
        """Destroy a stream whose work is done."""

    def upload(self, target: DeviceTensor, source: Array, stream: Stream) -> None:
        """Copy a contiguous host array to the device: ordinary memory at once, pinned memory later."""

    def download(self, target: Array, source: DeviceTensor, stream: Stream) -> None:
        """Copy to a contiguous pinned array; the values are there once an event recorded after this has passed."""

    def rows(self, rows: Rows, size: int, stream: Stream) -> dict[str, DeviceTensor]:
        """Return rows as tensors of `size` rows, the further ones of any valid content: in place, or as copies."""

    def join(self, targets: Mapping[str, DeviceTensor], parts: Sequence[Rows], stream: Stream) -> None:
        """Fill the targets with rows one after another; where a part already is in its place, nothing is copied."""

    def record_event(self, stream: Stream) -> Event:
        """Record an event, with its time, at the stream's present end."""

    def wait_event(self, stream: Stream, event: Event) -> None:
        """Make a stream wait for an event of another stream; the calling thread does not wait."""

    def synchronize(self, event: Event) -> None:
        """Block the calling thread until an event has passed. Raises BackendError if the work before it failed."""

    def elapsed(self, start: Event, end: Event) -> float:
        """Return the seconds between two events that have passed."""


class DeviceEngine(Protocol):
    """An engine whose inputs and outputs stay on the device. Serves one stream at a time."""

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """Inputs by name."""

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """Outputs by name."""

    def rows(self, size: int) -> int:
        """Return how many rows a call on `size` images has: more than `size` where calls have certain sizes only."""

    def enqueue(self, tensors: Mapping[str, DeviceTensor], stream: Stream) -> None:
        """Queue one call; `tensors` has all inputs and outputs. Raises BackendError, also for shapes out of range."""


class Device(Protocol):
    """A runtime on a device, with the engines of one variant."""

    @property
    def memory(self) -> Memory:
        """The device's memory."""

    @property
    def max_batch(self) -> int | None:
        """Largest batch of an engine call; None where there is no limit."""

    @property
    def engine_sets(self) -> int:
        """Number of pairs of streams, each with engines of its own; more threads at once than that share them."""

    def engine(self, role: str, stream: Stream) -> DeviceEngine:
        """Open the engine of a role (`view`, `ee`, `gather`, `sac`) for one stream. Raises BackendError."""


def size_of(shape: Shape, dtype: np.dtype[Any]) -> int:
    """Return the bytes of a tensor."""
    return math.prod(shape) * dtype.itemsize


def with_room(shape: Shape, room: int) -> Shape:
    """Return the shape with at least `room` rows."""
    return (max(room, shape[0]), *shape[1:]) if room else shape


def batch_shape(spec: TensorSpec, batch: int) -> Shape:
    """Return the shape of a tensor whose only open dimension is the batch's."""
    return (batch, *spec.shape[1:])
