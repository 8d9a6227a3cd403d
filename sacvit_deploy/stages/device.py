"""Both stages on a device: images and the indices of those that continue go up, logits and targets come down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sacvit_deploy.arrays import Array, Index
from sacvit_deploy.device.protocol import DeviceTensor, Event, batch_shape
from sacvit_deploy.images.scaled import InputImage, full_image
from sacvit_deploy.stages.context import BYTE, SLOTS, ExecutionContext
from sacvit_deploy.stages.protocol import InFlight
from sacvit_deploy.stages.queue import RequestQueue

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
        self._count, self._batch = count, batch
        self._queue = RequestQueue(context, count, 2 * batch)
        self._enqueued1 = self._enqueued2 = 0
        self._gathers: list[tuple[Event, Event]] = []  # around what was queued since stage 2 was last enqueued
        self._slot_read: list[Event | None] = [None] * SLOTS  # when the last gather has read a slot

    def enqueue_stage1(self, images: Sequence[InputImage]) -> InFlight:
        """Upload a batch; queue the view and the EE engine."""
        with self._context.engine_set:
            return self._enqueue_stage1(images)

    def _enqueue_stage1(self, images: Sequence[InputImage]) -> InFlight:
        context, memory, slot = self._context, self._memory, self._enqueued1 % SLOTS
        self._enqueued1 += 1
        ee, view = context.engine("ee"), context.engine("view")
        size, side = len(images), self._config.geometry.image_size
        rows = ee.rows(size)
        host = context.pinned(f"pictures {slot}", (max(self._batch, rows), side, side, 3), BYTE)[:rows]
        for row, image in enumerate(images):
            host[row] = full_image(image)
        host[size:] = 0
        stream = context.streams[0]
        if (read := self._slot_read[slot]) is not None:
            memory.wait_event(stream, read)

        def make() -> dict[str, DeviceTensor]:
            specs = {**ee.outputs, "image": view.outputs["image"], "pictures": view.inputs["pictures"]}
            return {
                name: context.buffer(f"{name} {slot}", batch_shape(spec, rows), spec.dtype, self._batch)
                for name, spec in specs.items()
            }

        tensors = context.kept(("stage 1", slot, rows, self._batch), make)
        room = batch_shape(ee.outputs["logits"], max(self._batch, rows))
        logits = context.pinned(f"logits {slot}", room, FLOAT)[:rows]
        start = memory.record_event(stream)
        memory.upload(tensors["pictures"], host, stream)
        viewed = context.run("view", tensors)
        classified = context.run("ee", tensors)
        memory.download(logits, tensors["logits"], stream)
        events = (start, viewed, classified, memory.record_event(stream))
        return InFlight(size, private=StageOneBatch(tensors, logits[:size], slot, events))

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
        with self._context.engine_set:
            context, memory = self._context, self._memory
            batch: StageOneBatch = in_flight.private
            stream, size = context.streams[1], len(rows)
            start = memory.record_event(stream)  # `wait_stage1` has waited for stage 1
            tokens = self._config.geometry.tokens
            indices = {"rows": rows, "slots": np.arange(self._count), "rest": np.arange(tokens - self._count)}
            tensors = dict(batch.tensors)
            for name, values in indices.items():
                # A buffer of its own for each slot: from ordinary memory it is read before `upload` returns.
                room = max(self._batch, tokens)
                tensors[name] = context.buffer(f"{name} {batch.slot}", (len(values),), INT64, room)
                memory.upload(tensors[name], np.ascontiguousarray(values, INT64), stream)
            gathered = self._queue.gathered(size)
            self._slot_read[batch.slot] = context.run("gather", tensors | gathered)
            self._queue.append(gathered, size, stream)
            self._gathers.append((start, memory.record_event(stream)))
            return InFlight(size)

    def enqueue_stage2(self, size: int) -> InFlight:
        """Queue the SAC engine; what waits behind its batch moves to the front."""
        with self._context.engine_set:
            context, memory, stream = self._context, self._memory, self._context.streams[1]
            slot = self._enqueued2 % SLOTS
            self._enqueued2 += 1
            sac = context.engine("sac")
            rows, spec, room = sac.rows(size), sac.outputs["logits"], 2 * self._batch
            tensors = self._queue.first(size, rows, stream)
            tensors["logits"] = context.buffer(f"answers {slot}", batch_shape(spec, rows), spec.dtype, room)
            logits = context.pinned(f"answers {slot}", batch_shape(spec, max(room, rows)), FLOAT)[:rows]
            targets = context.pinned(f"targets {slot}", (max(room, rows), self._count), INT64)[:rows]
            before = memory.record_event(stream)
            after = context.run("sac", tensors)
            memory.download(logits, tensors["logits"], stream)
            memory.download(targets, tensors["targets"], stream)
            end = memory.record_event(stream)
            self._queue.drop(size, stream)
            gathers, self._gathers = tuple(self._gathers), []
            events = (before, after, end)
            return InFlight(size, private=StageTwoBatch(logits[:size], targets[:size], events, gathers))

    def wait_stage2(self, in_flight: InFlight) -> tuple[Array, Index]:
        """Wait for logits and targets."""
        batch: StageTwoBatch = in_flight.private
        before, after, end = batch.events
        self._memory.synchronize(end)
        in_flight.book("gather", sum(self._memory.elapsed(*events) for events in batch.gathers))
        in_flight.book("sac", self._memory.elapsed(before, after))
        in_flight.book("answer", self._memory.elapsed(after, end))
        return batch.logits, batch.targets.copy()
