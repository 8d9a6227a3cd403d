"""One pass of a contender over all images: seconds, latencies, steps, right answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from sacvit_deploy.arrays import Index
from sacvit_deploy.benchmarks.contenders import Contender
from sacvit_deploy.benchmarks.machine.energy import Meter, total
from sacvit_deploy.evaluation.labelled_images import UNKNOWN
from sacvit_deploy.images.prefetch import in_batches, prefetch
from sacvit_deploy.scheduler import Item

S = TypeVar("S")


@dataclass(frozen=True)
class Run:
    """Result of one pass. latencies: seconds from taking an image to its answer; steps: seconds by step, all images."""

    seconds: float
    latencies: Sequence[float]
    steps: dict[str, float]
    continued: int
    failed: int
    right: int | None  # None without labels
    joules: float | None  # None without a counter


@dataclass(frozen=True)
class Feed(Generic[S]):
    """Source of images: their sources in order, the function that prepares one, and the threads that prefetch."""

    sources: Sequence[S]
    prepare: Callable[[S], Item]
    workers: int
    labels: Index | None = None


def run(contender: Contender, feed: Feed[S], batch: int, meters: Sequence[Meter] = ()) -> Run:
    """Pass all images of the feed through a contender."""
    taken: list[float] = []
    answered: list[float] = []
    steps: dict[str, float] = {}
    continued = failed = right = 0

    def watched() -> Iterator[S]:
        for source in feed.sources:
            taken.append(time.perf_counter())
            yield source

    before = total(meters)
    start = time.perf_counter()
    items = prefetch(watched(), feed.prepare, limit=2 * batch, workers=feed.workers)
    answers = []
    for answer in contender.answers(in_batches(items, batch), batch):
        answered.append(time.perf_counter())
        answers.append(answer)
    seconds = time.perf_counter() - start
    after = total(meters)
    for number, answer in enumerate(answers):
        for step, spent in answer.item.timing.items():
            steps[step] = steps.get(step, 0.0) + spent
        continued += answer.stage == 2
        if answer.error is not None or answer.probabilities is None:
            failed += 1
        elif feed.labels is not None:
            right += int(np.argmax(answer.probabilities)) == feed.labels[number]
    return Run(
        seconds=seconds,
        latencies=[end - begin for begin, end in zip(taken, answered, strict=True)],
        steps=steps,
        continued=continued,
        failed=failed,
        right=right if known(feed.labels) else None,
        joules=None if before is None or after is None else after - before,
    )


def known(labels: Index | None) -> bool:
    """Tell whether there are labels, and all of them known."""
    return labels is not None and bool((labels != UNKNOWN).all())
