"""The protocol of the two stages, which the scheduler drives on the host and on a device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sacvit_deploy.arrays import Index, Pixels
from sacvit_deploy.confidence import StageAnswers
from sacvit_deploy.errors import SacvitError
from sacvit_deploy.images.scaled import InputImage


@dataclass
class InFlight:
    """A batch in flight: image count, seconds per step, errors by row, and the stage's private state."""

    size: int
    timing: dict[str, float] = field(default_factory=dict)
    errors: dict[int, SacvitError] = field(default_factory=dict)
    private: Any = None

    def book(self, step: str, seconds: float) -> None:
        """Add to a step's time."""
        self.timing[step] = self.timing.get(step, 0.0) + seconds


class Stages(Protocol):
    """Runs the two stages batch by batch.

    Enqueueing and waiting are separate calls, so the host prepares the next batch while the device computes.
    """

    @property
    def depth(self) -> int:
        """Number of batches that may be in flight in one stage; 1 where enqueueing computes."""

    def places(self, ahead: int) -> Iterator[Pixels] | None:
        """Yield memory [S,S,3] for the images of whole batches in their order, which saves copying them later.

        ahead: batches that are filled before stage 1 starts on them. What was put into it is read until that batch has
        been waited for, and then overwritten. None where images are taken from anywhere.
        """

    def enqueue_stage1(self, images: Sequence[InputImage]) -> InFlight:
        """Start stage 1 on images: [S,S,3] uint8, or half-resolution views until they continue."""

    def wait_stage1(self, in_flight: InFlight) -> StageAnswers:
        """Wait for stage 1's answers.

        Rows with NaN or infinity belong to images on which the engine overflowed.
        """

    def queue_stage2(self, in_flight: InFlight, rows: Index) -> InFlight:
        """Queue the images `rows` of a batch for stage 2: select their targets and gather its inputs.

        Returns a batch of these images alone, which times the queueing; its `errors` has those of `rows` that could not
        be decoded in full and are not queued.
        """

    def enqueue_stage2(self, size: int) -> InFlight:
        """Start stage 2 on the `size` images that have waited longest."""

    def wait_stage2(self, in_flight: InFlight) -> tuple[StageAnswers, Index]:
        """Wait for stage 2's answers for `size` images and their targets [size,M].

        The batch's `errors` has those of rows that stage 2 refused, or that it could not be reached for.
        """
