"""What a training step learns from, and where it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Lesson(NamedTuple):
    """One batch.

    image [B,3,S,S] normalised, or [B,3,S/2,S/2] as stage 1 sees it; labels [B] int64; touched [B,N] bool, the low-res
    tokens that the object touches, None where the data doesn't know.
    """

    image: Tensor
    labels: Tensor
    touched: Tensor | None = None

    def to(self, device: torch.device) -> Lesson:
        """The same on another device."""
        touched = None if self.touched is None else self.touched.to(device)
        return Lesson(self.image.to(device), self.labels.to(device), touched)


class Lessons(Protocol):
    """A labelled set of pictures."""

    labels: Sequence[str]

    def __len__(self) -> int:
        """Number of pictures."""

    def varied(self, rows: NDArray[np.int64], rng: np.random.Generator, *, half: bool) -> Lesson:
        """Pictures as training shows them; all that varies follows from `rng`. half: stage 1's view will do."""

    def plain(self, rows: NDArray[np.int64]) -> Lesson:
        """Pictures as the runtime shows them, to measure on."""
