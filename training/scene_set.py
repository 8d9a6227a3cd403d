"""Rendered scenes as lessons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from sacvit_deploy.config import ModelConfig
from sacvit_deploy.errors import UsageError
from sacvit_deploy.training.batches import Batch, jitter, normalise, object_tokens, read_batch, read_half_batch
from sacvit_deploy.training.classes import LABELS
from sacvit_deploy.training.dataset import Scenes, read_images
from sacvit_deploy.training.lessons import Lesson

ZOOM_SHARE = 0.5  # of the pictures that stage 1 alone learns from: see read_half_batch


class SceneSet:
    """The scenes `start` to `stop` of a split. Raises UsageError if the model's pictures have another size."""

    labels: Sequence[str] = LABELS

    def __init__(
        self, scenes: Scenes, config: ModelConfig, start: int = 0, stop: int | None = None, zoom: float = ZOOM_SHARE
    ) -> None:
        size = scenes.images.shape[1]
        if size != config.geometry.image_size:
            raise UsageError(f"scenes are {size} px wide, the model's pictures {config.geometry.image_size}")
        self.scenes, self.config, self.zoom = scenes, config, zoom
        self.start, self.stop = start, len(scenes) if stop is None else stop

    def __len__(self) -> int:
        """Number of scenes."""
        return self.stop - self.start

    def varied(self, rows: NDArray[np.int64], rng: np.random.Generator, *, half: bool) -> Lesson:
        """Mirrored and recoloured; stage 1's view is partly zoomed."""
        at = rows + self.start
        batch = read_half_batch(self.scenes, at, rng, self.zoom) if half else read_batch(self.scenes, at, rng)
        lesson = self._lesson(batch)
        return lesson._replace(image=jitter(lesson.image, rng))

    def plain(self, rows: NDArray[np.int64]) -> Lesson:
        """As rendered."""
        at = rows + self.start
        boxes = self.scenes.boxes[at] / self.scenes.images.shape[1]
        return self._lesson(Batch(read_images(self.scenes.images, at), self.scenes.labels[at], boxes))

    def _lesson(self, batch: Batch) -> Lesson:
        touched = object_tokens(batch.boxes, self.config.geometry.grid)
        image = normalise(batch.pixels, self.config.preprocessing)
        return Lesson(image, torch.from_numpy(np.asarray(batch.labels)), torch.from_numpy(touched))
