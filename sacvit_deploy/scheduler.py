"""Sends images through the two stages: gate, compaction, re-batching, answers in the images' order."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sacvit_deploy.arrays import Array, Index, Pixels
from sacvit_deploy.clock import Clock
from sacvit_deploy.errors import OutputError, SacvitError
from sacvit_deploy.glue import continuing, softmax
from sacvit_deploy.images.scaled import InputImage, ScaledImage
from sacvit_deploy.stages.protocol import InFlight, Stages


@dataclass
class Item:
    """An image going in: its pixels [S,S,3], or its half-resolution view, or its error; seconds spent per step.

    position: its number in the source; None where all of them come, which the scheduler counts itself. due: when it is
    not to wait for others any more (`time.monotonic`).
    """

    source: str
    pixels: Pixels | None
    error: SacvitError | None = None
    timing: dict[str, float] = field(default_factory=dict)
    scaled: ScaledImage | None = None
    position: int | None = None
    due: float = math.inf


@dataclass
class Answer:
    """An image coming out: the probabilities [C] of the stage that answered, or its error."""

    item: Item
    probabilities: Array | None = None
    stage: int = 1
    stage_one_probability: float = 0.0
    targets: Array | None = None
    error: SacvitError | None = None


class Scheduler:
    """Sends images through the stages and yields answers in the images' order.

    Continuing images wait until a whole SAC batch of them has come together, across EE batches; `patience` bounds how
    many finished answers may wait behind them. Each stage has up to `depth` batches in flight: on a device the next
    batch goes up before this one's logits are waited for. An image that is due waits for no others.
    """

    def __init__(self, stages: Stages, eta: float, sac_batch: int, patience: int) -> None:
        self._stages, self._eta = stages, eta
        self._sac_batch, self._patience = sac_batch, patience
        self._answers: dict[int, Answer] = {}
        self._received = self._yielded = 0
        self._stage1: deque[tuple[InFlight, list[int]]] = deque()  # in flight, with the images' numbers
        self._stage2: deque[tuple[InFlight, list[int]]] = deque()
        self._waiting: list[int] = []  # numbers of the images queued for stage 2, in order
        self._pending: dict[int, Answer] = {}  # of images in a stage or between the two

    def run(self, batches: Iterable[Sequence[Item]]) -> Iterator[Answer]:
        """Yield one answer for each item, in order. An empty batch ends what is under way. Raises BackendError."""
        for batch in batches:
            if not batch:
                self._flush()
            self._enqueue(batch)
            while self._stage2 and self._due(self._stage2[0][1]):
                self._wait_stage2(len(self._stage2) - 1)
            while len(self._stage1) >= self._stages.depth:
                self._gate()
            # Stage 1 of a batch that is due needs no more: at once there follows another batch, or an empty one.
            if self._due(self._waiting):
                self._enqueue_stage2(len(self._waiting))
            yield from self._finished()
            if len(self._answers) > self._patience:
                self._enqueue_stage2(len(self._waiting))
                self._wait_stage2(0)
                yield from self._finished()
        self._flush()
        yield from self._finished()

    def _flush(self) -> None:
        """End what is under way in both stages."""
        while self._stage1:
            self._gate()
        while self._waiting:
            self._enqueue_stage2(min(self._sac_batch, len(self._waiting)))
        self._wait_stage2(0)

    def _due(self, numbers: Sequence[int]) -> bool:
        """Tell whether the first of these images, the oldest, is not to wait any more."""
        return bool(numbers) and self._pending[numbers[0]].item.due <= time.monotonic()

    def _finished(self) -> Iterator[Answer]:
        while self._yielded in self._answers:
            yield self._answers.pop(self._yielded)
            self._yielded += 1

    def _enqueue(self, batch: Sequence[Item]) -> None:
        """Start stage 1 on a batch; an image with an error is answered at once."""
        images: list[InputImage] = []
        numbers = []
        for item in batch:
            number, self._received = self._received, self._received + 1
            if item.position is None:
                item.position = number
            image = item.scaled if item.pixels is None else item.pixels
            if image is None:
                self._answers[number] = Answer(item, error=item.error)
            else:
                self._pending[number] = Answer(item)
                images.append(image)
                numbers.append(number)
        if numbers:
            self._stage1.append((self._stages.enqueue_stage1(images), numbers))

    def _gate(self) -> None:
        """Wait for the oldest batch of stage 1: answer the exits, queue the rest for stage 2."""
        in_flight, numbers = self._stage1.popleft()
        waiting = gate(self._stages, in_flight, [self._pending[number] for number in numbers], self._eta)
        self._waiting += [numbers[row] for row in waiting]
        for row in set(range(len(numbers))).difference(waiting):
            self._answers[numbers[row]] = self._pending.pop(numbers[row])
        while len(self._waiting) >= self._sac_batch:
            self._enqueue_stage2(self._sac_batch)

    def _enqueue_stage2(self, size: int) -> None:
        """Start stage 2 on the `size` images that have waited longest."""
        if size == 0:
            return
        self._wait_stage2(self._stages.depth - 1)
        numbers, self._waiting = self._waiting[:size], self._waiting[size:]
        self._stage2.append((self._stages.enqueue_stage2(size), numbers))
        self._wait_stage2(self._stages.depth - 1)

    def _wait_stage2(self, left: int) -> None:
        """Answer the oldest batches of stage 2 until no more than `left` are in flight."""
        while len(self._stage2) > left:
            in_flight, numbers = self._stage2.popleft()
            finish(self._stages, in_flight, [self._pending[number] for number in numbers])
            for number in numbers:
                self._answers[number] = self._pending.pop(number)


def gate(stages: Stages, in_flight: InFlight, answers: Sequence[Answer], eta: float | Array) -> list[int]:
    """Wait for stage 1 on a batch; write into `answers`, one for each image, those of the exits and the errors.

    The other images are queued for stage 2. Returns their rows. eta: one for all, or [B]. Raises BackendError.
    """
    logits = stages.wait_stage1(in_flight)
    clock = Clock()
    finite, probabilities = classify(logits)
    highest = probabilities.max(axis=1)
    goes_on = continuing(highest[:, None], eta) & finite
    rows: Index = np.nonzero(goes_on)[0]
    in_flight.book("gate", clock.lap())
    errors: Mapping[int, SacvitError] = {}
    waiting: list[int] = []
    if rows.size:
        queued = stages.queue_stage2(in_flight, rows)
        errors = queued.errors
        waiting = [row for row in rows.tolist() if row not in errors]
        share_time(queued, [answers[row].item.timing for row in rows])
    share_time(in_flight, [answer.item.timing for answer in answers])
    # As Python's own values: an image's share of this loop is what limits a fast device.
    each = zip(answers, highest.tolist(), goes_on.tolist(), finite.tolist(), strict=True)
    for row, (answer, probability, continues, whole) in enumerate(each):
        answer.stage_one_probability = probability
        if row in errors:
            answer.error = errors[row]
        elif not whole:
            answer.error = overflow(answer.item.source, "EE")
        elif not continues:
            answer.probabilities = probabilities[row]
    return waiting


def finish(stages: Stages, in_flight: InFlight, answers: Sequence[Answer]) -> None:
    """Wait for stage 2 on a batch, and write its answers into `answers`, one for each image. Raises BackendError."""
    logits, targets = stages.wait_stage2(in_flight)
    clock = Clock()
    finite, probabilities = classify(logits)
    in_flight.book("answer", clock.lap())
    share_time(in_flight, [answer.item.timing for answer in answers])
    for row, answer in enumerate(answers):
        answer.stage, answer.targets = 2, targets[row]
        if finite[row]:
            answer.probabilities = probabilities[row]
        else:
            answer.error = overflow(answer.item.source, "SAC")


def classify(logits: Array) -> tuple[npt.NDArray[np.bool_], Array]:
    """Return, for logits [B,C], which rows are finite, and the probabilities [B,C], of no meaning in the others.

    Row by row: an image on which the variant overflows must not cost the others their answers.
    """
    finite = finite_rows(logits)
    return finite, softmax(logits if finite.all() else np.where(finite[:, None], logits, 0))


def share_time(in_flight: InFlight, timings: Sequence[dict[str, float]]) -> None:
    """Add a batch's time to its images' timings, in equal parts."""
    shares = [(step, seconds / in_flight.size) for step, seconds in in_flight.timing.items()]
    for timing in timings:
        for step, share in shares:
            timing[step] = timing.get(step, 0.0) + share


def finite_rows(*arrays: Array) -> npt.NDArray[np.bool_]:
    """[B,...] arrays -> [B]: True where every value of the row is finite in all arrays."""
    rows = [np.isfinite(array).reshape(len(array), -1).all(axis=1) for array in arrays]
    return np.asarray(np.logical_and.reduce(rows))


def overflow(source: str, stage: str) -> OutputError:
    """Return the error of an image for which an engine gave NaN or infinity."""
    return OutputError(f"{source}: the {stage} engine gave NaN or infinite values; try another precision, such as fp32")
