"""The protocol of the stages, which the scheduler drives."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sacvit_deploy.arrays import Array, Index
from sacvit_deploy.images.scaled import Picture


@dataclass
class Ticket:
    """A batch on its way through a stage: how many pictures, seconds by step, and what the stage keeps for itself."""

    size: int
    timing: dict[str, float] = field(default_factory=dict)
    held: Any = None

    def book(self, step: str, seconds: float) -> None:
        """Add to a step's time."""
        self.timing[step] = self.timing.get(step, 0.0) + seconds



class Stages(Protocol):
    """Begin and end are apart, so that a device works on one batch while the next one is made ready."""

    @property
    def depth(self) -> int:
        """How many batches may be under way in one stage: 1 where beginning is finishing."""
        ...

    def begin(self, images: Sequence[Picture]) -> Ticket:
        """Put pictures into stage 1: [S,S,3] uint8, or seen at half size until they continue."""
        ...

    def look(self, ticket: Ticket) -> Array:
        """Wait for stage 1's logits [B,C] fp32; a row that is not finite is no answer."""
        ...

    def hold(self, ticket: Ticket, rows: Index) -> Ticket:
        """Queue the pictures `rows` of a batch for stage 2: select their targets, gather what it needs.

        The ticket returned is of these pictures alone, for its timing.
        """
        ...

    def start(self, size: int) -> Ticket:
        """Put the `size` pictures that have waited longest into stage 2."""
        ...

    def finish(self, ticket: Ticket) -> tuple[Array, Index]:
        """Wait for stage 2's logits [size,C] fp32 and the targets [size,M] it looked at."""
        ...



class Clock:
    """Time since the last lap."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap, or since the beginning."""
        now = time.perf_counter()
        passed, self._last = now - self._last, now
        return passed

