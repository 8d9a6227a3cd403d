"""Images to measure on: a user's folder, or 640x480 JPEGs put together from the photographs of the package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from sacvit_deploy.arrays import Index, Pixels
from sacvit_deploy.console.text import counted
from sacvit_deploy.errors import UsageError
from sacvit_deploy.evaluation.labelled_images import decoded_batches, spread_rows
from sacvit_deploy.evaluation.open_images import open_images, open_unlabelled, prepare_image
from sacvit_deploy.model import SACViT

WIDTH, HEIGHT = 640, 480
QUALITY = 90  # of the JPEGs, about 100 kB each


@dataclass(frozen=True)
class BenchImages:
    """Readable images. pixels: decoded and fitted, [S,S,3] uint8. paths: their files, None for rendered scenes."""

    name: str
    pixels: Sequence[Pixels]
    labels: Index | None  # None where the classes are not known
    paths: Sequence[Path] | None
    notes: tuple[str, ...] = ()


def load_images(model: SACViT, folder: Path | None, count: int, scratch: Path) -> BenchImages:
    """Load up to `count` images of the folder, spread over its classes, or make `count` in `scratch`.

    Every image is decoded once. Unreadable ones are left out and noted: an error would be timed as an answer.
    Raises UsageError for a folder without images, or without one that can be read.
    """
    if folder is None:
        make_images(scratch, count)
        name = f"{count} JPEGs of {WIDTH}x{HEIGHT}, mosaics of the package's photographs"
        images = open_unlabelled(scratch, partial(prepare_image, model), workers=model.opened.preparer.workers)
    else:
        if folder.is_file():
            raise UsageError(f"--data {folder} is a file; name a folder of images")
        dataset = open_images(model, folder)
        images = dataset.pick(spread_rows(dataset.labels, count))
        name = f"{counted(len(images), images.kind.removesuffix('s'))} from {folder.resolve().name}/"
    batches = list(decoded_batches(images, 64))
    rows = np.concatenate([batch.rows for batch in batches])
    errors = [error for batch in batches for error in batch.errors]
    if not len(rows):
        raise UsageError(f"none of the {len(images)} images can be read; {errors[0]}")
    left_out = [f"{counted(len(errors), 'unreadable image')} left out, such as: {errors[0]}"] if errors else []
    return BenchImages(
        name=name,
        pixels=[image for batch in batches for image in batch.images],
        labels=images.labels[rows] if images.labelled else None,
        paths=[Path(images.names[row]) for row in rows] if images.kind == "images" else None,
        notes=(*images.notes, *left_out),
    )


def make_images(folder: Path, count: int) -> None:
    """Write `count` different JPEGs of 640x480, identical on every machine.

    They are mosaics of photographs, so that they take as long to decode as photographs do.
    """
    source = resources.files("sacvit_deploy.export") / "pictures"
    photographs = [
        Image.open(entry.open("rb")).convert("RGB")
        for entry in sorted(source.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".jpg")
    ]
    rng = np.random.default_rng(2503)
    side = min(min(photograph.size) for photograph in photographs)
    for number in range(count):
        sheet = Image.new("RGB", (WIDTH, HEIGHT))
        left, top = (int(value) for value in rng.integers(0, side, 2))
        for y in range(-top, HEIGHT, side):
            for x in range(-left, WIDTH, side):
                tile = photographs[rng.integers(len(photographs))]
                sheet.paste(ImageOps.mirror(tile) if rng.integers(2) else tile, (x, y))
        sheet.save(folder / f"{number:04}.jpg", quality=QUALITY)
