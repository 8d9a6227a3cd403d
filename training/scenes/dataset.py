"""Rendered splits on disk: memory-mapped arrays, rendered once, so that training reads instead of drawing.

A split is a folder of `images.npy` [n,224,224,3] uint8, `labels.npy` [n] int64, `object_px.npy` [n] float32,
`boxes.npy` [n,4] int16 and `scenes.json` (split, seed, count), written last: a folder without it is unfinished. Several
processes write the rows in place. Asking for more scenes than a finished split has renders only the new ones.

    python -m sacvit_deploy.training.scenes.dataset --assets ASSETS --out DATA
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sacvit_deploy.console.progress import Progress
from sacvit_deploy.console.text import counted
from sacvit_deploy.errors import UsageError
from sacvit_deploy.evaluation.scenes import ARRAYS, FINISHED
from sacvit_deploy.training.scenes.backgrounds import Split, load_unseen, read_backgrounds
from sacvit_deploy.training.scenes.classes import CLASSES, DISTRACTORS
from sacvit_deploy.training.scenes.render import SCENE, ObjectLibrary, render

BLOCK = 240  # scenes a worker renders at a time
ROW_SHAPES = {"images": (SCENE, SCENE, 3), "labels": (), "object_px": (), "boxes": (4,)}  # of one scene


@dataclass(frozen=True)
class Scenes:
    """Arrays of a rendered split, memory-mapped. boxes: left, top, right, bottom in px, right and bottom exclusive."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    object_px: NDArray[np.float32]
    boxes: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.labels)


def open_split(folder: Path) -> Scenes:
    """Open a rendered split. Raises UsageError if it is absent or unfinished."""
    if not (folder / FINISHED).exists():
        raise UsageError(f"{folder} holds no finished scenes; render them with sacvit_deploy.training.scenes.dataset")
    return Scenes(**{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS})


def read_images(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Read rows of an image array: [len(rows),H,W,3].

    A memory map's file is read: page faults on scattered rows make the kernel read megabytes ahead for each.
    """
    if not isinstance(images, np.memmap) or images.filename is None:
        return images[rows]
    pixels = np.empty((len(rows), *images.shape[1:]), np.uint8)
    with open(images.filename, "rb") as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        for image, row in zip(pixels, rows, strict=True):
            file.seek(images.offset + int(row) * image.nbytes)
            image[:] = np.fromfile(file, np.uint8, image.size).reshape(image.shape)
    return pixels


def load_objects(assets: Path) -> dict[str, Image.Image]:
    """Load the art of the classes and the distractors: code point -> RGBA image."""
    codes = {c.code for c in CLASSES} | set(DISTRACTORS)
    return {code: Image.open(assets / "objects" / f"{code}.webp").convert("RGBA") for code in sorted(codes)}


def load_library(assets: Path, split: Split) -> ObjectLibrary:
    """Load the objects and the split's backgrounds from an assets folder."""
    backgrounds = load_unseen(assets) if split == "test" else read_backgrounds(assets, split)
    return ObjectLibrary(split, load_objects(assets), [b.pixels for b in backgrounds])


_library: ObjectLibrary | None = None  # set before the workers are forked, so that they share its memory


def _render_block(task: tuple[Path, int, int, int]) -> int:
    folder, seed, start, stop = task
    assert _library is not None
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r+") for name in ARRAYS}
    for index in range(start, stop):
        scene = render(_library, seed, index)
        row = {"images": scene.pixels, "labels": scene.label, "object_px": scene.object_px, "boxes": scene.box}
        for name, array in arrays.items():
            array[index] = row[name]
    return stop - start


def _allocate(path: Path, count: int, kept: int) -> None:
    """Make an array file of `count` rows, or lengthen one that keeps its first `kept` rows.

    numpy pads the header, so a longer shape fits. Raises ValueError if it does not.
    """
    dtype, shape = np.dtype(ARRAYS[path.stem][0]), (count, *ROW_SHAPES[path.stem])
    header = {"shape": shape, "fortran_order": False, "descr": np.lib.format.dtype_to_descr(dtype)}
    offset = np.load(path, mmap_mode="r").offset if kept else None
    with path.open("r+b" if kept else "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        if offset not in (None, file.tell()):
            raise ValueError(f"{path} can't be lengthened; remove its folder and render anew")
        file.truncate(file.tell() + math.prod(shape) * dtype.itemsize)


def _kept(folder: Path, truth: Mapping[str, object]) -> int:
    """Count the finished scenes that can stay: a scene depends on split, seed and index, not on the count."""
    if not (folder / FINISHED).exists():
        return 0
    existing = json.loads((folder / FINISHED).read_text())
    return int(existing["count"]) if {**existing, "count": truth["count"]} == truth else 0


def render_split(library: ObjectLibrary, folder: Path, count: int, seed: int, workers: int) -> None:
    """Render `count` scenes of the library's split into `folder`; a shorter set of the same seed is extended."""
    global _library
    folder.mkdir(parents=True, exist_ok=True)
    truth = {"split": library.split, "seed": seed, "count": count, "backgrounds": len(library.backgrounds)}
    kept = _kept(folder, truth)
    if kept >= count:
        click.echo(f"{library.split}: {kept} scenes are there")
        return
    (folder / FINISHED).unlink(missing_ok=True)
    for name in ARRAYS:
        _allocate(folder / f"{name}.npy", count, kept)
    tasks = [(folder, seed, start, min(start + BLOCK, count)) for start in range(kept, count, BLOCK)]
    _library = library
    bar = Progress().bar(f"{library.split}: rendered {counted(count - kept, 'scene')}", count - kept)
    with bar as advance, multiprocessing.get_context("fork").Pool(workers) as pool:
        for number in pool.imap_unordered(_render_block, tasks):
            advance(number)
    (folder / FINISHED).write_text(json.dumps(truth, indent=2) + "\n")


@click.command()
@click.option("--assets", type=click.Path(path_type=Path), required=True, help="Folder that scenes.assets has filled.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for train/ and test/.")
@click.option("--train", type=int, default=90_000, show_default=True, help="Number of training scenes.")
@click.option("--test", type=int, default=6_000, show_default=True, help="Number of test scenes.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--workers", type=click.IntRange(min=1), default=multiprocessing.cpu_count)
def command(assets: Path, out: Path, train: int, test: int, seed: int, workers: int) -> None:
    """Render object scenes into memory-mapped arrays."""
    counts: dict[Split, int] = {"test": test, "train": train}
    for split, count in counts.items():
        if count:
            render_split(load_library(assets, split), out / split, count, seed, workers)


if __name__ == "__main__":
    command()
