"""A small pool of daemon threads: one that hangs in a read never keeps the process from ending."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
Call = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...]]


class Workers:
    """Up to `count` threads that work through calls in their order; as a context manager, closed at its end.

    name: the threads'.

    The library's ThreadPoolExecutor joins its threads when the process ends, so one image on a dead network drive would
    keep an interrupted process alive for ever.
    """

    def __init__(self, count: int, name: str = "sacvit-decode") -> None:
        self._count, self._name = count, name
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Queue a call and return its future; it's done at once where the system has no thread left to give."""
        future: Future[T] = Future()
        if len(self._threads) < self._count:
            thread = threading.Thread(target=_work, args=(self._calls,), name=self._name, daemon=True)
            try:
                thread.start()
                self._threads.append(thread)
            except RuntimeError:  # too little memory or too many threads: do with those that there are
                if not self._threads:
                    _do((future, function, arguments))
                    return future
        self._calls.put((future, function, arguments))
        return future

    def close(self, cancel: bool = True) -> None:
        """Cancel what was not begun, unless told not to, and let the threads end, without waiting for them."""
        while cancel:
            try:
                call = self._calls.get_nowait()  # a thread may take the last one at any time
            except queue.Empty:
                break
            if call is not None:
                call[0].cancel()
        for _ in self._threads:
            self._calls.put(None)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _work(calls: queue.SimpleQueue[Call | None]) -> None:
    while (call := calls.get()) is not None:
        _do(call)
        del call  # its arguments, an image among them, must not live until the next call


def _do(call: Call) -> None:
    future, function, arguments = call
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function(*arguments)
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
