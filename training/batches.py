"""Training batches: which scenes a step sees and how they are varied.

Everything follows from (seed, step), so a resumed run sees what an unbroken one would have seen.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sacvit_deploy.config import Preprocessing
from sacvit_deploy.training.classes import MIRROR
from sacvit_deploy.training.dataset import Scenes, read_images


class Batch(NamedTuple):
    """Pictures [B, S, S, 3] uint8 (S is 224, or 112 for stage 1 alone), labels [B] int64, and boxes [B, 4].

    Boxes are left, top, right, bottom as shares of S.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float64]


def rows_of(seed: int, step: int, count: int, batch: int) -> NDArray[np.int64]:
    """Return the rows that a step sees: consecutive pieces of a new permutation for every pass."""
    per_epoch = count // batch
    epoch, place = divmod(step, per_epoch)
    order = np.random.default_rng([seed, 1, epoch]).permutation(count)
    return np.sort(order[place * batch : (place + 1) * batch])  # ascending, so that the file is read forwards


def _flipped(
    pixels: NDArray[np.uint8], labels: NDArray[np.int64], boxes: NDArray[np.float64], rng: np.random.Generator
) -> Batch:
    """Mirror half of the pictures, and the labels with them: a mirrored clock shows another hour."""
    flip = rng.random(len(labels)) < 0.5
    pixels[flip] = pixels[flip, :, ::-1]
    mirrored = np.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], axis=1)
    labels = np.where(flip, np.asarray(MIRROR)[labels], labels)
    return Batch(pixels, labels, np.where(flip[:, None], mirrored, boxes))


def read_batch(scenes: Scenes, rows: NDArray[np.int64], rng: np.random.Generator) -> Batch:
    """Read whole scenes [B, 224, 224, 3], half of them mirrored."""
    boxes = scenes.boxes[rows] / scenes.images.shape[1]
    return _flipped(read_images(scenes.images, rows), scenes.labels[rows], boxes, rng)


def read_half_batch(scenes: Scenes, rows: NDArray[np.int64], rng: np.random.Generator, zoom_share: float) -> Batch:
    """Read scenes as stage 1 sees them, [B, 112, 112, 3]; a share is zoomed: cut at full resolution around the object.

    The zoomed ones teach the shared weights what hi-res patches look like at a fraction of stage 2's cost. An object
    too large for the cut is shown in the ordinary half-size view.
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
    return _flipped(pixels, scenes.labels[rows], boxes, rng)


def object_tokens(boxes: NDArray[np.float64], grid: int) -> NDArray[np.bool_]:
    """Return which low-res tokens each object touches: boxes [B, 4] as shares of the picture -> [B, grid^2]."""
    edges = np.arange(grid + 1) / grid
    columns = (edges[1:] > boxes[:, :1]) & (edges[:-1] < boxes[:, 2:3])
    rows = (edges[1:] > boxes[:, 1:2]) & (edges[:-1] < boxes[:, 3:])
    return (rows[:, :, None] & columns[:, None, :]).reshape(len(boxes), grid * grid)


def normalise(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> Tensor:
    """[B, S, S, 3] uint8 -> [B, 3, S, S] float32, (value / 255 - mean) / std."""
    scale = torch.tensor([1 / (255 * s) for s in preprocessing.std])
    shift = torch.tensor([m / s for m, s in zip(preprocessing.mean, preprocessing.std, strict=True)])
    # Channels apart while they are bytes: the float passes, four times as long, then run over contiguous planes.
    planes = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
    return planes.float().mul_(scale[:, None, None]).sub_(shift[:, None, None])


def jitter(image: Tensor, rng: np.random.Generator, strength: float = 0.15) -> Tensor:
    """Scale and shift every picture's channels a little, in place: [B, 3, S, S], normalised."""
    gain = rng.uniform(1 - strength, 1 + strength, (len(image), 3, 1, 1))
    offset = rng.uniform(-strength, strength, (len(image), 3, 1, 1))
    return image.mul_(torch.from_numpy(gain).float()).add_(torch.from_numpy(offset).float())
