"""Rendered scenes as a training data set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from sacvit_deploy.config import ModelConfig
from sacvit_deploy.errors import UsageError
from sacvit_deploy.training.datasets import Batch, jitter, normalise
from sacvit_deploy.training.scenes.classes import LABELS
from sacvit_deploy.training.scenes.rendered import Scenes
from sacvit_deploy.training.scenes.sampling import SceneBatch, mirror_half, object_tokens, read_batch, read_half_batch

ZOOM_SHARE = 0.5  # of the images while stage 1 trains alone: see read_half_batch


class SceneSet:
    """Scenes `start` to `stop` of a split. Raises UsageError if the model takes images of another size."""

    labels: Sequence[str] = LABELS

    def __init__(
        self, scenes: Scenes, config: ModelConfig, start: int = 0, stop: int | None = None, zoom: float = ZOOM_SHARE
    ) -> None:
        size = scenes.images.shape[1]
        if size != config.geometry.image_size:
            raise UsageError(f"scenes are {size} px wide, the model's images {config.geometry.image_size}")
        self.scenes, self.config, self.zoom = scenes, config, zoom
        self.start, self.stop = start, len(scenes) if stop is None else stop

    def __len__(self) -> int:
        """Return the number of scenes."""
        return self.stop - self.start

    def train_batch(self, rows: NDArray[np.int64], rng: np.random.Generator, *, half: bool) -> Batch:
        """Read scenes, half of them mirrored, with jittered colours; at stage 1's resolution some are zoomed in."""
        at = rows + self.start
        scenes = read_half_batch(self.scenes, at, rng, self.zoom) if half else read_batch(self.scenes, at)
        batch = self._to_batch(mirror_half(scenes, rng))
        return batch._replace(image=jitter(batch.image, rng))

    def eval_batch(self, rows: NDArray[np.int64]) -> Batch:
        """Read scenes as rendered."""
        return self._to_batch(read_batch(self.scenes, rows + self.start))

    def _to_batch(self, scenes: SceneBatch) -> Batch:
        touched = object_tokens(scenes.boxes, self.config.geometry.grid)
        image = normalise(scenes.pixels, self.config.preprocessing)
        return Batch(image, torch.from_numpy(np.asarray(scenes.labels)), torch.from_numpy(touched))
