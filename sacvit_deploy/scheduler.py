"""Sends images through the two stages: gate, compaction, re-batching, answers in the images' order."""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sacvit_deploy.arrays import Pixels
from sacvit_deploy.gate import finish, gate
from sacvit_deploy.images.scaled import InputImage
from sacvit_deploy.item import Answer, Item
from sacvit_deploy.stages.protocol import InFlight, Stages


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
