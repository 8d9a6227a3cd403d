"""The cascade with everything between decode and answer on one device: what memory, streams and engines must offer.

Written against CUDA's model; `host.py` offers the same on the processor, so that the order of uploads, engine calls,
queues and downloads is tested without a GPU, with real engines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sacvit_deploy.arrays import Array

Stream = Any  # a queue of work; what is put into one runs in order
Event = Any  # a mark in a stream
Shape = tuple[int, ...]


@dataclass(frozen=True)
class DeviceTensor:
    """A tensor in device memory: address, shape, element type."""

    address: int
    shape: Shape
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Bytes it takes."""
        return size_of(self.shape, self.dtype)

    def rows(self, start: int, stop: int) -> DeviceTensor:
        """Part of it, along the first axis."""
        row = size_of(self.shape[1:], self.dtype)
        return DeviceTensor(self.address + start * row, (stop - start, *self.shape[1:]), self.dtype)


@dataclass(frozen=True)
class TensorSpec:
    """What an engine takes or gives under a name: element type, and shape with -1 where it is open."""

    dtype: np.dtype[Any]
    shape: Shape


class Memory(Protocol):
    """One device's memory and streams. Work goes into a stream and is done later, in order; an event waits for it."""

    def allocate(self, nbytes: int) -> int:
        """Device memory, 256-byte aligned; freed by `free`. Raises BackendError when there is no more."""
        ...

    def free(self, address: int) -> None:
        """Give device memory back, after all work that was queued."""
        ...

    def pinned(self, shape: Shape, dtype: np.dtype[Any]) -> Array:
        """Host memory that the device reads and writes at full speed, while the processor does other things."""
        ...

    def stream(self) -> Stream:
        """A new stream."""
        ...

    def upload(self, target: int, source: Array, stream: Stream) -> None:
        """Copy a contiguous host array to the device."""
        ...

    def download(self, target: Array, source: int, stream: Stream) -> None:
        """Copy from the device into a contiguous host array; it is there once an event after this has passed."""
        ...

    def copy(self, target: int, source: int, nbytes: int, stream: Stream) -> None:
        """Copy within the device."""
        ...

    def record_event(self, stream: Stream) -> Event:
        """An event at the stream's present end."""
        ...

    def wait_event(self, stream: Stream, event: Event) -> None:
        """Let a stream wait for an event of another; this process does not wait."""
        ...

    def synchronize(self, event: Event) -> None:
        """Let this thread wait. Raises BackendError if the work before it failed."""
        ...

    def elapsed(self, start: Event, end: Event) -> float:
        """Time between two events that have passed."""
        ...


class DeviceEngine(Protocol):
    """One engine whose inputs and outputs stay on the device. Serves one stream at a time."""

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """What it takes."""
        ...

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """What it gives."""
        ...

    def enqueue(self, tensors: Mapping[str, DeviceTensor], stream: Stream) -> None:
        """Queue one call; `tensors` names all inputs and outputs. Raises BackendError, also for shapes out of range."""
        ...


class Device(Protocol):
    """A runtime on a device, with one variant's engines."""

    @property
    def memory(self) -> Memory:
        """Its memory."""
        ...

    @property
    def most(self) -> int | None:
        """Most pictures an engine call may have; None is no limit."""
        ...

    @property
    def contexts(self) -> int:
        """How many threads may use it at once; more of them wait."""
        ...

    def engine(self, role: str, stream: Stream) -> DeviceEngine:
        """The engine of a role (`view`, `ee`, `gather`, `sac`), for one stream to use. Raises BackendError."""
        ...


def size_of(shape: Shape, dtype: np.dtype[Any]) -> int:
    """Bytes of an array."""
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize


def closed(kind: TensorSpec, batch: int) -> Shape:
    """The shape of a tensor whose only open size is the batch's."""
    return (batch, *kind.shape[1:])
