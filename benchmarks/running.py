"""Pass all images through a contender: seconds, latencies, steps, right answers."""

from __future__ import annotations

import operator
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sacvit_deploy.arrays import Index
from sacvit_deploy.benchmarks.contenders import Contender
from sacvit_deploy.benchmarks.machine.energy import Meter, total
from sacvit_deploy.images.prefetch import in_batches, prefetch
from sacvit_deploy.item import Item


@dataclass(frozen=True)
class Run:
    """Result of one pass. latencies: seconds from taking an image to its answer; steps: seconds by step, all images."""

    seconds: float
    latencies: Sequence[float]
    steps: dict[str, float]
    continued: int
    failed: int = 0
    right: int | None = None  # None without labels
    joules: float | None = None  # None without a counter


@dataclass(frozen=True)
class Feed:
    """Source of `count` images: the function that prepares each, and the threads that prefetch them."""

    count: int
    prepare: Callable[[int], Item]
    workers: int
    labels: Index | None = None


def run_pass(contender: Contender, feed: Feed, batch: int, meters: Sequence[Meter] = ()) -> Run:
    """Pass all images of the feed through a contender."""
    taken: list[float] = []
    answered: list[float] = []

    def watched() -> Iterator[int]:
        for number in range(feed.count):
            taken.append(time.perf_counter())
            yield number

    before = total(meters)
    start = time.perf_counter()
    items = prefetch(watched(), feed.prepare, limit=2 * batch, workers=feed.workers)
    answers = []
    for answer in contender.answers(in_batches(items, batch), batch):
        answered.append(time.perf_counter())
        answers.append(answer)
    seconds = time.perf_counter() - start
    after = total(meters)
    best = [None if one.error or one.logits is None else one.index for one in answers]
    return Run(
        seconds=seconds,
        latencies=[end - begin for begin, end in zip(taken, answered, strict=True)],
        steps=sum_steps(answer.item for answer in answers),
        continued=sum(answer.stage == 2 for answer in answers),
        failed=best.count(None),
        right=None if feed.labels is None else int(sum(map(operator.eq, best, feed.labels))),
        joules=None if before is None or after is None else after - before,
    )


def median_steps(runs: Sequence[Run], count: int) -> dict[str, float]:
    """Return the median milliseconds per image of every step, for `count` images in each run."""
    steps = runs[-1].steps
    return {step: 1000 / count * statistics.median(run.steps.get(step, 0.0) for run in runs) for step in steps}


def sum_steps(items: Iterable[Item]) -> dict[str, float]:
    """Sum the seconds of every step over the items."""
    steps: dict[str, float] = {}
    for item in items:
        for step, seconds in item.timing.items():
            steps[step] = steps.get(step, 0.0) + seconds
    return steps
