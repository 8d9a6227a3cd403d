"""Images of a source that sets its own pace, such as a camera: read in a thread of its own, begun as soon as may be."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from sacvit_deploy.errors import UsageError
from sacvit_deploy.images.prefetch import UntilFailure, check_owner
from sacvit_deploy.images.workers import Workers

S = TypeVar("S")
T = TypeVar("T")

Keep = Literal["all", "latest"]


def check_keep(keep: Keep) -> Keep:
    """Raise UsageError for another word than the two there are."""
    if keep not in ("all", "latest"):
        raise UsageError(f"keep is {keep!r:.80}; it must be 'all', or 'latest' to drop images that come too fast")
    return keep


@dataclass(frozen=True)
class Waiting(Generic[S]):
    """An image that was taken: its number in the source, when (`time.monotonic`), its copy, and the copy's bytes."""

    position: int
    taken_at: float
    source: S
    size: int


@dataclass(frozen=True)
class Begun(Generic[T]):
    """An image that a worker prepares; its copy is the worker's."""

    position: int
    taken_at: float
    size: int
    future: Future[T]

    def result(self) -> T:
        """Wait until it is prepared, and return what it became."""
        return self.future.result()


class LiveSource(Generic[S, T]):
    """Reads a source in a thread of its own and hands over what is there, in batches of up to `size`, in order.

    keep: "all" prepares images while they wait, and takes no more than `size` that are not handed over; "latest" lets a
    new image push out the oldest of `size` that wait, and prepares those that are handed over. claim: as `prefetch`
    has it; no more than `held` bytes of its copies wait, or one image's. `close` may be called from any thread.
    """

    def __init__(
        self,
        sources: UntilFailure[S],
        prepare: Callable[[S], T],
        *,
        claim: Callable[[S], tuple[S, int]],
        keep: Keep,
        size: int,
        workers: int,
        held: int,
    ) -> None:
        self._sources, self._prepare, self._claim = sources, prepare, claim
        self._latest, self._size, self._held = keep == "latest", size, held
        self._pool, self._owner = Workers(workers), os.getpid()
        self._changed = threading.Condition()  # guards all below
        self._waiting: deque[Waiting[S] | Begun[T]] = deque()  # to be begun when they are handed over, or at once
        self._ended = self._closed = False
        self.dropped = 0

    def batches(self) -> Iterator[list[Begun[T]]]:
        """Yield what is there as soon as there is any; before waiting for more, an empty list, once.

        That is the time to end what is under way. Raises UsageError in a forked child.
        """
        thread = threading.Thread(target=self._read, name="sacvit-source", daemon=True)
        thread.start()
        batch: list[Begun[T]] | None = []
        try:
            while (batch := self._next(wait=not batch)) is not None:
                yield batch
        finally:
            self.close()

    def close(self) -> None:
        """Take no more images, and forget those that wait.

        The reading thread ends at once, or when the source's next image comes.
        """
        if os.getpid() != self._owner:
            return  # the lock may be held for ever by a thread that did not come along
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        self._pool.close()

    def _next(self, wait: bool) -> list[Begun[T]] | None:
        """Return the next batch, None at the end; without `wait`, an empty one where nothing is there yet."""
        check_owner(self._owner)
        with self._changed:
            while not (batch := self._there()):
                if self._closed or (self._ended and not self._waiting):
                    return None
                if not wait:
                    return []
                self._changed.wait()
            self._changed.notify_all()
        try:
            for image in batch:
                image.result()
        except CancelledError:  # by `close`, in another thread
            return None
        return batch

    def _there(self) -> list[Begun[T]]:
        """Take the images that may be handed over now out of those that wait, and begin those that are not begun."""
        batch: list[Begun[T]] = []
        while self._waiting and len(batch) < self._size:
            first = self._waiting[0]
            if isinstance(first, Waiting):
                first = self._begin(first)
            elif not first.future.done():
                break
            self._waiting.popleft()
            batch.append(first)
        return batch

    def _begin(self, image: Waiting[S]) -> Begun[T]:
        """Let a worker prepare an image."""
        future = self._pool.submit(self._prepare, image.source)
        future.add_done_callback(self._notify)
        return Begun(image.position, image.taken_at, image.size, future)

    def _notify(self, _: Future[T]) -> None:
        with self._changed:
            self._changed.notify_all()

    def _read(self) -> None:
        """Take image after image; runs in the thread of its own."""
        try:
            for position, source in enumerate(self._sources):
                image = Waiting(position, time.monotonic(), *self._claim(source))
                del source
                with self._changed:
                    self._add(image)
                    del image  # the copy is the worker's, or may be dropped, while this thread waits
                    if not self._wait_for_room():
                        break
        except BaseException as error:  # nobody would see it in this thread
            self._sources.failure = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _add(self, image: Waiting[S]) -> None:
        """Let an image wait, unless nobody wants any more."""
        if self._closed:
            return
        self._waiting.append(image if self._latest else self._begin(image))
        while self._latest and (len(self._waiting) > self._size or self._too_many_bytes()):
            self._waiting.popleft()
            self.dropped += 1
        self._changed.notify_all()

    def _wait_for_room(self) -> bool:
        """Return when there is room for the next image; False if there is no use for it."""
        while not (self._closed or self._latest) and (len(self._waiting) >= self._size or self._too_many_bytes()):
            self._changed.wait()
        return not self._closed

    def _too_many_bytes(self) -> bool:
        sizes = [one.size for one in self._waiting if isinstance(one, Waiting) or not one.future.done()]
        return len(sizes) > 1 and sum(sizes) > self._held
