"""Rendered splits on disk, opened for reading.

A split is a folder of `images.npy` [n,224,224,3] uint8, `labels.npy` [n] int64, `object_px.npy` [n] float32,
`boxes.npy` [n,4] int16 and `scenes.json` (split, seed, count), written last: a folder without it is unfinished.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sacvit_deploy.errors import UsageError
from sacvit_deploy.evaluation.scenes import ARRAYS, FINISHED


@dataclass(frozen=True)
class Scenes:
    """Arrays of a rendered split, memory-mapped. boxes: left, top, right, bottom in px, right and bottom exclusive."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    object_px: NDArray[np.float32]
    boxes: NDArray[np.int16]

    def __len__(self) -> int:
        """Return the number of scenes."""
        return len(self.labels)


def open_scenes(folder: Path) -> Scenes:
    """Open a rendered split. Raises UsageError if it is absent or unfinished."""
    if not (folder / FINISHED).exists():
        raise UsageError(f"{folder} holds no finished scenes; render them with sacvit_deploy.training.scenes.dataset")
    return Scenes(**{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS})


def read_images(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Read rows of an image array: [len(rows),H,W,3].

    A memory map is read with pread: page faults on scattered rows make the kernel read megabytes ahead for each.
    """
    if not isinstance(images, np.memmap) or images.filename is None:
        return images[rows]
    pixels = np.empty((len(rows), *images.shape[1:]), np.uint8)
    size = pixels[0].nbytes
    file = os.open(images.filename, os.O_RDONLY)
    try:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
        for place, row in enumerate(rows):
            data = os.pread(file, size, images.offset + int(row) * size)
            pixels[place] = np.frombuffer(data, np.uint8).reshape(images.shape[1:])
    finally:
        os.close(file)
    return pixels
