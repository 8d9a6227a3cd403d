"""Near-duplicates across the splits: test backgrounds that look like a training background are left out.

Splitting by family keeps `floor01` and `floor02` together, but some images are copies under another name: a recoloured
wall, a cleaned sign, the same sand in another folder. Training would already have shown them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sacvit_deploy.training.scenes.backgrounds import Background, read_backgrounds

DUPLICATE = 0.9  # correlation of two thumbnails, above which their images count as one
_SIDE = 24  # px of a thumbnail
_FLAT = 20.0  # norm of a thumbnail after subtracting its mean, below which there is nothing to compare


def signature(pixels: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    """Return an image's grey thumbnail, mean subtracted and scaled to norm 1: [576]; None if it is almost flat."""
    small = Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    grey = np.asarray(small, np.float32).mean(axis=2).ravel()
    grey -= grey.mean()
    length = float(np.linalg.norm(grey))
    return grey / length if length > _FLAT else None


def without_duplicates(candidates: Iterable[Background], against: Iterable[Background]) -> tuple[Background, ...]:
    """Return the candidates that look like none of `against`."""
    known = [s for s in (signature(b.pixels) for b in against) if s is not None]
    table = np.stack(known) if known else np.zeros((0, _SIDE * _SIDE), np.float32)
    unseen = []
    for background in candidates:
        thumbnail = signature(background.pixels)
        if thumbnail is None or not (table @ thumbnail > DUPLICATE).any():
            unseen.append(background)
    return tuple(unseen)


def load_unseen(root: Path) -> tuple[Background, ...]:
    """Load the test split's backgrounds without near-duplicates of the training split's."""
    return without_duplicates(read_backgrounds(root, "test"), read_backgrounds(root, "train"))
