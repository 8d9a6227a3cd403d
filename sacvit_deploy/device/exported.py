"""A tensor of ours on a device, handed to other libraries in place by DLPack."""

from __future__ import annotations

import contextlib
import ctypes
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from sacvit_deploy.device.dlpack import Place, tensor_in
from sacvit_deploy.device.protocol import DeviceTensor, Memory, Rows, Shape, Stream, size_of


class ExportedTensor:
    """A tensor on the model's device that any library with DLPack takes in place: `torch.from_dlpack(tensor)`.

    Its memory is its own: no later call of the model writes into it, and it is freed once this object and every tensor
    that was made of it are gone, whether or not the model is closed. Safe to use from several threads. shape, dtype.
    """

    def __init__(
        self,
        name: str,
        parts: Sequence[Rows],
        shape: Shape,
        dtype: np.dtype[Any],
        memory: Memory,
        stream: Stream,
    ) -> None:
        """Copy the rows of `parts`, of their tensors the one called `name`, into memory of `shape` in `stream`.

        memory: of a device with addresses, which is the calling thread's. Raises BackendError.
        """
        self.shape, self.dtype, self._memory = shape, dtype, memory
        tensor = memory.allocate(shape, dtype)
        block = (ctypes.c_uint8 * max(1, tensor.nbytes)).from_address(tensor.handle)
        weakref.finalize(block, _free, memory, tensor).atexit = False  # the libraries may have gone by then
        # An array that nobody reads, as it may lie on a GPU: numpy writes its capsules. Their C code counts references
        # in any thread, and gives memory up to the process's end where that has begun.
        array: Any = np.frombuffer(block, dtype, count=size_of(shape, dtype) // dtype.itemsize)  # type: ignore[call-overload]
        self._array = array.reshape(shape)
        memory.join({name: tensor}, parts, stream)
        self._ready = memory.record_event(stream)

    def __dlpack_device__(self) -> tuple[int, int]:
        """Return the kind and number of the device, as DLPack counts them."""
        assert self._memory.dlpack_device is not None
        return self._memory.dlpack_device

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """Return a capsule of the memory, unversioned, which every version of the libraries takes.

        stream: the consumer's, which is made to wait for the values; None lets the calling thread wait, -1 nobody.
        Raises BufferError where a copy, or another device, is asked for.
        """
        device = self.__dlpack_device__()
        if copy or (dl_device is not None and (int(dl_device[0]), int(dl_device[1])) != device):
            raise BufferError(
                f"the tensor is handed over where it is, on device {device}; copy it in the library that takes it"
            )
        if stream is None:
            self._memory.synchronize(self._ready)
        elif stream != -1:
            self._memory.wait_event(stream, self._ready)
        capsule = self._array.__dlpack__()
        tensor_in(capsule).place = Place(*device)  # numpy took it for the processor's
        return capsule

    def __repr__(self) -> str:
        return f"ExportedTensor(shape={self.shape}, dtype={self.dtype}, device={self.__dlpack_device__()})"


def _free(memory: Memory, tensor: DeviceTensor) -> None:
    """Free memory in whichever thread let go of it last, whom an error of the device would not concern."""
    with contextlib.suppress(Exception):
        memory.free(tensor)
