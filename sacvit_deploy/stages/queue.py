"""Stage-2 requests that wait on a device, as tensors with a row for each."""

from __future__ import annotations

from collections.abc import Mapping

from sacvit_deploy.contract import Sizes, engine_contract
from sacvit_deploy.device.protocol import DeviceTensor, Rows, Stream
from sacvit_deploy.stages.context import ExecutionContext


class RequestQueue:
    """The outputs of `gather`, batch after batch, in order. count: M. room: requests that may wait at once.

    All its work goes into the stream it is given, where the engines before and after it run, too.
    """

    def __init__(self, context: ExecutionContext, count: int, room: int) -> None:
        self._context, self._memory, self._room = context, context.memory, room
        self._outputs = engine_contract("gather", context.config).outputs
        self._rest = context.config.geometry.tokens - count
        self._count = count
        self.waiting = 0
        self._tensors: Mapping[str, DeviceTensor] = {}

    def gathered(self, size: int) -> dict[str, DeviceTensor]:
        """Return tensors for the outputs of `gather` on `size` images, until the next batch."""
        return self._buffers("gathered", size)

    def append(self, gathered: Mapping[str, DeviceTensor], size: int, stream: Stream) -> None:
        """Append `size` requests."""
        before, self.waiting = self.waiting, self.waiting + size
        joined = self._buffers("queue", self.waiting)
        parts = [Rows(self._tensors, 0, before)] if before else []
        self._memory.join(joined, [*parts, Rows(gathered, 0, size)], stream)
        self._tensors = joined

    def first(self, size: int, rows: int, stream: Stream) -> dict[str, DeviceTensor]:
        """Return the `size` requests that have waited longest, as tensors of `rows` rows; they wait until `drop`."""
        return self._memory.rows(Rows(self._tensors, 0, size), rows, stream)

    def drop(self, size: int, stream: Stream) -> None:
        """Let the first `size` requests go; what waits behind them moves to the front."""
        end, self.waiting = self.waiting, self.waiting - size
        if self.waiting:
            # Fewer than a batch are left, so that source and target do not overlap.
            left = self._buffers("queue", self.waiting)
            self._memory.join(left, [Rows(self._tensors, size, end)], stream)
            self._tensors = left

    def _buffers(self, name: str, size: int) -> dict[str, DeviceTensor]:
        def make() -> dict[str, DeviceTensor]:
            specs = self._context.engine("gather").outputs
            sizes = Sizes(size, self._count, self._rest, continuing=size)
            return {
                key: self._context.buffer(f"{name} {key}", tensor.at(sizes), specs[key].dtype, self._room)
                for key, tensor in self._outputs.items()
            }

        return self._context.kept((name, size, self._count, self._room), make)
