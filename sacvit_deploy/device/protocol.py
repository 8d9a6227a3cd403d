"""Protocols of a device that keeps every tensor between decode and answer: memory, streams, events, engines.

Written after CUDA's model. `host.py` offers the same on the CPU, so that the order of uploads, engine calls, queues and
downloads is tested without a GPU, with real engines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sacvit_deploy.arrays import Array

Stream = Any  # a queue of work; what is put into one runs in order
Event = Any  # a point in a stream
Shape = tuple[int, ...]


@dataclass(frozen=True)
class DeviceTensor:
    """A tensor in device memory. Its address means something to `Memory` and to engines, to nothing else."""

    address: int
    shape: Shape
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return size_of(self.shape, self.dtype)

    def rows(self, start: int, stop: int) -> DeviceTensor:
        """Return rows start..stop-1 along the first axis, in place."""
        row = size_of(self.shape[1:], self.dtype)
        return DeviceTensor(self.address + start * row, (stop - start, *self.shape[1:]), self.dtype)

    def view(self, shape: Shape, dtype: np.dtype[Any]) -> DeviceTensor:
        """Return the beginning of the same memory as a tensor of another shape and type."""
        return DeviceTensor(self.address, shape, dtype)


@dataclass(frozen=True)
class TensorSpec:
    """Element type and shape of an engine's input or output, with -1 for an open dimension."""

    dtype: np.dtype[Any]
    shape: Shape


class Memory(Protocol):
    """Memory and streams of one device. Work is put into a stream and done later, in order."""

    def allocate(self, shape: Shape, dtype: np.dtype[Any]) -> DeviceTensor:
        """Allocate a tensor, aligned to 256 bytes, until `free`. Raises BackendError when memory runs out."""

    def free(self, tensor: DeviceTensor) -> None:
        """Free a tensor that `allocate` returned, after all work that was queued."""

    def pinned(self, shape: Shape, dtype: np.dtype[Any]) -> Array:
        """Allocate page-locked host memory, which the device reads and writes while the CPU does other things."""

    def stream(self) -> Stream:
        """Create a stream."""

    def upload(self, target: DeviceTensor, source: Array, stream: Stream) -> None:
        """Copy a contiguous host array to the device: ordinary memory at once, pinned memory later."""

    def download(self, target: Array, source: DeviceTensor, stream: Stream) -> None:
        """Copy to a contiguous pinned array; the values are there once an event recorded after this has passed."""

    def copy(self, target: DeviceTensor, source: DeviceTensor, stream: Stream) -> None:
        """Copy the source's bytes within the device; the two must not overlap."""

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
    def contexts(self) -> int:
        """Number of threads that may use it at once; further threads wait."""

    def engine(self, role: str, stream: Stream) -> DeviceEngine:
        """Open the engine of a role (`view`, `ee`, `gather`, `sac`) for one stream. Raises BackendError."""


def size_of(shape: Shape, dtype: np.dtype[Any]) -> int:
    """Return the bytes of a tensor."""
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize


def batch_shape(spec: TensorSpec, batch: int) -> Shape:
    """Return the shape of a tensor whose only open dimension is the batch's."""
    return (batch, *spec.shape[1:])
