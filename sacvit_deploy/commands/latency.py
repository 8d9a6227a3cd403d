"""How long the frames of a live source take to be answered, and how many were dropped."""

from __future__ import annotations

from collections import deque

import numpy as np

from sacvit_deploy.console.text import counted

KEPT = 100_000  # newest latencies that the percentiles are of; an hour at 25 frames per second


class Latency:
    """Seconds from a frame's arrival to its answer's line. answered: of how many frames."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=KEPT)
        self.answered = self._failed = 0

    def add(self, seconds: float, *, failed: bool) -> None:
        """Count an answer, or the error in its place."""
        if failed:
            self._failed += 1
        else:
            self.answered += 1
            self._seconds.append(seconds)

    def line(self, frames: int, dropped: int) -> str:
        """Say in a line what became of so many frames, of which one at least was answered."""
        parts = [f"{self.answered:,} answered", f"{dropped:,} dropped"]
        if self._failed:
            parts.append(f"{self._failed:,} failed")
        text = f"{counted(frames, 'frame')}: {', '.join(parts)}"
        middle, late = (1000 * float(value) for value in np.percentile(self._seconds, (50, 99)))
        return f"{text}; from arrival to answer p50 {middle:.0f} ms, p99 {late:.0f} ms"
