"""A stopwatch for the steps of a batch."""

from __future__ import annotations

import time


class Clock:
    """Stopwatch with laps in seconds."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Return the seconds since the previous lap, or since construction, and start the next."""
        now = time.perf_counter()
        elapsed, self._last = now - self._last, now
        return elapsed
