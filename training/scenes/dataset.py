"""Scenes rendered once and kept as memory-mapped arrays (see rendered.py), so that training reads instead of drawing.

Several processes write the rows in place. A finished split can be lengthened: asking for more scenes renders only the
new ones.

    python -m sacvit_deploy.training.scenes.dataset --assets ASSETS --out DATA
"""

from __future__ import annotations

import argparse
import io
import json
import math
import multiprocessing
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from sacvit_deploy.evaluation.scenes import ARRAYS, FINISHED
from sacvit_deploy.training.scenes.backgrounds import SPLITS, Split, read_backgrounds
from sacvit_deploy.training.scenes.classes import CLASSES, DISTRACTORS
from sacvit_deploy.training.scenes.dedup import load_unseen
from sacvit_deploy.training.scenes.render import SCENE, Library, render

BLOCK = 240  # scenes a worker renders at a time
ROW_SHAPES = {"images": (SCENE, SCENE, 3), "labels": (), "object_px": (), "boxes": (4,)}  # of one scene


def load_objects(assets: Path) -> dict[str, Image.Image]:
    """Load the art of the classes and the distractors: code point -> RGBA image."""
    codes = {c.code for c in CLASSES} | set(DISTRACTORS)
    return {code: Image.open(assets / "objects" / f"{code}.webp").convert("RGBA") for code in sorted(codes)}


def load_library(assets: Path, split: Split) -> Library:
    """Load the objects and the split's backgrounds from an assets folder."""
    backgrounds = load_unseen(assets) if split == "test" else read_backgrounds(assets, split)
    return Library(split, load_objects(assets), [b.pixels for b in backgrounds])


_library: Library | None = None  # set before the workers are forked, so that they share its memory


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


def _lengthen(path: Path, count: int) -> None:
    """Extend an .npy file to `count` rows, keeping those it has; numpy pads the header, so a longer shape fits.

    Raises ValueError if the header has no room after all.
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
    """Count the finished scenes that can stay: a scene depends on split, seed and index, not on the count."""
    try:
        existing = json.loads((folder / FINISHED).read_text())
    except FileNotFoundError:
        return 0
    return int(existing["count"]) if {**existing, "count": truth["count"]} == truth else 0


def render_split(library: Library, folder: Path, count: int, seed: int, workers: int) -> None:
    """Render `count` scenes of the library's split into `folder`; a shorter set of the same seed is extended."""
    global _library
    folder.mkdir(parents=True, exist_ok=True)
    truth = {"split": library.split, "seed": seed, "count": count, "backgrounds": len(library.backgrounds)}
    kept = _kept(folder, truth)
    if kept >= count:
        print(f"{library.split}: {kept} scenes are there")
        return
    (folder / FINISHED).unlink(missing_ok=True)
    for name, (dtype, _) in ARRAYS.items():
        path = folder / f"{name}.npy"
        if kept:
            _lengthen(path, count)
        else:
            np.lib.format.open_memmap(path, "w+", np.dtype(dtype), (count, *ROW_SHAPES[name])).flush()
    tasks = [(folder, seed, start, min(start + BLOCK, count)) for start in range(kept, count, BLOCK)]
    _library = library
    done, begin = kept, time.monotonic()
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        for number in pool.imap_unordered(_render_block, tasks):
            done += number
            rate = (done - kept) / (time.monotonic() - begin)
            left = (count - done) / rate
            print(f"\r{library.split}: {done}/{count} scenes, {rate:.0f}/s, {left:.0f} s left", end="", flush=True)
    print()
    (folder / FINISHED).write_text(json.dumps(truth, indent=2) + "\n")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Render object scenes into memory-mapped arrays.")
    parser.add_argument("--assets", type=Path, required=True, help="folder that training.scenes.assets has filled")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; holds train/ and test/ afterwards")
    parser.add_argument("--train", type=int, default=90_000, help="number of training scenes")
    parser.add_argument("--test", type=int, default=6_000, help="number of test scenes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=multiprocessing.cpu_count())
    arguments = parser.parse_args()
    for split in reversed(SPLITS):
        count = {"train": arguments.train, "test": arguments.test}[split]
        if count:
            library = load_library(arguments.assets, split)
            render_split(library, arguments.out / split, count, arguments.seed, arguments.workers)


if __name__ == "__main__":
    main()
