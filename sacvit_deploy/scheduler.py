"""Sends images through the two stages: gate, compaction, re-batching, answers in the images' order."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from sacvit_deploy.arrays import Array, Pixels
from sacvit_deploy.clock import Clock
from sacvit_deploy.confidence import classify, most_probable, softmax
from sacvit_deploy.errors import OutputError, SacvitError
from sacvit_deploy.images.scaled import BorrowedImage, InputImage, ScaledImage
from sacvit_deploy.stages.protocol import InFlight, Stages


@dataclass
class Item:
    """An image going in: its pixels [S,S,3], or its half-resolution view, or its error; seconds spent per step.

    borrowed: instead of pixels, an image that is on the device already.
    """

    source: str
    pixels: Pixels | None
    error: SacvitError | None = None
    timing: dict[str, float] = field(default_factory=dict)
    scaled: ScaledImage | None = None
    borrowed: BorrowedImage | None = None


@dataclass
class Answer:
    """An image coming out: the logits [C] of the stage that answered, or its error.

    index, probability: the most probable class.
    """

    item: Item
    logits: Array | None = None
    index: int = 0
    probability: float = 0.0
    stage: int = 1
    stage_one_probability: float = 0.0
    targets: Array | None = None
    error: SacvitError | None = None

    @cached_property
    def probabilities(self) -> Array | None:
        """Probabilities [C] fp64; None where there is an error."""
        return None if self.logits is None else softmax(self.logits)


@dataclass
class Replica:
    """The stages of one device, and what is under way there: batches in flight with their images' numbers."""

    stages: Stages
    stage1: deque[tuple[InFlight, list[int]]] = field(default_factory=deque)
    stage2: deque[tuple[InFlight, list[int]]] = field(default_factory=deque)
    waiting: list[int] = field(default_factory=list)  # numbers of the images queued for stage 2, in order


