"""Trying again where a live source breaks off: announced, after growing pauses, a bounded number of times."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from sacvit_deploy.errors import ImageError
from sacvit_deploy.sources.frames import Note

T = TypeVar("T")
ATTEMPTS = 5
FIRST = 1.0  # seconds before the first; each pause is twice the one before
LONGEST = 30.0


class Ended(Exception):
    """A source said that this was all; it is not asked again."""


def pause(attempt: int) -> float:
    """Return the seconds before an attempt, which are counted from 1."""
    return min(FIRST * 2.0 ** (attempt - 1), LONGEST)


def reconnecting(
    session: Callable[[], Iterator[T]],
    name: str,
    attempts: int,
    note: Note,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[T]:
    """Yield what sessions give, one after another. session: opens the source and yields its frames.

    A session that simply ends has broken off, too, unless it raises Ended: networks don't say which it was. After
    `attempts` that brought nothing, the last error is raised; a source of which nothing ever came is not tried again.
    Raises ImageError.
    """
    failures, came = 0, False
    while True:
        error: ImageError | None = None
        try:
            for item in session():
                if failures:
                    note(f"{name} is back")
                failures, came = 0, True
                yield item
        except Ended:
            return
        except ImageError as caught:
            error = caught
        if error is None and not came:
            raise ImageError(f"{name} ended before its first image")
        if error is not None and not (came and attempts):
            raise error
        if attempts == 0:
            return
        if failures == attempts:
            raise ImageError(f"{name} is gone, after {attempts} attempts to reach it again ({_reason(error, name)})")
        failures += 1
        reason = _reason(error, name)
        seconds = pause(failures)
        note(f"{name} broke off ({reason}); trying again in {seconds:g} s, attempt {failures} of {attempts}")
        sleep(seconds)


def _reason(error: ImageError | None, name: str) -> str:
    """Say why a session ended, without the source's name, which is said already."""
    if error is None:
        return "it ended"
    return str(error).removeprefix(f"can't open {name}: ").removeprefix(f"{name} ")
