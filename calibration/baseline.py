"""The plain DeiT of the same width and depth, on the same decoded pictures as the cascade."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sacvit_deploy.backends import Backend, Engine
from sacvit_deploy.bundle.manifest import BASELINE
from sacvit_deploy.config import Preprocessing
from sacvit_deploy.decode import Pixels
from sacvit_deploy.glue import Array, softmax
from sacvit_deploy.preprocess import normalise

MOST = 40  # batches: enough for a median, and the largest engine does not double the waiting


class Baseline:
    """The DeiT engine of a variant. Times the first batches, in turn with the cascade."""

    def __init__(self, engine: Engine, preprocessing: Preprocessing, most: int = MOST) -> None:
        self._engine, self._preprocessing, self._left = engine, preprocessing, most

    def seconds(self, images: Sequence[Pixels]) -> float | None:
        """Seconds from B decoded pictures [S,S,3] to probabilities; None once enough batches were timed."""
        if self._left == 0:
            return None
        self._left -= 1
        start = time.perf_counter()
        softmax(self._engine.run({"image": full_view(images, self._preprocessing)})["logits"])
        return time.perf_counter() - start


def open_baseline(backend: Backend, files: Mapping[str, Path], preprocessing: Preprocessing) -> Baseline | None:
    """Open a variant's DeiT engine; None for a variant without one. Raises BackendError."""
    if BASELINE not in files:
        return None
    return Baseline(backend.open(files[BASELINE], files.get("weights")), preprocessing)


def full_view(images: Sequence[Pixels], preprocessing: Preprocessing) -> Array:
    """B pictures [S,S,3] uint8 -> [B,3,S,S] fp32 normalised; prepared with the care stage 1's view gets."""
    size = images[0].shape[0]
    out = np.empty((len(images), 3, size, size), np.float32)
    for image, view in zip(images, out, strict=True):
        view[:] = image.transpose(2, 0, 1)
        normalise(view, preprocessing)
    return out
