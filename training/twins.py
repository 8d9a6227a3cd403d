"""Test pictures that have a twin in the training split under another name: found by their looks and left out.

Splitting by family keeps `floor01` and `floor02` together, but artists also copy: a recoloured wall, a cleaned sign,
the same sand in another folder. Such a test picture would not be unseen.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sacvit_deploy.training.backgrounds import Background, read_backgrounds

TWIN = 0.9  # correlation of two 24 x 24 thumbnails, above which they count as one picture
_SIDE = 24
_FLAT = 20.0  # norm of a thumbnail without its mean, below which there's nothing to compare


def signature(pixels: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    """Return a picture's grey thumbnail without its mean, scaled to length 1: [576]; None where it is almost flat."""
    small = Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    grey = np.asarray(small, np.float32).mean(axis=2).ravel()
    grey -= grey.mean()
    length = float(np.linalg.norm(grey))
    return grey / length if length > _FLAT else None


def without_twins(kept: Iterable[Background], against: Iterable[Background]) -> tuple[Background, ...]:
    """Return the pictures of `kept` that look like none of `against`."""
    known = [s for s in (signature(b.pixels) for b in against) if s is not None]
    table = np.stack(known) if known else np.zeros((0, _SIDE * _SIDE), np.float32)
    unseen = []
    for background in kept:
        own = signature(background.pixels)
        if own is None or not (table @ own > TWIN).any():
            unseen.append(background)
    return tuple(unseen)


def load_unseen(root: Path) -> tuple[Background, ...]:
    """Load the test split's backgrounds that have no twin among the training split's."""
    return without_twins(read_backgrounds(root, "test"), read_backgrounds(root, "train"))
