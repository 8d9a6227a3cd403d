"""Both stages on a device: images and the indices of those that continue go up, logits and targets come down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sacvit_deploy.arrays import Array, Index
from sacvit_deploy.contract import Sizes, engine_contract
from sacvit_deploy.device.protocol import DeviceTensor, Event, batch_shape
from sacvit_deploy.images.scaled import InputImage, full_image
from sacvit_deploy.stages.context import BYTE, SLOTS, ExecutionContext
from sacvit_deploy.stages.protocol import InFlight

INT64, FLOAT = np.dtype(np.int64), np.dtype(np.float32)


@dataclass(frozen=True)
class StageOneBatch:
    """A batch in stage 1: its tensors, where its logits [B,C] will be, its slot, and the events around its steps."""

    tensors: dict[str, DeviceTensor]
    logits: Array
    slot: int
    events: tuple[Event, Event, Event, Event]  # before the upload, before EE, after EE, after the download


@dataclass(frozen=True)
class StageTwoBatch:
    """A batch in stage 2: where its logits [B,C] and targets [B,M] will be, and the events around its steps."""

    logits: Array
    targets: Index
    events: tuple[Event, Event, Event]  # before SAC, after it, after the download
    gathers: tuple[tuple[Event, Event], ...]


class DeviceStages:
    """The stages of one thread on its context, behind the protocol `Stages`.

    count: M. batch: the largest batch of a call, in either stage.
    """

    depth = SLOTS

    def __init__(self, context: ExecutionContext, count: int, batch: int) -> None:
        self._context, self._memory, self._config = context, context.memory, context.config
        self._count, self._batch, self._room = count, batch, 2 * batch
        self._enqueued1 = self._enqueued2 = self._waiting = 0
        self._gathers: list[tuple[Event, Event]] = []  # around what was queued since stage 2 was last enqueued
        self._slot_read: list[Event | None] = [None] * SLOTS  # when the last gather has read a slot

    def enqueue_stage1(self, images: Sequence[InputImage]) -> InFlight:
        """Upload a batch; queue the view and the EE engine."""
        context, memory, slot = self._context, self._memory, self._enqueued1 % SLOTS
        self._enqueued1 += 1
        size = len(images)
        side = self._config.geometry.image_size
        host = context.pinned(f"pictures {slot}", (self._batch, side, side, 3), BYTE)[:size]
        np.stack([full_image(image) for image in images], out=host)
        stream = context.streams[0]
        if (read := self._slot_read[slot]) is not None:
            memory.wait_event(stream, read)
        ee, view = context.engine("ee"), context.engine("view")
        specs = {**ee.outputs, "image": view.outputs["image"]}
        tensors = {
            name: context.buffer(f"{name} {slot}", batch_shape(spec, self._batch), spec.dtype).rows(0, size)
            for name, spec in specs.items()
        }
        tensors["pictures"] = context.buffer(f"pictures {slot}", (self._batch, side, side, 3), BYTE).rows(0, size)
        logits = context.pinned(f"logits {slot}", batch_shape(specs["logits"], self._batch), FLOAT)[:size]
        start = memory.record_event(stream)
        memory.upload(tensors["pictures"], host, stream)
        viewed = context.run("view", tensors)
        classified = context.run("ee", tensors)
        memory.download(logits, tensors["logits"], stream)
        events = (start, viewed, classified, memory.record_event(stream))
        return InFlight(size, private=StageOneBatch(tensors, logits, slot, events))

    def wait_stage1(self, in_flight: InFlight) -> Array:
        """Wait for the logits; they stay until the slot's next batch."""
        batch: StageOneBatch = in_flight.private
        start, viewed, classified, end = batch.events
        self._memory.synchronize(end)
        in_flight.book("view", self._memory.elapsed(start, viewed))  # with the upload
        in_flight.book("ee", self._memory.elapsed(viewed, classified))
        in_flight.book("gate", self._memory.elapsed(classified, end))
        return batch.logits

    def queue_stage2(self, in_flight: InFlight, rows: Index) -> InFlight:
        """Queue the gather and append its outputs to those that wait; `wait_stage2` books its time."""
        context, memory = self._context, self._memory
        batch: StageOneBatch = in_flight.private
        stream, size = context.streams[1], len(rows)
        start = memory.record_event(stream)  # `wait_stage1` has waited for stage 1
        tokens = self._config.geometry.tokens
        indices = {"rows": rows, "slots": np.arange(self._count), "rest": np.arange(tokens - self._count)}
        tensors = dict(batch.tensors)
        for name, values in indices.items():
            # A buffer of its own for each slot: from ordinary memory it is read before `upload` returns.
            buffer = context.buffer(f"{name} {batch.slot}", (max(self._batch, tokens),), INT64)
            tensors[name] = buffer.rows(0, len(values))
            memory.upload(tensors[name], np.ascontiguousarray(values, INT64), stream)
        gathered = self._request_buffers("gathered", self._batch, size)
        self._slot_read[batch.slot] = context.run("gather", tensors | gathered)
        queue = self._request_buffers("queue", self._room, self._room)
        for name, tensor in gathered.items():
            memory.copy(queue[name].rows(self._waiting, self._waiting + size), tensor, stream)
        self._waiting += size
        self._gathers.append((start, memory.record_event(stream)))
        return InFlight(size)

    def enqueue_stage2(self, size: int) -> InFlight:
        """Queue the SAC engine; what waits behind its batch moves to the front."""
        context, memory, stream = self._context, self._memory, self._context.streams[1]
        slot = self._enqueued2 % SLOTS
        self._enqueued2 += 1
        queue = self._request_buffers("queue", self._room, self._room)
        tensors = {name: tensor.rows(0, size) for name, tensor in queue.items()}
        spec = context.engine("sac").outputs["logits"]
        shape = batch_shape(spec, self._room)
        tensors["logits"] = context.buffer("answers", shape, spec.dtype).rows(0, size)
        logits = context.pinned(f"answers {slot}", shape, FLOAT)[:size]
        targets = context.pinned(f"targets {slot}", (self._room, self._count), INT64)[:size]
        before = memory.record_event(stream)
        after = context.run("sac", tensors)
        memory.download(logits, tensors["logits"], stream)
        memory.download(targets, tensors["targets"], stream)
        end = memory.record_event(stream)
        for tensor in queue.values():
            # Fewer than a batch are left, so source and target do not overlap.
            memory.copy(tensor, tensor.rows(size, self._waiting), stream)
        self._waiting -= size
        gathers, self._gathers = tuple(self._gathers), []
        return InFlight(size, private=StageTwoBatch(logits, targets, (before, after, end), gathers))

    def wait_stage2(self, in_flight: InFlight) -> tuple[Array, Index]:
        """Wait for logits and targets."""
        batch: StageTwoBatch = in_flight.private
        before, after, end = batch.events
        self._memory.synchronize(end)
        in_flight.book("gather", sum(self._memory.elapsed(*events) for events in batch.gathers))
        in_flight.book("sac", self._memory.elapsed(before, after))
        in_flight.book("answer", self._memory.elapsed(after, end))
        return batch.logits, batch.targets.copy()

    def _request_buffers(self, name: str, capacity: int, size: int) -> dict[str, DeviceTensor]:
        """Return buffers for the outputs of `gather` on `size` images, in memory for `capacity`."""
        specs = self._context.engine("gather").outputs
        sizes = Sizes(capacity, self._count, self._config.geometry.tokens - self._count, continuing=capacity)
        return {
            key: self._context.buffer(f"{name} {key}", tensor.at(sizes), specs[key].dtype).rows(0, size)
            for key, tensor in engine_contract("gather", self._config).outputs.items()
        }
