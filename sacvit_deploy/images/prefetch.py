"""Preparing images in worker threads, a bounded number ahead of their use."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from sacvit_deploy.errors import UsageError
from sacvit_deploy.images.workers import Workers

S = TypeVar("S")
T = TypeVar("T")


class UntilFailure(Generic[S]):
    """An iterable that simply ends where the user's own raises, and keeps the exception for after the last answer.

    Raised where it happens, it would cost the images before it, which are still in a batch or a stage, their answers.
    taken: how many items there were so far. stopped: set it from any thread, and no further one is taken.
    """

    def __init__(self, items: Iterable[S]) -> None:
        self._items = items
        self.failure: BaseException | None = None
        self.taken = 0
        self.stopped = False

    def __iter__(self) -> Iterator[S]:
        iterator: Iterator[S] | None = None
        try:
            iterator = iter(self._items)
            for item in iterator:
                if self.stopped:  # while the item was waited for
                    break
                self.taken += 1
                yield item
                if self.stopped:
                    break
            if self.stopped:
                _close(iterator)
        except Exception as error:
            self.failure = error
        except GeneratorExit:
            # As `yield from`, which cannot count: a generator of the user's ends with the stream, whoever else has it.
            _close(iterator)
            raise

    def raise_failure(self) -> None:
        """Raise the user's exception, if there was one."""
        if self.failure is not None:
            raise self.failure


def _close(iterator: object) -> None:
    if (close := getattr(iterator, "close", None)) is not None:
        close()


def prefetch(
    sources: Iterable[S],
    prepare: Callable[[Any], T],
    *,
    limit: int,
    workers: int,
    claim: Callable[[S], tuple[Any, int]] | None = None,
    held: int = 0,
) -> Iterator[T]:
    """Yield `prepare(source)` for every source, in order, computed by `workers` threads.

    At most `limit` sources are taken before their results are used. claim: called in the taking thread where others
    prepare; returns the source as it is to be prepared later, whatever its owner does to it, and the bytes copied for
    that. Before it is called again, no more than `held` such bytes wait, or one source's. Raises UsageError in a forked
    child that goes on with what its parent began.
    """
    if workers == 1:
        # A thread of its own would only add its start-up to the latency of one image.
        yield from map(prepare, sources)
        return
    waiting: deque[Future[T]] = deque()
    copies: deque[tuple[Future[T], int]] = deque()  # of those not known to be prepared, with their bytes
    pool, owner = Workers(workers), os.getpid()
    try:
        for source in sources:
            check_owner(owner)
            taken, size = (source, 0) if claim is None else claim(source)
            future = pool.submit(prepare, taken)
            del source, taken  # the copy is the worker's
            waiting.append(future)
            if size:
                copies.append((future, size))
                while len(copies) > 1 and (copies[0][0].done() or sum(size for _, size in copies) > held):
                    copies.popleft()[0].exception()  # waits; an error is raised in its place
            if len(waiting) >= limit:
                yield waiting.popleft().result()
        while waiting:
            check_owner(owner)
            yield waiting.popleft().result()
    finally:
        if os.getpid() == owner:
            pool.close()


def check_owner(process: int) -> None:
    """Raise UsageError in another process than the one with this id: the threads did not come along."""
    if os.getpid() != process:
        raise UsageError("this stream was begun before the process was forked; begin another one in the child")


def in_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size` items, the last one shorter where they do not divide evenly."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
