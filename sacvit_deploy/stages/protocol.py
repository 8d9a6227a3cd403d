"""The protocol of the stages, which the scheduler drives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sacvit_deploy.arrays import Array, Index
from sacvit_deploy.images.scaled import InputImage


@dataclass
class InFlight:
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

    def enqueue_stage1(self, images: Sequence[InputImage]) -> InFlight:
        """Put pictures into stage 1: [S,S,3] uint8, or seen at half size until they continue."""
        ...

    def wait_stage1(self, in_flight: InFlight) -> Array:
        """Wait for stage 1's logits [B,C] fp32; a row that is not finite is no answer."""
        ...

    def queue_stage2(self, in_flight: InFlight, rows: Index) -> InFlight:
        """Queue the pictures `rows` of a batch for stage 2: select their targets, gather what it needs.

        The in_flight returned is of these pictures alone, for its timing.
        """
        ...

    def enqueue_stage2(self, size: int) -> InFlight:
        """Put the `size` pictures that have waited longest into stage 2."""
        ...

    def wait_stage2(self, in_flight: InFlight) -> tuple[Array, Index]:
        """Wait for stage 2's logits [size,C] fp32 and the targets [size,M] it looked at."""
        ...
