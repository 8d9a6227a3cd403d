"""Render scenes once and keep them as memory-mapped arrays, so that training reads pixels instead of drawing
them.

A split is a folder of `images.npy` [n, 224, 224, 3] uint8, `labels.npy` [n] int64, `object_px.npy` [n]
float32, `boxes.npy` [n, 4] int16 and `scenes.json` (split, seed, count). Rows are written in place by several
processes; `scenes.json` is written last, so a folder without it is unfinished. A finished one can be lengthened:
asking for more scenes renders only the new ones.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import multiprocessing
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sacvit_deploy.training.backgrounds import SPLITS, Split, read_backgrounds
from sacvit_deploy.training.classes import CLASSES, DISTRACTORS
from sacvit_deploy.training.scenes import SCENE, Library, render
from sacvit_deploy.training.twins import load_unseen

BLOCK = 240  # scenes a worker renders at a time


@dataclass(frozen=True)
class Scenes:
    """A rendered split, opened for reading; nothing is copied into memory."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    object_px: NDArray[np.float32]
    boxes: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.labels)


def load_objects(assets: Path) -> dict[str, Image.Image]:
    """Load the art of the classes and the distractors: code point -> RGBA picture."""
    codes = {c.code for c in CLASSES} | set(DISTRACTORS)
    return {code: Image.open(assets / "objects" / f"{code}.webp").convert("RGBA") for code in sorted(codes)}


def load_library(assets: Path, split: Split) -> Library:
    """Load the objects and the split's backgrounds from an assets folder."""
    found = load_unseen(assets) if split == "test" else read_backgrounds(assets, split)
    return Library(split, load_objects(assets), [b.pixels for b in found])


def open_scenes(folder: Path) -> Scenes:
    """Open a rendered split; raises FileNotFoundError when it is absent or unfinished."""
    if not (folder / "scenes.json").exists():
        raise FileNotFoundError(f"{folder} holds no finished scenes; render them with sacvit_deploy.training.dataset")
    arrays = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("images", "labels", "object_px", "boxes")]
    return Scenes(*arrays)


def read_images(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Read rows of an image array, [len(rows), H, W, 3].

    A memory map is read with pread: faulting in scattered rows makes the kernel read megabytes ahead for each of them.
    """
    if not isinstance(images, np.memmap) or images.filename is None:
        return images[rows]
    picked = np.empty((len(rows), *images.shape[1:]), np.uint8)
    size = picked[0].nbytes
    file = os.open(images.filename, os.O_RDONLY)
    try:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
        for place, row in enumerate(rows):
            data = os.pread(file, size, images.offset + int(row) * size)
            picked[place] = np.frombuffer(data, np.uint8).reshape(images.shape[1:])
    finally:
        os.close(file)
    return picked


_library: Library | None = None  # set before the workers are forked, so that they share its memory


def _render_block(task: tuple[Path, int, int, int]) -> int:
    folder, seed, start, stop = task
    assert _library is not None
    arrays = [np.load(folder / f"{name}.npy", mmap_mode="r+") for name in ("images", "labels", "object_px", "boxes")]
    for index in range(start, stop):
        scene = render(_library, seed, index)
        for array, value in zip(arrays, (scene.pixels, scene.label, scene.object_px, scene.box), strict=True):
            array[index] = value
    return stop - start


def _lengthen(path: Path, count: int) -> None:
    """Give an .npy file room for `count` rows; those it has stay (numpy leaves space in the header for a longer shape).

    Raises ValueError if the header has no space after all.
    """
    with path.open("r+b") as file:
        np.lib.format.read_magic(file)
        (_, *rest), order, dtype = np.lib.format.read_array_header_1_0(file)
        offset = file.tell()
        header = io.BytesIO()
        described = {"shape": (count, *rest), "fortran_order": order, "descr": np.lib.format.dtype_to_descr(dtype)}
        np.lib.format.write_array_header_1_0(header, described)
        if header.tell() != offset:
            raise ValueError(f"{path} can't be lengthened; remove its folder and render anew")
        file.seek(0)
        file.write(header.getvalue())
        file.truncate(offset + count * math.prod(rest) * dtype.itemsize)


def _kept(folder: Path, truth: Mapping[str, object]) -> int:
    """How many finished scenes of the same kind the folder holds: a scene depends on its index, not on the count."""
    try:
        before = json.loads((folder / "scenes.json").read_text())
    except FileNotFoundError:
        return 0
    return int(before["count"]) if {**before, "count": truth["count"]} == truth else 0


def render_split(library: Library, folder: Path, count: int, seed: int, workers: int) -> None:
    """Render `count` scenes of the library's split into `folder`, going on from a shorter set of the same seed."""
    global _library
    folder.mkdir(parents=True, exist_ok=True)
    truth = {"split": library.split, "seed": seed, "count": count, "backgrounds": len(library.backgrounds)}
    kept = _kept(folder, truth)
    if kept >= count:
        print(f"{library.split}: {kept} scenes are there")
        return
    (folder / "scenes.json").unlink(missing_ok=True)
    shapes = {"images": ((SCENE, SCENE, 3), "u1"), "labels": ((), "i8"), "object_px": ((), "f4"), "boxes": ((4,), "i2")}
    for name, (shape, dtype) in shapes.items():
        path = folder / f"{name}.npy"
        if kept:
            _lengthen(path, count)
        else:
            np.lib.format.open_memmap(path, "w+", np.dtype(dtype), (count, *shape)).flush()
    tasks = [(folder, seed, start, min(start + BLOCK, count)) for start in range(kept, count, BLOCK)]
    _library = library
    done, begin = kept, time.monotonic()
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        for number in pool.imap_unordered(_render_block, tasks):
            done += number
            rate = (done - kept) / (time.monotonic() - begin)
            print(
                f"\r{library.split}: {done}/{count} scenes, {rate:.0f}/s, {(count - done) / rate:.0f} s left",
                end="",
                flush=True,
            )
    print()
    (folder / "scenes.json").write_text(json.dumps(truth, indent=2) + "\n")


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(description="Render object scenes into memory-mapped arrays.")
    parser.add_argument("--assets", type=Path, required=True, help="folder filled by sacvit_deploy.training.assets")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; holds train/ and test/ afterwards")
    parser.add_argument("--train", type=int, default=90_000, help="number of training scenes")
    parser.add_argument("--test", type=int, default=6_000, help="number of test scenes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=multiprocessing.cpu_count())
    arguments = parser.parse_args()
    for split in reversed(SPLITS):
        count = {"train": arguments.train, "test": arguments.test}[split]
        if count:
            render_split(
                load_library(arguments.assets, split), arguments.out / split, count, arguments.seed, arguments.workers
            )


if __name__ == "__main__":
    main()