class Scheduler:
    """Sends images through the stages and yields answers in the images' order.

    Continuing images wait until a whole SAC batch of them has come together, across EE batches; `patience` bounds how
    many finished answers may wait behind them. Each stage has up to `depth` batches in flight: on a device the next
    batch goes up before this one's logits are waited for. stages: of one device, or of several that take the batches
    in turn.
    """

    def __init__(self, stages: Stages | Sequence[Stages], eta: float, sac_batch: int, patience: int) -> None:
        self._replicas = [Replica(each) for each in (stages if isinstance(stages, Sequence) else [stages])]
        self._eta = eta
        self._sac_batch, self._patience = sac_batch, patience
        self._answers: dict[int, Answer] = {}
        self._received = self._yielded = 0
        self._pending: dict[int, Answer] = {}  # of images in a stage or between the two

    def places(self, batch: int, ahead: int) -> Iterator[Pixels] | None:
        """Yield memory for the images of batches of `batch`, in order, as `Stages.places` does; None where none is."""
        places = [replica.stages.places(ahead) for replica in self._replicas]
        given = [each for each in places if each is not None]
        if len(given) < len(places):
            return None
        return itertools.chain.from_iterable(itertools.islice(each, batch) for each in itertools.cycle(given))

    def run(self, batches: Iterable[Sequence[Item]]) -> Iterator[Answer]:
        """Yield one answer for each item, in order. Raises BackendError."""
        for replica, batch in zip(itertools.cycle(self._replicas), batches, strict=False):
            self._enqueue(replica, batch)
            while len(replica.stage1) >= replica.stages.depth:
                self._gate(replica)
            yield from self._finished()
            if len(self._answers) > self._patience:
                for each in self._replicas:
                    self._enqueue_stage2(each, len(each.waiting))
                for each in self._replicas:
                    self._wait_stage2(each, 0)
                yield from self._finished()
        for replica in self._replicas:
            while replica.stage1:
                self._gate(replica)
            while replica.waiting:
                self._enqueue_stage2(replica, min(self._sac_batch, len(replica.waiting)))
        for replica in self._replicas:
            self._wait_stage2(replica, 0)
        yield from self._finished()

    def _finished(self) -> Iterator[Answer]:
        while self._yielded in self._answers:
            yield self._answers.pop(self._yielded)
            self._yielded += 1

    def _enqueue(self, replica: Replica, batch: Sequence[Item]) -> None:
        """Start stage 1 on a batch; an image with an error is answered at once."""
        images: list[InputImage] = []
        numbers = []
        for item in batch:
            number, self._received = self._received, self._received + 1
            image = item.pixels if item.pixels is not None else item.scaled or item.borrowed
            if image is None:
                self._answers[number] = Answer(item, error=item.error)
            else:
                self._pending[number] = Answer(item)
                images.append(image)
                numbers.append(number)
        if numbers:
            replica.stage1.append((replica.stages.enqueue_stage1(images), numbers))

    def _gate(self, replica: Replica) -> None:
        """Wait for the oldest batch of stage 1: answer the exits, queue the rest for stage 2."""
        in_flight, numbers = replica.stage1.popleft()
        answers = replica.stages.wait_stage1(in_flight)
        clock, eta = Clock(), self._eta
        highest = classify(answers, eta)
        # Row by row, in Python's own values: an image's share of this is what limits a fast device.
        exits = [row for row, probability in enumerate(highest) if probability > eta]
        goes_on = [row for row, probability in enumerate(highest) if probability <= eta]  # NaN does neither
        classes = most_probable(answers.logits, highest, exits)
        in_flight.book("gate", clock.lap())
        errors: Mapping[int, SacvitError] = {}
        if goes_on:
            queued = replica.stages.queue_stage2(in_flight, np.array(goes_on))
            errors = queued.errors
            replica.waiting += [numbers[row] for row in goes_on if row not in errors]
            share_time(queued, [self._pending[numbers[row]].item.timing for row in goes_on])
        share_time(in_flight, [self._pending[number].item.timing for number in numbers])
        for number, probability in zip(numbers, highest, strict=True):
            self._pending[number].stage_one_probability = probability
        for row in exits:
            self._answer(numbers[row], answers.logits[row], classes[row], highest[row])
        for row, error in errors.items():
            self._fail(numbers[row], error)
        if len(exits) + len(goes_on) < len(numbers):
            for number, probability in zip(numbers, highest, strict=True):
                if math.isnan(probability):
                    self._fail(number, overflow(self._pending[number].item.source, "EE"))
        while len(replica.waiting) >= self._sac_batch:
            self._enqueue_stage2(replica, self._sac_batch)

    def _enqueue_stage2(self, replica: Replica, size: int) -> None:
        """Start stage 2 on the `size` images that have waited longest."""
        if size == 0:
            return
        self._wait_stage2(replica, replica.stages.depth - 1)
        numbers, replica.waiting = replica.waiting[:size], replica.waiting[size:]
        replica.stage2.append((replica.stages.enqueue_stage2(size), numbers))
        self._wait_stage2(replica, replica.stages.depth - 1)

    def _wait_stage2(self, replica: Replica, left: int) -> None:
        """Answer the oldest batches of stage 2 until no more than `left` are in flight."""
        while len(replica.stage2) > left:
            in_flight, numbers = replica.stage2.popleft()
            answers, targets = replica.stages.wait_stage2(in_flight)
            clock = Clock()
            highest = classify(answers, self._eta)
            classes = most_probable(answers.logits, highest, range(len(numbers)))
            in_flight.book("answer", clock.lap())
            share_time(in_flight, [self._pending[number].item.timing for number in numbers])
            for row, number in enumerate(numbers):
                answer = self._pending[number]
                answer.stage, answer.targets = 2, targets[row]
                if math.isnan(highest[row]):
                    self._fail(number, overflow(answer.item.source, "SAC"))
                else:
                    self._answer(number, answers.logits[row], classes[row], highest[row])

    def _answer(self, number: int, logits: Array, index: int, probability: float) -> None:
        """Finish an image. The logits are copied, as others come into their place."""
        answer = self._answers[number] = self._pending.pop(number)
        answer.logits, answer.index, answer.probability = logits.copy(), index, probability

    def _fail(self, number: int, error: SacvitError) -> None:
        """Finish an image with its error."""
        self._answers[number] = self._pending.pop(number)
        self._answers[number].error = error


def share_time(in_flight: InFlight, timings: Sequence[dict[str, float]]) -> None:
    """Add a batch's time to its images' timings, in equal parts."""
    shares = {step: seconds / in_flight.size for step, seconds in in_flight.timing.items()}
    for timing in timings:
        if shares.keys().isdisjoint(timing):
            timing.update(shares)
            continue
        for step, share in shares.items():
            timing[step] = timing.get(step, 0.0) + share


def overflow(source: str, stage: str) -> OutputError:
    """Return the error of an image for which an engine gave NaN or infinity."""
    return OutputError(f"{source}: the {stage} engine gave NaN or infinite values; try another precision, such as fp32")
