"""A stopwatch for the steps of a batch."""

from __future__ import annotations

import time


class Clock:
    """Time since the last lap, in seconds."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Return the seconds since the last lap, or since the beginning, and start the next one."""
        now = time.perf_counter()
        passed, self._last = now - self._last, now
        return passed
