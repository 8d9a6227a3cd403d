"""Joins jobs of many callers into batches for one engine, in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

J = TypeVar("J")
R = TypeVar("R")


class Batcher(Generic[J, R]):
    """Runs jobs in batches, the longest waiting first.

    run: answers a batch, one result for each job, in order. key: jobs with equal keys may share a batch. A batch begins
    when `max_batch` jobs have come, or when the first of them has waited `max_delay` seconds; jobs that come while
    a batch runs make the next one. How many may wait is the caller's to bound. What `run` raises is each job's result.
    A job whose future is cancelled before its batch begins is dropped. ended: called by the thread when it ends.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[J]], Sequence[R]],
        key: Callable[[J], Hashable],
        max_batch: int,
        max_delay: float,
        ended: Callable[[], object] | None = None,
    ) -> None:
        self._ended = ended
        self._run, self._key, self._max_batch, self._max_delay = run, key, max_batch, max_delay
        self._waiting: deque[tuple[J, Future[R], float]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        # A daemon, so that a process that is ended does not wait for an engine call.
        self._thread = threading.Thread(target=self._work, name=f"sacvit {name}", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._waiting)

    def submit(self, job: J) -> Future[R]:
        """Queue a job. Raises RuntimeError after `close`."""
        future: Future[R] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("this batcher was closed")
            self._waiting.append((job, future, time.monotonic()))
            self._changed.notify()
        return future

    def close(self, timeout: float | None = None) -> None:
        """Answer what waits, then end the thread, which is left behind after `timeout` seconds."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if threading.current_thread() is not self._thread:  # which may be the one that collects the garbage
            self._thread.join(timeout)

    def _work(self) -> None:
        while (batch := self._next()) is not None:
            if not batch:
                continue
            jobs, futures = zip(*batch, strict=True)
            try:
                results = self._run(jobs)
            except BaseException as error:  # the callers' to see; the thread goes on for the others
                for future in futures:
                    future.set_exception(error)
            else:
                for future, result in zip(futures, results, strict=True):
                    future.set_result(result)
            del batch, jobs, futures
        if self._ended is not None:
            self._ended()

    def _next(self) -> list[tuple[J, Future[R]]] | None:
        """Wait for a batch, and take it, without jobs that were given up; None once closed, when nothing waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            while self._waiting and not self._closed:
                left = self._waiting[0][2] + self._max_delay - time.monotonic()
                if left <= 0 or len(self._alike()) >= self._max_batch:
                    break
                self._changed.wait(left)
            # What was given up must neither take places in a batch nor hold its image until its turn.
            self._waiting = deque(entry for entry in self._waiting if not entry[1].cancelled())
            if not self._waiting:
                return None if self._closed else []
            chosen = self._alike()
            kept = set(chosen)
            taken = [(job, future) for job, future, _ in (self._waiting[at] for at in chosen)]
            self._waiting = deque(entry for at, entry in enumerate(self._waiting) if at not in kept)
            return [(job, future) for job, future in taken if future.set_running_or_notify_cancel()]

    def _alike(self) -> list[int]:
        """Return the places of the first waiting jobs that can share a batch with the first of all."""
        key = self._key(self._waiting[0][0])
        places: list[int] = []
        for at, (job, _, _) in enumerate(self._waiting):
            if self._key(job) == key:
                places.append(at)
                if len(places) == self._max_batch:
                    break
        return places
