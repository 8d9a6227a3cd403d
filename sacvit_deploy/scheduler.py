"""Sends images through the two stages: gate, compaction, re-batching, answers in the images' order."""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from sacvit_deploy.arrays import Array, Pixels
from sacvit_deploy.clock import Clock
from sacvit_deploy.confidence import classify, most_probable, softmax
from sacvit_deploy.errors import OutputError, RemoteError, SacvitError
from sacvit_deploy.images.scaled import BorrowedImage, InputImage, ScaledImage
from sacvit_deploy.ranges import in_range
from sacvit_deploy.stages.protocol import InFlight, Stages


@dataclass
class Item:
    """An image going in: its pixels [S,S,3], or its half-resolution view, or its error; seconds spent per step.

    position: its number in the source; None where all of them come, which the scheduler counts itself. due: when it is
    not to wait for others any more (`time.monotonic`). borrowed: instead of pixels, an image that is on the device.
    """

    source: str
    pixels: Pixels | None
    error: SacvitError | None = None
    timing: dict[str, float] = field(default_factory=dict)
    scaled: ScaledImage | None = None
    position: int | None = None
    due: float = math.inf
    borrowed: BorrowedImage | None = None


class Verdict(NamedTuple):
    """What a stage says of an image: its logits [C], the most probable class and that one's probability."""

    logits: Array
    best: int
    probability: float


