"""Streams and calls for asyncio, by threads: the event loop is never blocked."""

from __future__ import annotations

import asyncio
import atexit
import os
import weakref
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterator
from concurrent.futures import Future, wait
from types import AsyncGeneratorType
from typing import Any, TypeVar, cast

from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.errors import SacvitError
from sacvit_deploy.images.workers import Workers
from sacvit_deploy.prediction import Prediction
from sacvit_deploy.stream import Stream

T = TypeVar("T")
LAST_CALL = 5.0  # seconds that the process's end waits for calls that nobody awaits any more

# Python ends daemon threads where they come back from an engine's call, through the engine's own code, which aborts.
_under_way: weakref.WeakSet[Future[Any]] = weakref.WeakSet()
atexit.register(lambda: wait(list(_under_way), LAST_CALL))
if hasattr(os, "register_at_fork"):  # the threads do not come along
    os.register_at_fork(after_in_child=_under_way.clear)


def _submit(workers: Workers, function: Callable[..., T], *arguments: Any) -> Future[T]:
    future = workers.submit(function, *arguments)
    _under_way.add(future)
    return future


class AsyncStream(AsyncIterator[Prediction | SacvitError]):
    """Answers as `Stream` has them, for `async for`; `SACViT.astream` makes it.

    A task that is cancelled while it waits for an answer closes the stream, as `aclose` does, the end of an `async
    with` block, and letting go of it.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._answers = cast("AsyncGeneratorType[Prediction | SacvitError, None]", _answers(stream))

    @property
    def taken(self) -> int:
        """Images taken from the source so far."""
        return self._stream.taken

    @property
    def dropped(self) -> int:
        """Images taken that newer ones pushed out before they were begun; only by keep="latest"."""
        return self._stream.dropped

    async def __anext__(self) -> Prediction | SacvitError:
        return await self._answers.__anext__()

    async def aclose(self) -> None:
        """Take no more images, and give no more answers; a task that waits for one is at the end of its loop."""
        self._stream.stop()
        if not self._answers.ag_running:
            await self._answers.aclose()

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()


async def _answers(stream: Stream) -> AsyncGenerator[Prediction | SacvitError, None]:
    workers = Workers(1, "sacvit-stream")
    try:
        while (answer := await asyncio.wrap_future(_submit(workers, next, stream, None))) is not None:
            yield answer
    finally:
        # The thread clears up, whenever it comes back: it may wait for a device, or for a source.
        stream.stop()
        _submit(workers, stream.close)
        workers.close(cancel=False)


class Calls:
    """Threads of one owner for calls that are awaited, one for each core. A forked child gets threads of its own."""

    def __init__(self) -> None:
        self._workers: Workers | None = None
        self._process = 0

    async def run(self, function: Callable[[], T]) -> T:
        """Await the function's result, which a thread computes."""
        if self._workers is None or self._process != os.getpid():
            self._workers, self._process = Workers(usable_cores(), "sacvit-call"), os.getpid()
            weakref.finalize(self, self._workers.close).atexit = False
        return await asyncio.wrap_future(_submit(self._workers, function))


def from_async(sources: AsyncIterable[T]) -> Iterator[T]:
    """Return the items of an asynchronous iterable of the running event loop, to be iterated in another thread.

    Raises RuntimeError without a running event loop.
    """
    return _from_async(sources.__aiter__(), asyncio.get_running_loop())


def _from_async(iterator: AsyncIterator[T], loop: asyncio.AbstractEventLoop) -> Iterator[T]:
    async def following() -> list[T]:
        try:
            return [await iterator.__anext__()]
        except StopAsyncIteration:  # which no future can hold
            return []

    try:
        while found := asyncio.run_coroutine_threadsafe(following(), loop).result():
            yield found[0]
    finally:
        if isinstance(iterator, AsyncGenerator) and loop.is_running():
            asyncio.run_coroutine_threadsafe(iterator.aclose(), loop)
