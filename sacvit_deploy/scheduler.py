"""The order in which pictures pass through the two stages: gate, compaction, re-batching, answers in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sacvit_deploy.arrays import Array, Pixels
from sacvit_deploy.clock import Clock
from sacvit_deploy.errors import OutputError, SacvitError
from sacvit_deploy.glue import continuing, softmax
from sacvit_deploy.images.scaled import InputImage, ScaledImage
from sacvit_deploy.stages.protocol import InFlight, Stages


@dataclass
class Item:
    """One picture on its way in: pixels [S,S,3] or a look at half size, or the error it met; seconds spent so far."""

    source: str
    pixels: Pixels | None
    error: SacvitError | None = None
    timing: dict[str, float] = field(default_factory=dict)
    scaled: ScaledImage | None = None


@dataclass
class Answer:
    """One picture on its way out: probabilities [C] of the stage that answered, or the error it met."""

    item: Item
    probabilities: Array | None = None
    stage: int = 1
    stage_one_probability: float = 0.0
    targets: Array | None = None
    error: SacvitError | None = None


class Scheduler:
    """Sends pictures through the stages and gives answers in the pictures' order.

    Continuing pictures wait until a whole SAC batch of them has come together, across EE batches; `patience` bounds how
    many finished answers may wait behind them. Where a device does the work, its stages have `depth` batches each under
    way: the next batch goes up before this one's logits are waited for.
    """

    def __init__(self, stages: Stages, eta: float, sac_batch: int, patience: int) -> None:
        self._stages, self._eta = stages, eta
        self._sac_batch, self._patience = sac_batch, patience
        self._answers: dict[int, Answer] = {}
        self._taken = self._given = 0
        self._first: deque[tuple[InFlight, list[int]]] = deque()  # in stage 1, with the pictures' numbers
        self._second: deque[tuple[InFlight, list[int]]] = deque()  # in stage 2
        self._waiting: list[int] = []  # numbers of the pictures queued for stage 2, in the queue's order
        self._held: dict[int, Answer] = {}  # answers begun, of pictures that are in a stage or between them

    def run(self, batches: Iterable[Sequence[Item]]) -> Iterator[Answer]:
        """Yield one answer for each item, in order."""
        for batch in batches:
            self._take(batch)
            while len(self._first) >= self._stages.depth:
                self._gate()
            yield from self._ready()
            if len(self._answers) > self._patience:
                self._start(len(self._waiting))
                self._drain(0)
                yield from self._ready()
        while self._first:
            self._gate()
        while self._waiting:
            self._start(min(self._sac_batch, len(self._waiting)))
        self._drain(0)
        yield from self._ready()

    def _ready(self) -> Iterator[Answer]:
        while self._given in self._answers:
            yield self._answers.pop(self._given)
            self._given += 1

    def _take(self, batch: Sequence[Item]) -> None:
        """Put a batch into stage 1."""
        images: list[InputImage] = []
        numbers = []
        for item in batch:
            number, self._taken = self._taken, self._taken + 1
            picture = item.scaled if item.pixels is None else item.pixels
            if picture is None:
                self._answers[number] = Answer(item, error=item.error)
            else:
                self._held[number] = Answer(item)
                images.append(picture)
                numbers.append(number)
        if numbers:
            self._first.append((self._stages.enqueue_stage1(images), numbers))

    def _gate(self) -> None:
        """Take the oldest batch out of stage 1: exits are answered, the rest is queued for stage 2."""
        in_flight, numbers = self._first.popleft()
        logits = self._stages.wait_stage1(in_flight)
        clock = Clock()
        # Row by row: a picture on which the variant overflows must not cost the others their answers.
        finite = finite_rows(logits)
        probabilities = softmax(np.where(finite[:, None], logits, 0))
        goes_on = continuing(probabilities, self._eta) & finite
        rows = np.nonzero(goes_on)[0]
        in_flight.book("gate", clock.lap())
        if rows.size:
            held = self._stages.queue_stage2(in_flight, rows)
            self._waiting += [numbers[row] for row in rows]
            for number in self._waiting[-rows.size :]:
                share(held, self._held[number].item.timing)
        for row, number in enumerate(numbers):
            answer = self._held[number]
            share(in_flight, answer.item.timing)
            answer.stage_one_probability = float(probabilities[row].max())
            if goes_on[row]:
                continue
            if finite[row]:
                answer.probabilities = probabilities[row]
            else:
                answer.error = overflow(answer.item.source, "EE")
            self._answers[number] = self._held.pop(number)
        while len(self._waiting) >= self._sac_batch:
            self._start(self._sac_batch)

    def _start(self, size: int) -> None:
        """Put the `size` pictures that have waited longest into stage 2."""
        if size == 0:
            return
        self._drain(self._stages.depth - 1)
        numbers, self._waiting = self._waiting[:size], self._waiting[size:]
        self._second.append((self._stages.enqueue_stage2(size), numbers))
        self._drain(self._stages.depth - 1)

    def _drain(self, left: int) -> None:
        """Take batches out of stage 2 until no more than `left` are in it."""
        while len(self._second) > left:
            in_flight, numbers = self._second.popleft()
            logits, targets = self._stages.wait_stage2(in_flight)
            clock = Clock()
            finite = finite_rows(logits)
            probabilities = softmax(np.where(finite[:, None], logits, 0))
            in_flight.book("answer", clock.lap())
            for row, number in enumerate(numbers):
                answer = self._held.pop(number)
                share(in_flight, answer.item.timing)
                answer.stage, answer.targets = 2, targets[row]
                if finite[row]:
                    answer.probabilities = probabilities[row]
                else:
                    answer.error = overflow(answer.item.source, "SAC")
                self._answers[number] = answer


def share(in_flight: InFlight, timing: dict[str, float]) -> None:
    """Add a batch's time to one picture's, in equal parts."""
    for step, seconds in in_flight.timing.items():
        timing[step] = timing.get(step, 0.0) + seconds / in_flight.size


def finite_rows(*arrays: Array) -> npt.NDArray[np.bool_]:
    """[B,...] arrays -> [B]: True where every value of a row is finite in all of them."""
    found: npt.NDArray[np.bool_] = np.logical_and.reduce(
        [np.isfinite(array).reshape(len(array), -1).all(axis=1) for array in arrays]
    )
    return found


def overflow(source: str, stage: str) -> OutputError:
    """The error for one picture with NaN or infinite engine outputs."""
    return OutputError(f"{source}: the {stage} engine gave NaN or infinite values; try another precision, such as fp32")
