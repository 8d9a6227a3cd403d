"""Rendered scenes as a training data set: mirrored, and for stage 1 alone downsampled or zoomed in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from sacvit_deploy.config import ModelConfig
from sacvit_deploy.errors import UsageError
from sacvit_deploy.images.preprocess import full_view
from sacvit_deploy.training.datasets import Batch, jitter
from sacvit_deploy.training.scenes.classes import LABELS, MIRROR
from sacvit_deploy.training.scenes.dataset import Scenes, read_images

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
        image = full_view(list(scenes.pixels), self.config.preprocessing)
        touched = object_tokens(scenes.boxes, self.config.geometry.grid)
        return Batch(torch.from_numpy(image), torch.from_numpy(scenes.labels), torch.from_numpy(touched))


class SceneBatch(NamedTuple):
    """Images [B,S,S,3] uint8 (S is 224, or 112 for stage 1 alone), labels [B] int64, and boxes [B,4].

    Boxes are left, top, right, bottom as shares of S.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float64]


def read_batch(scenes: Scenes, rows: NDArray[np.int64]) -> SceneBatch:
    """Read scenes as they were rendered: S is 224."""
    boxes = scenes.boxes[rows] / scenes.images.shape[1]
    return SceneBatch(read_images(scenes.images, rows), scenes.labels[rows], boxes)


def read_half_batch(scenes: Scenes, rows: NDArray[np.int64], rng: np.random.Generator, zoom_share: float) -> SceneBatch:
    """Read scenes at stage 1's resolution (S is 112): most by averaging 2x2 pixels, a share of them zoomed in.

    Zoomed in means cut around the object at full resolution. It teaches the shared weights what high-resolution patches
    look like, at a fraction of stage 2's cost. An object too large for the cut is shown downsampled.
    """
    half = scenes.images.shape[1] // 2
    pixels = np.empty((len(rows), half, half, 3), np.uint8)
    boxes = scenes.boxes[rows] / (2 * half)
    for place, (row, image) in enumerate(zip(rows, read_images(scenes.images, rows), strict=True)):
        left, top, right, bottom = (int(v) for v in scenes.boxes[row])
        if max(right - left, bottom - top) <= half - 8 and rng.random() < zoom_share:
            x = int(rng.integers(max(0, right - half), min(left, half) + 1))
            y = int(rng.integers(max(0, bottom - half), min(top, half) + 1))
            pixels[place] = image[y : y + half, x : x + half]
            boxes[place] = (scenes.boxes[row] - np.array([x, y, x, y])) / half
        else:
            pixels[place] = Image.fromarray(image).reduce(2)
    return SceneBatch(pixels, scenes.labels[rows], boxes)


def mirror_half(batch: SceneBatch, rng: np.random.Generator) -> SceneBatch:
    """Mirror half of the images, drawn at random; a mirrored clock gets the label of the hour it then shows.

    The pixels are changed in place.
    """
    pixels, labels, boxes = batch
    flip = rng.random(len(labels)) < 0.5
    pixels[flip] = pixels[flip, :, ::-1]
    mirrored = np.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], axis=1)
    labels = np.where(flip, np.asarray(MIRROR)[labels], labels)
    return SceneBatch(pixels, labels, np.where(flip[:, None], mirrored, boxes))


def object_tokens(boxes: NDArray[np.float64], grid: int) -> NDArray[np.bool_]:
    """Return which low-resolution tokens each object touches: boxes [B,4] as shares of the image -> [B,grid^2]."""
    edges = np.arange(grid + 1) / grid
    columns = (edges[1:] > boxes[:, :1]) & (edges[:-1] < boxes[:, 2:3])
    rows = (edges[1:] > boxes[:, 1:2]) & (edges[:-1] < boxes[:, 3:])
    return (rows[:, :, None] & columns[:, None, :]).reshape(len(boxes), grid * grid)
