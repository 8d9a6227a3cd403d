"""Preparing images in worker threads, a bounded number ahead of their use."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def prefetch(sources: Iterable[S], prepare: Callable[[S], T], *, limit: int, workers: int) -> Iterator[T]:
    """Yield `prepare(source)` for every source, in order, computed by `workers` threads.

    At most `limit` sources are taken before their results are used.
    """
    if workers == 1:
        # A thread of its own would only add its start-up to the latency of one image.
        yield from map(prepare, sources)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="sacvit-decode")
    waiting: deque[Future[T]] = deque()
    try:
        for source in sources:
            waiting.append(pool.submit(prepare, source))
            if len(waiting) >= limit:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def in_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size` items, the last one shorter where they do not divide evenly."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