@dataclass
class Answer:
    """An image coming out: the logits [C] of the stage that answered, or its error.

    index, probability: the most probable class. kept: what stage 1 says, where that may have to stand in for stage 2.
    fallback: why it does.
    """

    item: Item
    logits: Array | None = None
    index: int = 0
    probability: float = 0.0
    stage: int = 1
    stage_one_probability: float = 0.0
    targets: Array | None = None
    error: SacvitError | None = None
    kept: Verdict | None = None
    fallback: str | None = None

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
    batch goes up before this one's logits are waited for. An image that is due waits for no others. stages: of one
    device, or of several that take the batches in turn. fallback: stage 1's answer stands in where stage 2 could not
    be reached.
    """

    def __init__(
        self, stages: Stages | Sequence[Stages], eta: float, sac_batch: int, patience: int, fallback: bool = False
    ) -> None:
        self._replicas = [Replica(each) for each in (stages if isinstance(stages, Sequence) else [stages])]
        self._eta, self._fallback = eta, fallback
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
        """Yield one answer for each item, in order. An empty batch ends what is under way. Raises BackendError."""
        turns = itertools.cycle(self._replicas)
        for batch in batches:
            if not batch:
                self._flush()
            replica = next(turns) if batch else self._replicas[0]
            self._enqueue(replica, batch)
            for each in self._replicas:
                while each.stage2 and self._due(each.stage2[0][1]):
                    self._wait_stage2(each, len(each.stage2) - 1)
            while len(replica.stage1) >= replica.stages.depth:
                self._gate(replica)
            # Stage 1 of a batch that is due needs no more: at once there follows another batch, or an empty one.
            for each in self._replicas:
                if self._due(each.waiting):
                    self._enqueue_stage2(each, len(each.waiting))
            yield from self._finished()
            if len(self._answers) > self._patience:
                for each in self._replicas:
                    self._enqueue_stage2(each, len(each.waiting))
                for each in self._replicas:
                    self._wait_stage2(each, 0)
                yield from self._finished()
        self._flush()
        yield from self._finished()

    def _flush(self) -> None:
        """End what is under way in both stages."""
        for replica in self._replicas:
            while replica.stage1:
                self._gate(replica)
            while replica.waiting:
                self._enqueue_stage2(replica, min(self._sac_batch, len(replica.waiting)))
        for replica in self._replicas:
            self._wait_stage2(replica, 0)

    def _due(self, numbers: Sequence[int]) -> bool:
        """Tell whether the first of these images, the oldest, is not to wait any more."""
        if not numbers:
            return False
        due = self._pending[numbers[0]].item.due
        return due != math.inf and due <= time.monotonic()

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
            if item.position is None:
                item.position = number
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
        answers = [self._pending[number] for number in numbers]
        waiting = gate(replica.stages, in_flight, answers, self._eta, self._fallback)
        replica.waiting += [numbers[row] for row in waiting]
        for row in set(range(len(numbers))).difference(waiting):
            self._answers[numbers[row]] = self._pending.pop(numbers[row])
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
            finish(replica.stages, in_flight, [self._pending[number] for number in numbers])
            for number in numbers:
                self._answers[number] = self._pending.pop(number)


@in_range("gate")
def gate(
    stages: Stages, in_flight: InFlight, answers: Sequence[Answer], eta: float | Array, keep: bool = False
) -> list[int]:
    """Wait for stage 1 on a batch; write into `answers`, one for each image, those of the exits and the errors.

    The other images are queued for stage 2. Returns their rows. eta: one for all, or [B]. keep: what stage 1 says of
    these, too. Raises BackendError.
    """
    given = stages.wait_stage1(in_flight)
    clock = Clock()
    etas: Sequence[float] = eta.tolist() if isinstance(eta, np.ndarray) else [eta] * len(answers)
    highest = classify(given, etas)
    # Row by row, in Python's own values: an image's share of this is what limits a fast device.
    exits = [row for row, probability in enumerate(highest) if probability > etas[row]]
    goes_on = [row for row, probability in enumerate(highest) if probability <= etas[row]]  # NaN does neither
    classes = most_probable(given.logits, highest, range(len(answers)) if keep else exits)
    in_flight.book("gate", clock.lap())
    errors: Mapping[int, SacvitError] = {}
    if goes_on:
        queued = stages.queue_stage2(in_flight, np.array(goes_on))
        errors = queued.errors
        share_time(queued, [answers[row].item.timing for row in goes_on])
    share_time(in_flight, [answer.item.timing for answer in answers])
    for answer, probability in zip(answers, highest, strict=True):
        answer.stage_one_probability = probability
    # Copies, as others come into the logits' place.
    for row in exits:
        answer = answers[row]
        answer.logits, answer.index, answer.probability = given.logits[row].copy(), classes[row], highest[row]
    for row in goes_on if keep else ():
        answers[row].kept = Verdict(given.logits[row].copy(), classes[row], highest[row])
    for row, error in errors.items():
        answers[row].error = error
    if len(exits) + len(goes_on) < len(answers):
        for answer in answers:
            if math.isnan(answer.stage_one_probability):
                answer.error = overflow(answer.item.source, "EE")
    return [row for row in goes_on if row not in errors] if errors else goes_on


@in_range("answer")
def finish(stages: Stages, in_flight: InFlight, answers: Sequence[Answer]) -> None:
    """Wait for stage 2 on a batch, and write its answers into `answers`, one for each image.

    Where stage 2 could not be reached, and what stage 1 says was kept for that, it is the answer. Raises BackendError.
    """
    given, targets = stages.wait_stage2(in_flight)
    clock = Clock()
    highest = classify(given)
    classes = most_probable(given.logits, highest, range(len(answers)))
    in_flight.book("answer", clock.lap())
    share_time(in_flight, [answer.item.timing for answer in answers])
    for row, answer in enumerate(answers):
        error = in_flight.errors.get(row)
        if isinstance(error, RemoteError) and answer.kept is not None:
            answer.logits, answer.index, answer.probability = answer.kept
            answer.fallback = str(error)
            continue
        answer.stage, answer.targets = 2, targets[row]
        if error is not None:
            answer.error = type(error)(f"{answer.item.source}: {error}")
        elif math.isnan(highest[row]):
            answer.error = overflow(answer.item.source, "SAC")
        else:
            answer.logits, answer.index, answer.probability = given.logits[row].copy(), classes[row], highest[row]


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
