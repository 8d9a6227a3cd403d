"""An image on its way through the stages, and what comes out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from sacvit_deploy.arrays import Array, Pixels
from sacvit_deploy.confidence import softmax
from sacvit_deploy.errors import SacvitError
from sacvit_deploy.images.scaled import BorrowedImage, ScaledImage


@dataclass
class Item:
    """An image going in: its pixels [S,S,3], or its half-resolution view, or its error; seconds spent per step.

    position: its number in the source; None where all of them come, which the scheduler counts itself. due: when it is
    not to wait for others any more (`time.monotonic`). borrowed: instead of pixels, an image that is on the device.
    """

    source: str
    pixels: Pixels | None
    error: SacvitError | None = None
    timing: dict[str, float] = field(default_factory=dict)
    scaled: ScaledImage | None = None
    position: int | None = None
    due: float = math.inf
    borrowed: BorrowedImage | None = None


class Verdict(NamedTuple):
    """What a stage says of an image: its logits [C], the most probable class and that one's probability."""

    logits: Array
    best: int
    probability: float


@dataclass
class Answer:
    """An image coming out: the logits [C] of the stage that answered, or its error.

    index, probability: the most probable class. kept: what stage 1 says, where that may have to stand in for stage 2.
    fallback: why it does.
    """

    item: Item
    logits: Array | None = None
    index: int = 0
    probability: float = 0.0
    stage: int = 1
    stage_one_probability: float = 0.0
    targets: Array | None = None
    error: SacvitError | None = None
    kept: Verdict | None = None
    fallback: str | None = None

    @cached_property
    def probabilities(self) -> Array | None:
        """Probabilities [C] fp64; None where there is an error."""
        return None if self.logits is None else softmax(self.logits)
