"""Image files in class folders as a training data set: the split, decoding in threads, random crops."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import compress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from sacvit_deploy.arrays import Pixels
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.errors import ImageError, UsageError
from sacvit_deploy.images.class_folders import VAL_NAMES, class_folders
from sacvit_deploy.images.decode import load_image
from sacvit_deploy.images.preprocess import fit, full_view
from sacvit_deploy.training.datasets import Batch, Say, jitter

AREA = (0.25, 1.0)  # share of the image that a random crop shows
ASPECT = (3 / 4, 4 / 3)  # of the crop


@dataclass(frozen=True)
class Files:
    """Image files with their class numbers [n], and the names of the classes."""

    paths: tuple[Path, ...]
    targets: NDArray[np.int64]
    labels: tuple[str, ...]


def find_files(folder: Path, labels: Sequence[str] | None = None) -> Files:
    """List the images of FOLDER/<class>/. labels: the classes in order; by default the folders' names, sorted.

    Raises UsageError for fewer than two classes, a class without images, and a class that `labels` lacks.
    """
    classes = class_folders(folder)
    if len(classes) < 2:
        raise UsageError(f"{folder} has one class folder; training needs at least two, FOLDER/<class>/")
    order = list(classes if labels is None else labels)
    if unknown := sorted(set(classes) - set(order)):
        raise UsageError(f"{folder} holds the class {unknown[0]}, which the training images don't have")
    if empty := [name for name, paths in classes.items() if not paths]:
        raise UsageError(f"the class folder {folder / empty[0]} holds no images; fill or remove it")
    targets = [order.index(name) for name, paths in classes.items() for _ in paths]
    return Files(tuple(path for paths in classes.values() for path in paths), np.array(targets, np.int64), tuple(order))


def split_files(folder: Path, share: float, seed: int) -> tuple[Files, Files]:
    """List training and validation files: FOLDER/train and FOLDER/val, or else `share` of each class is held out.

    At least one image of each class is held out. Raises UsageError for a class of one image, which can't be split.
    """
    if (folder / "train").is_dir():
        train = find_files(folder / "train")
        val = next((folder / name for name in VAL_NAMES if (folder / name).is_dir()), None)
        if val is not None:
            return train, find_files(val, train.labels)
    else:
        train = find_files(folder)
    held_out = np.zeros(len(train.paths), bool)
    rng = np.random.default_rng([seed, 3])
    for number, name in enumerate(train.labels):
        rows = np.nonzero(train.targets == number)[0]
        if len(rows) < 2:
            raise UsageError(f"the class {name} has one image; it needs two, one of them to measure on")
        held_out[rng.permutation(rows)[: max(1, round(share * len(rows)))]] = True
    first, second = (
        Files(tuple(compress(train.paths, rows)), train.targets[rows], train.labels) for rows in (~held_out, held_out)
    )
    return first, second


class FolderSet:
    """Image files, decoded in threads. Unreadable ones are skipped, named once through `warn`, and collected."""

    def __init__(
        self, files: Files, config: ModelConfig, *, flip: bool = True, workers: int = 2, warn: Say = print
    ) -> None:
        self.files, self.config, self.flip, self.warn = files, config, flip, warn
        self.labels: Sequence[str] = files.labels
        self.unreadable: set[Path] = set()
        self.pool = ThreadPoolExecutor(workers, thread_name_prefix="sacvit-images")

    def __len__(self) -> int:
        return len(self.files.paths)

    def train_batch(self, rows: NDArray[np.int64], rng: np.random.Generator, *, half: bool) -> Batch:
        """Read random crops at full resolution, whatever `half` says: half mirrored (if `flip`), colours jittered."""
        size = self.config.geometry.image_size
        draws = rng.random((len(rows), 5))
        batch = self._read(rows, [partial(random_crop, size=size, draw=draw, flip=self.flip) for draw in draws])
        return batch._replace(image=jitter(batch.image, rng))

    def eval_batch(self, rows: NDArray[np.int64]) -> Batch:
        """Read images resized and cropped as the runtime does it."""
        config = self.config
        cut = partial(fit, size=config.geometry.image_size, preprocessing=config.preprocessing)
        return self._read(rows, [cut] * len(rows))

    def _read(self, rows: NDArray[np.int64], cuts: Sequence[Callable[[Image.Image], Pixels]]) -> Batch:
        """Decode and cut; unreadable images shorten the batch. Raises ImageError if none can be read."""
        decoded = zip(self.pool.map(self._decode, rows, cuts), rows, strict=True)
        readable = [(pixels, row) for pixels, row in decoded if pixels is not None]
        if not readable:
            raise ImageError(f"none of {len(rows)} images can be read, such as {self.files.paths[int(rows[0])]}")
        image = full_view([pixels for pixels, _ in readable], self.config.preprocessing)
        return Batch(torch.from_numpy(image), torch.from_numpy(self.files.targets[[row for _, row in readable]]))

    def _decode(self, row: int, cut: Callable[[Image.Image], Pixels]) -> Pixels | None:
        path = self.files.paths[row]
        try:
            return cut(load_image(path))
        except ImageError as error:
            if path not in self.unreadable:
                self.unreadable.add(path)
                self.warn(f"skipped: {error}")
            return None


def random_crop(image: Image.Image, size: int, draw: NDArray[np.float64], *, flip: bool) -> Pixels:
    """Cut a random window and resize it to [size,size,3]. draw: five numbers in [0,1) that decide everything."""
    width, height = image.size
    area = width * height * (AREA[0] + draw[0] * (AREA[1] - AREA[0]))
    aspect = math.exp(math.log(ASPECT[0]) + draw[1] * math.log(ASPECT[1] / ASPECT[0]))
    w = min(width, max(1, round(math.sqrt(area * aspect))))
    h = min(height, max(1, round(math.sqrt(area / aspect))))
    left, top = int(draw[2] * (width - w + 1)), int(draw[3] * (height - h + 1))
    window = image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + w, top + h), reducing_gap=2.0)
    pixels = np.asarray(window)
    return pixels[:, ::-1] if flip and draw[4] < 0.5 else pixels
