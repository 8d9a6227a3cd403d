"""The protocol of the data sets a run trains on, and the steps they share: drawing rows, colour jitter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Say = Callable[[str], object]  # shows the user a message


class Batch(NamedTuple):
    """Images with their labels, as one training step reads them.

    image [B,3,S,S] normalised, or [B,3,S/2,S/2] at stage 1's resolution; labels [B] int64; touched [B,N] bool marks the
    low-resolution tokens that the object touches, None where the data set doesn't know its box.
    """

    image: Tensor
    labels: Tensor
    touched: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """Copy the batch to a device."""
        touched = None if self.touched is None else self.touched.to(device)
        return Batch(self.image.to(device), self.labels.to(device), touched)


class Dataset(Protocol):
    """Labelled images, addressed by row."""

    labels: Sequence[str]

    def __len__(self) -> int:
        """Return the number of images."""

    def train_batch(self, rows: NDArray[np.int64], rng: np.random.Generator, *, half: bool) -> Batch:
        """Read images with random augmentation, drawn from `rng` alone. half: stage 1's resolution is enough."""

    def eval_batch(self, rows: NDArray[np.int64]) -> Batch:
        """Read images without augmentation, prepared as the runtime prepares them."""


def rows_of(seed: int, step: int, count: int, batch: int) -> NDArray[np.int64]:
    """Return the rows of one step: each epoch cuts a new permutation of `count` rows into batches.

    They follow from seed and step alone, so a resumed run sees the rows an uninterrupted one would have seen.
    """
    epoch, place = divmod(step, count // batch)
    order = np.random.default_rng([seed, 1, epoch]).permutation(count)
    return np.sort(order[place * batch : (place + 1) * batch])  # ascending, so that the file is read forwards


def jitter(image: Tensor, rng: np.random.Generator, strength: float = 0.15) -> Tensor:
    """Scale and shift the channels of each image at random, in place: [B,3,S,S], normalised."""
    gain = rng.uniform(1 - strength, 1 + strength, (len(image), 3, 1, 1))
    offset = rng.uniform(-strength, strength, (len(image), 3, 1, 1))
    return image.mul_(torch.from_numpy(gain).float()).add_(torch.from_numpy(offset).float())
