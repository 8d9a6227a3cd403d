"""Both stages on a device: pictures and indices of continuing pictures go up, logits and chosen targets come down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sacvit_deploy.arrays import Array, Index
from sacvit_deploy.contract import Sizes, engine_contract
from sacvit_deploy.device.protocol import DeviceTensor, Event, closed
from sacvit_deploy.images.scaled import InputImage, full_image
from sacvit_deploy.stages.context import SLOTS, ExecutionContext
from sacvit_deploy.stages.protocol import InFlight

BYTE, WHOLE, FLOAT = np.dtype(np.uint8), np.dtype(np.int64), np.dtype(np.float32)


@dataclass(frozen=True)
class First:
    """A batch in stage 1: where its tensors and logits are, and the marks around its steps."""

    tensors: dict[str, DeviceTensor]
    logits: Array
    slot: int
    marks: tuple[Event, Event, Event, Event]  # before the upload, before EE, after EE, after the download


@dataclass(frozen=True)
class Second:
    """A batch in stage 2."""

    logits: Array
    targets: Index
    marks: tuple[Event, Event, Event]  # before SAC, after it, after the download
    gathers: tuple[tuple[Event, Event], ...]


class DeviceStages:
    """See `Stages`. One thread, one lane; `count` is M, `batch` the most pictures of a call, in either stage."""

    depth = SLOTS

    def __init__(self, lane: ExecutionContext, count: int, batch: int) -> None:
        self._lane, self._memory, self._config = lane, lane.memory, lane.config
        self._count, self._batch, self._room = count, batch, 2 * batch
        self._begun = self._started = self._waiting = 0
        self._gathers: list[tuple[Event, Event]] = []  # around what was queued since stage 2 last started
        self._left: list[Event | None] = [None] * SLOTS  # when the last gather has read a slot

    def enqueue_stage1(self, images: Sequence[InputImage]) -> InFlight:
        """Upload a batch; queue the view and the EE engine."""
        lane, memory, slot = self._lane, self._memory, self._begun % SLOTS
        self._begun += 1
        size = len(images)
        side = self._config.geometry.image_size
        host = lane.pinned(f"pictures {slot}", (self._batch, side, side, 3), BYTE)[:size]
        np.stack([full_image(image) for image in images], out=host)
        stream = lane.streams[0]
        if (read := self._left[slot]) is not None:
            memory.wait_event(stream, read)
        ee, view = lane.engine("ee"), lane.engine("view")
        kinds = {**ee.outputs, "image": view.outputs["image"]}
        tensors = {
            name: lane.place(f"{name} {slot}", closed(kind, self._batch), kind.dtype).rows(0, size)
            for name, kind in kinds.items()
        }
        tensors["pictures"] = lane.place(f"pictures {slot}", (self._batch, side, side, 3), BYTE).rows(0, size)
        logits = lane.pinned(f"logits {slot}", (self._batch, *kinds["logits"].shape[1:]), FLOAT)[:size]
        start = memory.record_event(stream)
        memory.upload(tensors["pictures"].address, host, stream)
        seen = lane.run("view", tensors)
        known = lane.run("ee", tensors)
        memory.download(logits, tensors["logits"].address, stream)
        return InFlight(size, held=First(tensors, logits, slot, (start, seen, known, memory.record_event(stream))))

    def wait_stage1(self, in_flight: InFlight) -> Array:
        """Wait for the logits; they stay until the slot's next batch."""
        first: First = in_flight.held
        start, seen, known, end = first.marks
        self._memory.synchronize(end)
        in_flight.book("view", self._memory.elapsed(start, seen))  # the upload, too
        in_flight.book("ee", self._memory.elapsed(seen, known))
        in_flight.book("gate", self._memory.elapsed(known, end))
        return first.logits

    def queue_stage2(self, in_flight: InFlight, rows: Index) -> InFlight:
        """Queue the gather and put what it gives behind what waits already; `wait_stage2` knows how long it took."""
        lane, memory, first = self._lane, self._memory, in_flight.held
        stream, size = lane.streams[1], len(rows)
        start = memory.record_event(stream)  # `wait_stage1` has waited for stage 1
        tokens = self._config.geometry.tokens
        sizes = {"rows": rows, "slots": np.arange(self._count), "rest": np.arange(tokens - self._count)}
        tensors = dict(first.tensors)
        for name, values in sizes.items():
            # A place of its own for each slot: from ordinary memory it is read before `upload` returns.
            tensors[name] = lane.place(f"{name} {first.slot}", (max(self._batch, tokens),), WHOLE).rows(0, len(values))
            memory.upload(tensors[name].address, np.ascontiguousarray(values, WHOLE), stream)
        found = self._gathered("found", self._batch, size)
        self._left[first.slot] = lane.run("gather", tensors | found)
        queue = self._gathered("queue", self._room, self._room)
        for name, its in found.items():
            place = queue[name].rows(self._waiting, self._waiting + size)
            memory.copy(place.address, its.address, its.nbytes, stream)
        self._waiting += size
        self._gathers.append((start, memory.record_event(stream)))
        return InFlight(size)

    def enqueue_stage2(self, size: int) -> InFlight:
        """Queue the SAC engine; what waits behind its batch moves to the front."""
        lane, memory, stream = self._lane, self._memory, self._lane.streams[1]
        number, self._started = self._started, self._started + 1
        queue = self._gathered("queue", self._room, self._room)
        tensors = {name: its.rows(0, size) for name, its in queue.items()}
        kind = lane.engine("sac").outputs["logits"]
        tensors["logits"] = lane.place("answers", closed(kind, self._room), kind.dtype).rows(0, size)
        logits = lane.pinned(f"answers {number % SLOTS}", (self._room, *kind.shape[1:]), FLOAT)[:size]
        targets = lane.pinned(f"targets {number % SLOTS}", (self._room, self._count), WHOLE)[:size]
        before = memory.record_event(stream)
        done = lane.run("sac", tensors)
        memory.download(logits, tensors["logits"].address, stream)
        memory.download(targets, tensors["targets"].address, stream)
        end = memory.record_event(stream)
        for its in queue.values():
            # Fewer than a batch are left, so the two places do not overlap.
            rest = its.rows(size, self._waiting)
            memory.copy(its.address, rest.address, rest.nbytes, stream)
        self._waiting -= size
        gathers, self._gathers = tuple(self._gathers), []
        return InFlight(size, held=Second(logits, targets, (before, done, end), gathers))

    def wait_stage2(self, in_flight: InFlight) -> tuple[Array, Index]:
        """Wait for the answers."""
        second: Second = in_flight.held
        before, done, end = second.marks
        self._memory.synchronize(end)
        between = sum(self._memory.elapsed(*marks) for marks in second.gathers)
        in_flight.book("gather", between)
        in_flight.book("sac", self._memory.elapsed(before, done))
        in_flight.book("answer", self._memory.elapsed(done, end))
        return second.logits, second.targets.copy()

    def _gathered(self, name: str, most: int, size: int) -> dict[str, DeviceTensor]:
        """Places for what `gather` gives for `size` pictures, in memory for `most`."""
        kinds = self._lane.engine("gather").outputs
        sizes = Sizes(most, self._count, self._config.geometry.tokens - self._count, continuing=most)
        return {
            key: self._lane.place(f"{name} {key}", tensor.at(sizes), kinds[key].dtype).rows(0, size)
            for key, tensor in engine_contract("gather", self._config).outputs.items()
        }
