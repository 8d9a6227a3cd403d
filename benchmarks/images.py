"""Images to measure on: a user's folder, or 640x480 JPEGs put together from the photographs of the package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from sacvit_deploy.arrays import Index, Pixels
from sacvit_deploy.console.text import counted
from sacvit_deploy.errors import SacvitError, UsageError
from sacvit_deploy.evaluation.labelled_images import UNKNOWN, LabelledImages, spread
from sacvit_deploy.evaluation.open_images import open_images, prepare_image
from sacvit_deploy.images.prefetch import prefetch
from sacvit_deploy.model import SACViT

WIDTH, HEIGHT = 640, 480
QUALITY = 90  # of the JPEGs, about 100 kB each


@dataclass(frozen=True)
class BenchImages:
    """Readable images. pixels: decoded and fitted, [S,S,3] uint8. paths: their files, None for rendered scenes."""

    name: str
    pixels: Sequence[Pixels]
    labels: Index
    paths: Sequence[Path] | None
    notes: tuple[str, ...] = ()

    @property
    def labelled(self) -> bool:
        """Tell whether every image has a known class."""
        return bool((self.labels != UNKNOWN).all())


def load_images(model: SACViT, folder: Path | None, count: int, scratch: Path) -> BenchImages:
    """Load up to `count` images of the folder, spread over its classes, or make `count` in `scratch`.

    Raises UsageError for a folder without images, or without one that can be read.
    """
    if folder is None:
        paths = make_images(scratch, count)
        labels = np.full(count, UNKNOWN, dtype=np.int64)
        made = f"{count} JPEGs of {WIDTH}x{HEIGHT}, mosaics of the package's photographs"
        names = [str(path) for path in paths]
        images = LabelledImages("images", made, labels, names, lambda row: prepare_image(model, paths[row]))
        return _readable(made, images, paths)
    if folder.is_file():
        raise UsageError(f"--data {folder} is a file; name a folder of images")
    dataset = open_images(model, folder)
    chosen = dataset.pick(spread(dataset.labels, count))
    files = None if dataset.kind != "images" else [Path(name) for name in chosen.names]
    name = f"{counted(len(chosen), dataset.kind.removesuffix('s'))} from {folder.resolve().name}/"
    return _readable(name, chosen, files)


def _readable(name: str, images: LabelledImages, paths: Sequence[Path] | None) -> BenchImages:
    """Decode every image once. Unreadable ones are left out and noted: an error would be timed as an answer."""

    def load(row: int) -> Pixels | SacvitError:
        try:
            return images.load(row)
        except SacvitError as error:
            return error

    loaded = list(prefetch(range(len(images)), load, limit=64, workers=2))
    rows = [row for row, image in enumerate(loaded) if not isinstance(image, SacvitError)]
    bad = [image for image in loaded if isinstance(image, SacvitError)]
    if not rows:
        raise UsageError(f"none of the {len(images)} images can be read; {bad[0]}")
    notes = list(images.notes)
    if bad:
        notes.append(f"{counted(len(bad), 'unreadable image')} left out, such as: {bad[0]}")
    return BenchImages(
        name=name,
        pixels=[image for image in loaded if not isinstance(image, SacvitError)],
        labels=images.labels[rows],
        paths=None if paths is None else [paths[row] for row in rows],
        notes=tuple(notes),
    )


def make_images(folder: Path, count: int) -> list[Path]:
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
    paths = []
    for number in range(count):
        sheet = Image.new("RGB", (WIDTH, HEIGHT))
        left, top = (int(value) for value in rng.integers(0, side, 2))
        for y in range(-top, HEIGHT, side):
            for x in range(-left, WIDTH, side):
                tile = photographs[rng.integers(len(photographs))]
                sheet.paste(ImageOps.mirror(tile) if rng.integers(2) else tile, (x, y))
        paths.append(folder / f"{number:04}.jpg")
        sheet.save(paths[-1], quality=QUALITY)
    return paths
