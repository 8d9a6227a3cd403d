"""One's own pictures as lessons: a folder for each class."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from sacvit_deploy.arrays import Pixels
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.errors import ImageError, UsageError
from sacvit_deploy.images.decode import SUFFIXES, load_image
from sacvit_deploy.images.preprocess import fit
from sacvit_deploy.training.batches import jitter, normalise
from sacvit_deploy.training.lessons import Lesson

VAL_NAMES = ("val", "validation", "test")
AREA = (0.25, 1.0)  # share of the picture that a random crop shows
ASPECT = (3 / 4, 4 / 3)  # of the crop


@dataclass(frozen=True)
class Files:
    """Picture files with their class numbers, and the classes' names."""

    paths: tuple[Path, ...]
    targets: NDArray[np.int64]
    labels: tuple[str, ...]


def find_files(folder: Path, labels: Sequence[str] | None = None) -> Files:
    """List FOLDER/<class>/<picture>; labels: classes and their order, the folders' names sorted unless given.

    Raises UsageError for a folder without classes, a class without pictures, and an unknown class.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; training pictures lie in FOLDER/<class>/")
    classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if len(classes) < 2:
        raise UsageError(f"{folder} holds {len(classes)} class folders; training needs at least two, FOLDER/<class>/")
    order = list(classes if labels is None else labels)
    unknown = sorted(set(classes) - set(order))
    if unknown:
        raise UsageError(f"{folder} holds the class {unknown[0]}, which the training pictures don't have")
    paths: list[Path] = []
    targets: list[int] = []
    for name in classes:
        found = sorted(path for path in (folder / name).rglob("*") if path.suffix.lower() in SUFFIXES)
        if not found:
            raise UsageError(f"the class folder {folder / name} holds no pictures; fill or remove it")
        paths += found
        targets += [order.index(name)] * len(found)
    return Files(tuple(paths), np.array(targets, np.int64), tuple(order))


def split_files(folder: Path, share: float, seed: int) -> tuple[Files, Files]:
    """Training and validation files: FOLDER/train and FOLDER/val where they are, else a share of every class is kept.

    At least one picture of each class is kept; a class of one picture can't be split, which is a UsageError.
    """
    if (folder / "train").is_dir():
        train = find_files(folder / "train")
        val = next((folder / name for name in VAL_NAMES if (folder / name).is_dir()), None)
        if val is not None:
            return train, find_files(val, train.labels)
    else:
        train = find_files(folder)
    kept = np.zeros(len(train.paths), bool)
    rng = np.random.default_rng([seed, 3])
    for number, name in enumerate(train.labels):
        rows = np.nonzero(train.targets == number)[0]
        if len(rows) < 2:
            raise UsageError(f"the class {name} has one picture; it needs two, one of them to measure on")
        kept[rng.permutation(rows)[: max(1, round(share * len(rows)))]] = True
    return _subset(train, ~kept), _subset(train, kept)


def _subset(files: Files, chosen: NDArray[np.bool_]) -> Files:
    paths = tuple(path for path, wanted in zip(files.paths, chosen, strict=True) if wanted)
    return Files(paths, files.targets[chosen], files.labels)


class FolderSet:
    """Picture files, decoded in threads. What can't be read is skipped, named once through `warn`, and counted."""

    def __init__(
        self, files: Files, config: ModelConfig, *, flip: bool = True, workers: int = 2,
        warn: Callable[[str], object] = print,
    ) -> None:  # fmt: skip
        self.files, self.config, self.flip, self.warn = files, config, flip, warn
        self.labels: Sequence[str] = files.labels
        self.unreadable: set[Path] = set()
        self.pool = ThreadPoolExecutor(workers, thread_name_prefix="sacvit-pictures")

    def __len__(self) -> int:
        """Number of picture files."""
        return len(self.files.paths)

    def varied(self, rows: NDArray[np.int64], rng: np.random.Generator, *, half: bool) -> Lesson:
        """Random crops, half of them mirrored (where `flip`), recoloured a little. Always whole pictures."""
        size = self.config.geometry.image_size
        draws = rng.random((len(rows), 5))
        lesson = self._read(rows, [partial(random_crop, size=size, draw=draw, flip=self.flip) for draw in draws])
        return lesson._replace(image=jitter(lesson.image, rng))

    def plain(self, rows: NDArray[np.int64]) -> Lesson:
        """Resized and cropped as the runtime does it."""
        config = self.config
        cut = partial(fit, size=config.geometry.image_size, preprocessing=config.preprocessing)
        return self._read(rows, [cut] * len(rows))

    def _read(self, rows: NDArray[np.int64], cuts: Sequence[Callable[[Image.Image], Pixels]]) -> Lesson:
        """Decode and cut; the lesson is shorter by what can't be read. Raises ImageError if that is all."""
        found = list(self.pool.map(self._one, rows, cuts))
        kept = [(pixels, row) for pixels, row in zip(found, rows, strict=True) if pixels is not None]
        if not kept:
            raise ImageError(f"none of {len(rows)} pictures can be read, such as {self.files.paths[int(rows[0])]}")
        image = normalise(np.stack([pixels for pixels, _ in kept]), self.config.preprocessing)
        return Lesson(image, torch.from_numpy(self.files.targets[[row for _, row in kept]]))

    def _one(self, row: int, cut: Callable[[Image.Image], Pixels]) -> Pixels | None:
        path = self.files.paths[row]
        try:
            return cut(load_image(path))
        except ImageError as error:
            if path not in self.unreadable:
                self.unreadable.add(path)
                self.warn(f"skipped: {error}")
            return None


def random_crop(image: Image.Image, size: int, draw: NDArray[np.float64], *, flip: bool) -> Pixels:
    """Cut a random piece and resize it to [size,size,3]. draw: five numbers in [0,1) that decide everything."""
    width, height = image.size
    area = width * height * (AREA[0] + draw[0] * (AREA[1] - AREA[0]))
    aspect = math.exp(math.log(ASPECT[0]) + draw[1] * math.log(ASPECT[1] / ASPECT[0]))
    w = min(width, max(1, round(math.sqrt(area * aspect))))
    h = min(height, max(1, round(math.sqrt(area / aspect))))
    left, top = int(draw[2] * (width - w + 1)), int(draw[3] * (height - h + 1))
    piece = image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + w, top + h), reducing_gap=2.0)
    pixels = np.asarray(piece)
    return pixels[:, ::-1] if flip and draw[4] < 0.5 else pixels
