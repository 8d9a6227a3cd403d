"""Memory whose tensors are addresses: parts of them are tensors, too."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sacvit_deploy.device.protocol import DeviceTensor, Rows, Shape, Stream, size_of, with_room


class LinearMemory(ABC):
    """What CUDA's memory and the host's have in common of the protocol `Memory`."""

    @abstractmethod
    def copy(self, target: DeviceTensor, source: DeviceTensor, stream: Stream) -> None:
        """Copy the source's bytes within the device; the two must not overlap."""

    def reshaped(self, tensor: DeviceTensor, shape: Shape, dtype: np.dtype[Any], room: int = 0) -> DeviceTensor | None:
        fits = size_of(with_room(shape, room), dtype) <= tensor.nbytes
        return DeviceTensor(tensor.handle, shape, dtype) if fits else None

    def rows(self, rows: Rows, size: int, stream: Stream) -> dict[str, DeviceTensor]:
        if size != rows.stop - rows.start:
            raise NotImplementedError("no engine over addresses has calls of certain sizes")
        return {name: take_rows(tensor, rows.start, rows.stop) for name, tensor in rows.tensors.items()}

    def join(self, targets: Mapping[str, DeviceTensor], parts: Sequence[Rows], stream: Stream) -> None:
        for name, target in targets.items():
            end = 0
            for part in parts:
                begin, end = end, end + part.stop - part.start
                place, source = take_rows(target, begin, end), take_rows(part.tensors[name], part.start, part.stop)
                if place.handle != source.handle:
                    self.copy(place, source, stream)


def take_rows(tensor: DeviceTensor, start: int, stop: int) -> DeviceTensor:
    """Return rows start..stop-1 along the first axis, in place."""
    if start == 0 and stop == tensor.shape[0]:
        return tensor
    row = size_of(tensor.shape[1:], tensor.dtype)
    return DeviceTensor(tensor.handle + start * row, (stop - start, *tensor.shape[1:]), tensor.dtype)
