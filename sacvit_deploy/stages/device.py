"""Both stages on a device: images and the indices of those that continue go up, logits and targets come down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sacvit_deploy.arrays import Array, Index, Pixels
from sacvit_deploy.confidence import StageAnswers
from sacvit_deploy.device.dlpack import BorrowedImages
from sacvit_deploy.device.exported import ExportedTensor
from sacvit_deploy.device.protocol import DeviceEngine, DeviceTensor, Event, Rows, batch_shape
from sacvit_deploy.errors import UsageError
from sacvit_deploy.images.scaled import BorrowedImage, InputImage, full_image
from sacvit_deploy.ranges import in_range
from sacvit_deploy.stages.context import BYTE, SLOTS, ExecutionContext
from sacvit_deploy.stages.engine_set import UPLOADS
from sacvit_deploy.stages.image_blocks import ImageBlocks
from sacvit_deploy.stages.interchange import borrow_batch, merge_rows
from sacvit_deploy.stages.protocol import InFlight
from sacvit_deploy.stages.queue import RequestQueue

INT64 = np.dtype(np.int64)
ANSWERS = ("logits", "confidence")  # what comes down of a stage, the second where its engine has it


@dataclass(frozen=True)
class StageOneSlot:
    """Where a batch of stage 1 lies: its tensors, and on the host what comes down by name."""

    tensors: dict[str, DeviceTensor]
    answers: dict[str, Array]


@dataclass(frozen=True)
class StageTwoSlot:
    """Where the answers of a batch of stage 2 lie on the device, and on the host by name, targets among them."""

    tensors: dict[str, DeviceTensor]
    answers: dict[str, Array]


class StageOneBatch(NamedTuple):
    """A batch in stage 1: its tensors, what comes down, its slot, and the events around its steps."""

    tensors: dict[str, DeviceTensor]
    answers: dict[str, Array]
    slot: int
    # Around the upload; before the view, before EE, after EE, after the download.
    events: tuple[Event, Event, Event, Event, Event, Event]


class StageTwoBatch(NamedTuple):
    """A batch in stage 2: its tensors, what comes down, targets [rows,M] among it, and the events around its steps."""

    tensors: dict[str, DeviceTensor]
    answers: dict[str, Array]
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
        self._blocks = ImageBlocks(context)
        self._enqueued1 = self._enqueued2 = 0
        self._gathers: list[tuple[Event, Event]] = []  # around what was queued since stage 2 was last enqueued
        self._slot_read: list[Event | None] = [None] * SLOTS  # when the last gather has read a slot

    @in_range("stage 1")
    def enqueue_stage1(self, images: Sequence[InputImage]) -> InFlight:
        """Upload a batch; queue the view and the EE engine."""
        with self._context.engine_set:
            context, memory, slot = self._context, self._memory, self._enqueued1 % SLOTS
            self._enqueued1 += 1
            size = len(images)
            rows = context.engine("ee").rows(size)
            place = context.kept(("stage 1", slot, rows, self._batch), lambda: self._stage1_slot(slot, rows))
            source = self._source(images, slot, rows)
            uploads, stream = context.streams[UPLOADS], context.streams[0]
            if (read := self._slot_read[slot]) is not None:
                memory.wait_event(uploads, read)
            start = memory.record_event(uploads)
            if isinstance(source, Rows):
                memory.join({"pictures": place.tensors["pictures"]}, [source], uploads)
            else:
                memory.upload(place.tensors["pictures"], source, uploads)
            uploaded = memory.record_event(uploads)
            memory.wait_event(stream, uploaded)
            ready = memory.record_event(stream)
            viewed = context.run("view", place.tensors)
            classified = context.run("ee", place.tensors)
            for name, array in place.answers.items():
                memory.download(array, place.tensors[name], stream)
            events = (start, uploaded, ready, viewed, classified, memory.record_event(stream))
            return InFlight(size, private=StageOneBatch(place.tensors, place.answers, slot, events))

    def _source(self, images: Sequence[InputImage], slot: int, rows: int) -> Pixels | Rows:
        """Return images as one array [rows,S,S,3] to upload, or as rows of another library's tensor on the device."""
        first = images[0]
        if isinstance(first, BorrowedImage):
            return Rows({"pictures": first.images.tensor}, first.row, first.row + len(images))
        pictures = self._blocks.find(images, rows)
        return self._stacked(images, slot, rows) if pictures is None else pictures

    def borrow(self, source: Any) -> BorrowedImages | UsageError:
        """Take a tensor of another library that is on this device; or return the error to raise, see `borrow_batch`."""
        return borrow_batch(self._context, source)

    def places(self, ahead: int) -> Iterator[Pixels]:
        """Yield page-locked rows for images in their order: whole batches of them go up without another copy."""
        return self._blocks.places(self._batch, ahead + SLOTS)

    def _stacked(self, images: Sequence[InputImage], slot: int, rows: int) -> Pixels:
        """Copy images that lie anywhere into a slot's own page-locked memory, with zeros behind them."""
        side, room = self._config.geometry.image_size, max(self._batch, rows)

        def make() -> Pixels:
            return self._context.pinned(f"pictures {slot}", (room, side, side, 3), BYTE)[:rows]

        pictures = self._context.kept(("pictures", slot, rows, self._batch), make)
        for row, image in enumerate(images):
            pictures[row] = full_image(image)
        if len(images) < rows:
            pictures[len(images) :] = 0
        return pictures

    def _stage1_slot(self, slot: int, rows: int) -> StageOneSlot:
        context, room = self._context, max(self._batch, rows)
        ee, view = context.engine("ee"), context.engine("view")
        specs = {**ee.outputs, "image": view.outputs["image"], "pictures": view.inputs["pictures"]}
        return StageOneSlot(
            {
                name: context.buffer(f"{name} {slot}", batch_shape(spec, rows), spec.dtype, self._batch)
                for name, spec in specs.items()
            },
            self._host_answers(f"1 {slot}", ee, room, rows),
        )

    def _host_answers(self, name: str, engine: DeviceEngine, room: int, rows: int) -> dict[str, Array]:
        """Return page-locked arrays of `rows` rows for what comes down of an engine, kept with room for more."""
        return {
            key: self._context.pinned(
                f"{key} {name}", batch_shape(engine.outputs[key], room), engine.outputs[key].dtype
            )[:rows]
            for key in ANSWERS
            if key in engine.outputs
        }

    @in_range("stage 1, wait")
    def wait_stage1(self, in_flight: InFlight) -> StageAnswers:
        """Wait for the answers; they stay until the slot's next batch."""
        batch: StageOneBatch = in_flight.private
        start, uploaded, ready, viewed, classified, end = batch.events
        self._memory.synchronize(end)
        in_flight.book("view", self._memory.elapsed(start, uploaded) + self._memory.elapsed(ready, viewed))
        in_flight.book("ee", self._memory.elapsed(viewed, classified))
        in_flight.book("gate", self._memory.elapsed(classified, end))
        return answers_of(batch.answers, in_flight.size)

    @in_range("gather")
    def queue_stage2(self, in_flight: InFlight, rows: Index) -> InFlight:
        """Queue the gather and append its outputs to those that wait; `wait_stage2` books its time."""
        with self._context.engine_set:
            context, memory = self._context, self._memory
            batch: StageOneBatch = in_flight.private
            stream, size = context.streams[1], len(rows)
            start = memory.record_event(stream)  # `wait_stage1` has waited for stage 1
            rows = np.ascontiguousarray(rows, INT64)
            # A buffer of its own for each slot: from ordinary memory it is read before `upload` returns.
            continuing = context.buffer(f"rows {batch.slot}", rows.shape, INT64, self._batch)
            memory.upload(continuing, rows, stream)
            counts = context.kept(("counts", self._count), self._counts)
            tensors = {**batch.tensors, **counts, "rows": continuing}
            gathered = self._queue.gathered(size)
            self._slot_read[batch.slot] = context.run("gather", tensors | gathered)
            self._queue.append(gathered, size, stream)
            self._gathers.append((start, memory.record_event(stream)))
            return InFlight(size)

    def _counts(self) -> dict[str, DeviceTensor]:
        """Upload the indices that say how many targets are wanted: once, as they stay the same."""
        lengths = {"slots": self._count, "rest": self._config.geometry.tokens - self._count}
        tensors = {}
        for name, length in lengths.items():
            tensors[name] = self._context.buffer(f"{name} of {self._count}", (length,), INT64)
            self._memory.upload(tensors[name], np.arange(length, dtype=INT64), self._context.streams[1])
        return tensors

    @in_range("stage 2")
    def enqueue_stage2(self, size: int) -> InFlight:
        """Queue the SAC engine; what waits behind its batch moves to the front."""
        with self._context.engine_set:
            context, memory, stream = self._context, self._memory, self._context.streams[1]
            slot = self._enqueued2 % SLOTS
            self._enqueued2 += 1
            rows = context.engine("sac").rows(size)
            key = ("stage 2", slot, rows, self._batch, self._count)
            place = context.kept(key, lambda: self._stage2_slot(slot, rows))
            tensors = {**self._queue.first(size, rows, stream), **place.tensors}
            before = memory.record_event(stream)
            after = context.run("sac", tensors)
            for name, array in place.answers.items():
                memory.download(array, tensors[name], stream)
            end = memory.record_event(stream)
            self._queue.drop(size, stream)
            gathers, self._gathers = tuple(self._gathers), []
            return InFlight(size, private=StageTwoBatch(place.tensors, place.answers, (before, after, end), gathers))

    def _stage2_slot(self, slot: int, rows: int) -> StageTwoSlot:
        context, sac, room = self._context, self._context.engine("sac"), max(2 * self._batch, rows)
        tensors = {
            name: context.buffer(f"{name} 2 {slot}", batch_shape(spec, rows), spec.dtype, room)
            for name, spec in sac.outputs.items()
        }
        targets = context.pinned(f"targets {slot}", (room, self._count), INT64)[:rows]
        return StageTwoSlot(tensors, {**self._host_answers(f"2 {slot}", sac, room, rows), "targets": targets})

    @in_range("stage 2, wait")
    def wait_stage2(self, in_flight: InFlight) -> tuple[StageAnswers, Index]:
        """Wait for the answers and targets."""
        batch: StageTwoBatch = in_flight.private
        before, after, end = batch.events
        self._memory.synchronize(end)
        in_flight.book("gather", sum(self._memory.elapsed(*events) for events in batch.gathers))
        in_flight.book("sac", self._memory.elapsed(before, after))
        in_flight.book("answer", self._memory.elapsed(after, end))
        return answers_of(batch.answers, in_flight.size), batch.answers["targets"][: in_flight.size].copy()

    def export_logits(self, stage1: InFlight | None, stage2: InFlight | None, rows: Sequence[int]) -> ExportedTensor:
        """Copy the logits [B,C] of a batch that both stages have answered, `rows` of them from stage 2, for others.

        stage1: None for a batch of no images. stage2: of the images `rows`, in their order; None where there are none.
        """
        first, second = ({} if one is None else one.private.tensors for one in (stage1, stage2))
        return merge_rows(self._context, "logits", first, second, 0 if stage1 is None else stage1.size, rows)


def answers_of(arrays: Mapping[str, Array], size: int) -> StageAnswers:
    """Return the first `size` rows of what came down, as a stage's answers."""
    confidence = arrays.get("confidence")
    return StageAnswers(arrays["logits"][:size], None if confidence is None else confidence[:size])
