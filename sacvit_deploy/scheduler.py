"""The order in which pictures pass through the two engines: gate, compaction, re-batching, answers in order."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sacvit_deploy.cascade import Cascade
from sacvit_deploy.decode import Pixels
from sacvit_deploy.errors import OutputError, SacvitError
from sacvit_deploy.glue import Array, StageTwoRequest, build_request, continuing, join, select_targets, softmax


@dataclass
class Item:
    """One picture on its way in: pixels [S,S,3] or the error it met, and seconds spent so far."""

    source: str
    pixels: Pixels | None
    error: SacvitError | None = None
    timing: dict[str, float] = field(default_factory=dict)


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
    """Sends pictures through a cascade and gives answers in the pictures' order.

    Continuing pictures wait until a whole SAC batch of them has come together, across EE batches; `patience` bounds how
    many finished answers may wait behind them.
    """

    def __init__(self, cascade: Cascade, eta: float, count: int, sac_batch: int, patience: int) -> None:
        self._cascade, self._eta, self._count = cascade, eta, count
        self._sac_batch, self._patience = sac_batch, patience
        self._answers: dict[int, Answer] = {}
        self._taken = self._given = 0
        self._requests: list[StageTwoRequest] = []
        self._waiting: list[int] = []  # numbers of the pictures in the requests, in the same order
        self._held: dict[int, Answer] = {}  # their answers so far

    def run(self, batches: Iterable[Sequence[Item]]) -> Iterator[Answer]:
        """Yield one answer for each item, in order."""
        for batch in batches:
            self._take(batch)
            while len(self._waiting) >= self._sac_batch:
                self._finish(self._sac_batch)
            yield from self._ready()
            if len(self._answers) > self._patience:
                self._finish(len(self._waiting))
                yield from self._ready()
        while self._waiting:
            self._finish(min(self._sac_batch, len(self._waiting)))
        yield from self._ready()

    def _ready(self) -> Iterator[Answer]:
        while self._given in self._answers:
            yield self._answers.pop(self._given)
            self._given += 1

    def _take(self, batch: Sequence[Item]) -> None:
        """Run stage 1 on a batch; exits are answered, the rest is compacted into a request."""
        start = self._taken
        self._taken += len(batch)
        numbers = []
        for number, item in enumerate(batch, start):
            self._answers[number] = Answer(item, error=item.error)
            if item.pixels is not None:
                numbers.append(number)
        if not numbers:
            return
        answers = [self._answers.pop(number) for number in numbers]
        clock = Clock(len(numbers))
        images = [_pixels(answer.item) for answer in answers]
        low = self._cascade.low_view(images)
        clock.lap("view")
        out = self._cascade.stage_one(low)
        clock.lap("ee")
        # Row by row: a picture on which the variant overflows must not cost the others their answers.
        finite = finite_rows(out["logits"], out["scores"])
        probabilities = softmax(np.where(finite[:, None], out["logits"], 0))
        goes_on = continuing(probabilities, self._eta) & finite
        rows = np.nonzero(goes_on)[0]
        clock.lap("gate")
        if rows.size:
            targets = select_targets(out["scores"][rows], self._count)
            self._requests.append(build_request(images, out, rows, targets, self._cascade.config))
            self._waiting += [numbers[row] for row in rows]
            clock.lap("gather")
        for row, (number, answer) in enumerate(zip(numbers, answers, strict=True)):
            clock.add_to(answer.item.timing)
            answer.stage_one_probability = float(probabilities[row].max())
            if not finite[row]:
                answer.error = overflow(answer.item.source, "EE")
            elif not goes_on[row]:
                answer.probabilities = probabilities[row]
            else:
                self._held[number] = answer
                continue
            self._answers[number] = answer

    def _finish(self, size: int) -> None:
        """Run stage 2 on the `size` pictures that have waited longest."""
        if size == 0:
            return
        clock = Clock(size)
        request = join(self._requests)
        now, later = request.part(0, size), request.part(size, request.size)
        self._requests = [later] if later.size else []
        numbers, self._waiting = self._waiting[:size], self._waiting[size:]
        inputs = now.inputs(self._cascade.config)
        clock.lap("gather")
        logits = self._cascade.stage_two(inputs)
        clock.lap("sac")
        finite = finite_rows(logits)
        probabilities = softmax(np.where(finite[:, None], logits, 0))
        clock.lap("answer")
        for row, number in enumerate(numbers):
            answer = self._held.pop(number)
            clock.add_to(answer.item.timing)
            answer.stage, answer.targets = 2, now.targets[row]
            if finite[row]:
                answer.probabilities = probabilities[row]
            else:
                answer.error = overflow(answer.item.source, "SAC")
            self._answers[number] = answer


def finite_rows(*arrays: Array) -> npt.NDArray[np.bool_]:
    """[B,...] arrays -> [B]: True where every value of a row is finite in all of them."""
    found: npt.NDArray[np.bool_] = np.logical_and.reduce(
        [np.isfinite(array).reshape(len(array), -1).all(axis=1) for array in arrays]
    )
    return found


def overflow(source: str, stage: str) -> OutputError:
    """The error for one picture with NaN or infinite engine outputs."""
    return OutputError(f"{source}: the {stage} engine gave NaN or infinite values; try another precision, such as fp32")


def _pixels(item: Item) -> Pixels:
    assert item.pixels is not None
    return item.pixels


class Clock:
    """Seconds by step, shared equally by the pictures of one batch."""

    def __init__(self, share: int) -> None:
        self._share, self._last = share, time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, step: str) -> None:
        """Book the time since the last lap under `step`."""
        now = time.perf_counter()
        self._laps[step] = self._laps.get(step, 0.0) + (now - self._last) / self._share
        self._last = now

    def add_to(self, timing: dict[str, float]) -> None:
        """Add the laps to one picture's timing."""
        for step, seconds in self._laps.items():
            timing[step] = timing.get(step, 0.0) + seconds
