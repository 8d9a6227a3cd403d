"""Rendered scenes read for a training batch: mirrored, and as stage 1 alone sees them, downsampled or zoomed in."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sacvit_deploy.training.scenes.classes import MIRROR
from sacvit_deploy.training.scenes.rendered import Scenes, read_images


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
            sums = image.reshape(half, 2, half, 2, 3).astype(np.uint16)
            pixels[place] = (sums[:, 0, :, 0] + sums[:, 0, :, 1] + sums[:, 1, :, 0] + sums[:, 1, :, 1] + 2) >> 2
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
