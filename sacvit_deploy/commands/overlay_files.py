"""The files of `sacvit infer --overlay`: where each image's goes, and how it gets there."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sacvit_deploy.errors import ImageError, UsageError, first_line
from sacvit_deploy.images.overlay import draw_overlay
from sacvit_deploy.images.reading import is_pipe
from sacvit_deploy.prediction import Prediction
from sacvit_deploy.scheduler import Item

SUFFIXES = (".png", ".jpg", ".jpeg")


def overlay_files(target: Path, paths: Sequence[Path]) -> list[Path]:
    """Return the file of each image's overlay: `target` itself for one image, else NAME.png in the folder `target`.

    Names that occur several times are numbered: a.png, a-2.png. Raises UsageError where `target` can be neither, an
    image would be overwritten, or can't be read twice.
    """
    for path in paths:
        if is_pipe(path):
            raise UsageError(f"--overlay reads an image twice, which {path}, a pipe, can't be; save it to a file first")
    if len(paths) == 1 and target.suffix.lower() in SUFFIXES and not target.is_dir():
        files = [target]
    elif target.is_dir() or not (target.suffix or target.exists()):
        files = [target / f"{name}.png" for name in unique_names([path.stem for path in paths])]
    elif len(paths) > 1:
        raise UsageError(f"--overlay {target} is a file; for several images name a folder")
    else:
        raise UsageError(f"--overlay {target}: name a .png or .jpg file, or a folder")
    images = {os.path.realpath(path) for path in paths}
    for file in files:
        if os.path.realpath(file) in images:
            raise UsageError(f"--overlay would overwrite the image {file}; name another place")
    return files


def unique_names(names: Sequence[str]) -> list[str]:
    """Return the names, of which those that occurred before, in capitals or not, are numbered from 2."""
    count: Counter[str] = Counter()
    taken: set[str] = set()
    unique = []
    for name in names:
        key = name.lower()
        count[key] += 1
        chosen = name if count[key] == 1 else f"{name}-{count[key]}"
        while chosen.lower() in taken:
            count[key] += 1
            chosen = f"{name}-{count[key]}"
        taken.add(chosen.lower())
        unique.append(chosen)
    return unique


def write_overlay(target: Path, item: Item, prediction: Prediction, eta: float, alpha: float) -> None:
    """Write the overlay of one image. Raises SacvitError."""
    if item.pixels is None:  # it was there a moment ago
        raise item.error or ImageError(f"can't draw {target}: {item.source} can't be read again")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draw_overlay(item.pixels, prediction, eta, alpha).save(target)
    except OSError as error:
        raise ImageError(f"can't write {target}: {error.strerror or first_line(error)}") from error
    except Exception as error:
        raise ImageError(f"can't draw {target} ({type(error).__name__}: {first_line(error)})") from error
