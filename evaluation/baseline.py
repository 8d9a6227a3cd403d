"""The plain DeiT of the same width and depth, timed on the decoded images that the cascade gets."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from sacvit_deploy.arrays import Pixels
from sacvit_deploy.backends.protocol import Backend, Engine
from sacvit_deploy.config import Preprocessing
from sacvit_deploy.contract import BASELINE
from sacvit_deploy.glue import softmax
from sacvit_deploy.images.preprocess import full_view

TIMED_BATCHES = 40  # enough for a median, without the largest engine doubling the run


class BaselineTimer:
    """Runs a variant's DeiT engine on the first `batches` batches, in turn with the cascade."""

    def __init__(self, engine: Engine, preprocessing: Preprocessing, batches: int = TIMED_BATCHES) -> None:
        self._engine, self._preprocessing, self._left = engine, preprocessing, batches

    def seconds(self, images: Sequence[Pixels]) -> float | None:
        """Time one batch, from B decoded images [S,S,3] to probabilities; None once enough batches were timed."""
        if self._left == 0:
            return None
        self._left -= 1
        start = time.perf_counter()
        softmax(self._engine.run({"image": full_view(images, self._preprocessing)})["logits"])
        return time.perf_counter() - start


def open_baseline(backend: Backend, files: Mapping[str, Path], preprocessing: Preprocessing) -> BaselineTimer | None:
    """Open a variant's DeiT engine; None for a variant without one. Raises BackendError."""
    if BASELINE not in files:
        return None
    return BaselineTimer(backend.open(files[BASELINE], files.get("weights")), preprocessing)
